#include "ops/gemm_w8a16/gemm_w8a16.h"

#include <algorithm>

#include "core/check.h"
#include "core/dispatch.h"
#include "core/thread_pool.h"
#include "ops/gemm_w8a16/gemm_w8a16_ref.h"
#include "ops/gemm_w8a16/gemm_w8a16_simd.h"
#if defined(OCTAVO_CUDA)
#include "ops/gemm_w8a16/gemm_w8a16_cuda.h"
#endif

namespace octavo {
namespace {

constexpr auto kOp = "gemm_w8a16";

void validate(const Context& ctx, const GemmW8A16Args& a) {
  const auto expect = [&](const char* name, const ConstTensor& t, std::initializer_list<DType> dtypes,
                          std::initializer_list<int64_t> shape) {
    expect_tensor(kOp, name, t, ctx.backend, dtypes, shape);
  };
  expect("x", a.x, {DType::f32, DType::f16, DType::bf16}, {-1, -1});
  expect("w", a.w, {DType::i8}, {-1, a.x.dim(1)});
  expect("w_scale", a.w_scale, {DType::f32}, {a.w.dim(0)});
  if (a.bias) expect("bias", a.bias, {DType::f32}, {a.w.dim(0)});
  if (a.silu_mul && a.w.dim(0) % 2)
    fail_argument(kOp, "w",
                  a.w.describe() + " has an odd number of rows; silu_mul pairs a row of gate with one of up");
  const int64_t columns = a.silu_mul ? a.w.dim(0) / 2 : a.w.dim(0);
  expect("y", a.y, {DType::f32, DType::f16, DType::bf16}, {a.x.dim(0), columns});
  if (a.residual) expect("residual", a.residual, {a.y.dtype()}, {a.x.dim(0), columns});
}

// body(n_begin, n_end) over the columns of y, in whole tiles for every thread.
template <class Body>
void for_columns(const Context& ctx, const GemmW8A16Args& a, Body&& body) {
  constexpr int64_t kTaskCols = 16;
  const int64_t n = a.y.dim(1);
  parallel_for(ctx.pool, (n + kTaskCols - 1) / kTaskCols, 1,
               [&](int64_t begin, int64_t end) { body(begin * kTaskCols, std::min(end * kTaskCols, n)); });
}

void run_reference(const Context& ctx, const GemmW8A16Args& args) {
  for_columns(ctx, args, [&](int64_t begin, int64_t end) { gemm_w8a16_ref<double>(args, begin, end); });
}

#if defined(__x86_64__)
template <void (*kColumns)(const FloatGemm&, int64_t, int64_t)>
void run_simd(const Context& ctx, const GemmW8A16Args& a) {
  const FloatGemm g{.x = a.x.as<float>(),
                    .x_stride = a.x.stride(0),
                    .w = a.w.data(),
                    .w_stride = a.w.stride(0),
                    .w_scale = a.w_scale.as<float>(),
                    .bias = a.bias ? a.bias.as<float>() : nullptr,
                    .y = a.y.as<float>(),
                    .y_stride = a.y.stride(0),
                    .m = a.x.dim(0),
                    .k = a.x.dim(1)};
  for_columns(ctx, a, [&](int64_t begin, int64_t end) { kColumns(g, begin, end); });
}

bool is_plain(const GemmW8A16Args& a, const DeviceFacts&) {
  return a.x.dtype() == DType::f32 && a.y.dtype() == DType::f32 && !a.residual && !a.silu_mul;
}
#endif

constexpr auto kVariants = std::to_array<Variant<GemmW8A16Args>>({
#if defined(OCTAVO_CUDA)
  {"cuda_stream",
   Backend::cuda,
   Isa::reference,
   gemm_w8a16_fits_stream,
   "sm_90, at most 8 rows of x, x f16 or bf16, K a multiple of 128, rows of x and w on 16 bytes",
   gemm_w8a16_stream},
      {"cuda_few",
       Backend::cuda,
       Isa::reference,
       gemm_w8a16_fits_few,
       "sm_80 or newer, at most 8 rows of x, x f16 or bf16 with rows on 16 bytes",
       gemm_w8a16_few},
      {"cuda_sm90",
       Backend::cuda,
       Isa::reference,
       gemm_w8a16_fits_sm90,
       "sm_90, x and y f16 or bf16, rows of x and w on 16 bytes",
       gemm_w8a16_sm90},
      {"cuda_sm80",
       Backend::cuda,
       Isa::reference,
       gemm_w8a16_fits_sm80,
       "sm_80 or newer, x f16 or bf16, rows of x and w on 16 bytes",
       gemm_w8a16_sm80},
      {"cuda_any", Backend::cuda, Isa::reference, nullptr, "always", gemm_w8a16_any},
#endif
#if defined(__x86_64__)
      {"avx512",
       Backend::cpu,
       Isa::avx512,
       is_plain,
       "x and y are f32, no residual, no silu_mul",
       run_simd<avx512::gemm_w8a16_columns>},
      {"avx2",
       Backend::cpu,
       Isa::avx2,
       is_plain,
       "x and y are f32, no residual, no silu_mul",
       run_simd<avx2::gemm_w8a16_columns>},
#endif
      {"reference", Backend::cpu, Isa::reference, nullptr, "always", run_reference},
});

}  // namespace

void gemm_w8a16(const Context& ctx, const GemmW8A16Args& args) {
  validate(ctx, args);
  choose(kVariants, kOp, ctx, args).run(ctx, args);
}

KernelInfo gemm_w8a16_variant(const Context& ctx, const GemmW8A16Args& args) {
  validate(ctx, args);
  return kernel_info(choose(kVariants, kOp, ctx, args));
}

}  // namespace octavo
