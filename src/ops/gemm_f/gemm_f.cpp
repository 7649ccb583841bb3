#include "ops/gemm_f/gemm_f.h"

#include <algorithm>

#include "core/check.h"
#include "core/dispatch.h"
#include "core/thread_pool.h"
#include "ops/gemm_f/gemm_f_ref.h"
#include "ops/gemm_f/gemm_f_simd.h"
#if defined(OCTAVO_CUDA)
#include "ops/gemm_f/gemm_f_cuda.h"
#endif

namespace octavo {
namespace {

constexpr auto kOp = "gemm_f";

void validate(const Context& ctx, const GemmFArgs& a) {
  const auto expect = [&](const char* name, const ConstTensor& t, std::initializer_list<DType> dtypes,
                          std::initializer_list<int64_t> shape) {
    expect_tensor(kOp, name, t, ctx.backend, dtypes, shape);
  };
  expect("x", a.x, {DType::f32, DType::f16, DType::bf16}, {-1, -1});
  expect("w", a.w, {DType::f32, DType::f16, DType::bf16}, {-1, a.x.dim(1)});
  if (a.bias) expect("bias", a.bias, {DType::f32}, {a.w.dim(0)});
  expect("y", a.y, {DType::f32, DType::f16, DType::bf16}, {a.x.dim(0), a.w.dim(0)});
}

// body(n_begin, n_end) over the columns of y, in whole tiles for every thread.
template <class Body>
void for_columns(const Context& ctx, const GemmFArgs& a, Body&& body) {
  constexpr int64_t kTaskCols = 16;
  const int64_t n = a.w.dim(0);
  parallel_for(ctx.pool, (n + kTaskCols - 1) / kTaskCols, 1,
               [&](int64_t begin, int64_t end) { body(begin * kTaskCols, std::min(end * kTaskCols, n)); });
}

void run_reference(const Context& ctx, const GemmFArgs& args) {
  for_columns(ctx, args, [&](int64_t begin, int64_t end) { gemm_f_ref<double>(args, begin, end); });
}

#if defined(__x86_64__)
using Columns = void (*)(const FloatGemm&, int64_t n_begin, int64_t n_end);

// The kernels of one instruction set, one for each type of weights.
template <Columns kF32, Columns kF16, Columns kBF16>
void run_simd(const Context& ctx, const GemmFArgs& a) {
  const FloatGemm g{.x = a.x.as<float>(),
                    .x_stride = a.x.stride(0),
                    .w = a.w.data(),
                    .w_stride = a.w.stride(0),
                    .w_scale = nullptr,
                    .bias = a.bias ? a.bias.as<float>() : nullptr,
                    .y = a.y.as<float>(),
                    .y_stride = a.y.stride(0),
                    .m = a.x.dim(0),
                    .k = a.x.dim(1)};
  const Columns columns = a.w.dtype() == DType::f32 ? kF32 : a.w.dtype() == DType::f16 ? kF16 : kBF16;
  for_columns(ctx, a, [&](int64_t begin, int64_t end) { columns(g, begin, end); });
}

bool is_f32(const GemmFArgs& a, const DeviceFacts&) {
  return a.x.dtype() == DType::f32 && a.y.dtype() == DType::f32;
}
#endif

constexpr auto kVariants = std::to_array<Variant<GemmFArgs>>({
#if defined(OCTAVO_CUDA)
  {"cublaslt",
   Backend::cuda,
   Isa::reference,
   gemm_f_fits_cublaslt,
   "x and w of one type, y of it or f32, K above 0, rows that do not overlap",
   gemm_f_cublaslt},
      {"cuda_any", Backend::cuda, Isa::reference, nullptr, "always", gemm_f_any},
#endif
#if defined(__x86_64__)
      {"avx512",
       Backend::cpu,
       Isa::avx512,
       is_f32,
       "x and y are f32",
       run_simd<avx512::gemm_f_columns_f32, avx512::gemm_f_columns_f16, avx512::gemm_f_columns_bf16>},
      {"avx2",
       Backend::cpu,
       Isa::avx2,
       is_f32,
       "x and y are f32",
       run_simd<avx2::gemm_f_columns_f32, avx2::gemm_f_columns_f16, avx2::gemm_f_columns_bf16>},
#endif
      {"reference", Backend::cpu, Isa::reference, nullptr, "always", run_reference},
});

}  // namespace

int64_t gemm_f_workspace_bytes([[maybe_unused]] const Context& ctx, [[maybe_unused]] const GemmFArgs& args) {
#if defined(OCTAVO_CUDA)
  if (ctx.backend == Backend::cuda && gemm_f_fits_cublaslt(args, *ctx.facts))
    return gemm_f_cublaslt_workspace_bytes(ctx, args);
#endif
  return 0;
}

void gemm_f(const Context& ctx, const GemmFArgs& args) {
  validate(ctx, args);
  choose(kVariants, kOp, ctx, args).run(ctx, args);
}

KernelInfo gemm_f_variant(const Context& ctx, const GemmFArgs& args) {
  validate(ctx, args);
  return kernel_info(choose(kVariants, kOp, ctx, args));
}

}  // namespace octavo
