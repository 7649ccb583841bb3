#include "ops/gemm_w8a8/gemm_w8a8.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/check.h"
#include "core/dispatch.h"
#include "core/thread_pool.h"
#include "ops/gemm_w8a8/gemm_w8a8_ref.h"
#include "ops/gemm_w8a8/gemm_w8a8_simd.h"
#if defined(OCTAVO_CUDA)
#include "ops/gemm_w8a8/gemm_w8a8_cuda.h"
#endif

namespace octavo {
namespace {

constexpr auto kOp = "gemm_w8a8";

void validate(const Context& ctx, const GemmW8A8Args& a) {
  const auto expect = [&](const char* name, const ConstTensor& t, std::initializer_list<DType> dtypes,
                          std::initializer_list<int64_t> shape) {
    expect_tensor(kOp, name, t, ctx.backend, dtypes, shape);
  };
  expect("x", a.x, {DType::i8}, {-1, -1});
  const int64_t m = a.x.dim(0), k = a.x.dim(1);
  if (k > kMaxInt8K)
    fail_argument(
        kOp, "x",
        fmt::format("is {}: K = {} is above {}, the most that s32 sums of INT8 products hold; split K",
                    a.x.describe(), k, kMaxInt8K));
  expect("w", a.w, {DType::i8}, {-1, k});
  const int64_t n = a.w.dim(0);
  expect("y", a.y, {DType::f32, DType::f16, DType::bf16, DType::i32}, {m, n});
  if (a.w_code_sum) expect("w_code_sum", a.w_code_sum, {DType::i32}, {n});
  if (a.y.dtype() == DType::i32) {
    if (a.x_scale) fail_argument(kOp, "x_scale", "is given, but y is i32, which holds unscaled sums");
    if (a.w_scale) fail_argument(kOp, "w_scale", "is given, but y is i32, which holds unscaled sums");
    if (a.bias) fail_argument(kOp, "bias", "is given, but y is i32, which holds unscaled sums");
    return;
  }
  expect("x_scale", a.x_scale, {DType::f32}, {m});
  expect("w_scale", a.w_scale, {DType::f32}, {n});
  if (a.bias) expect("bias", a.bias, {DType::f32}, {n});
}

// body(n_begin, n_end) over the columns of y, in multiples of kInt8TaskCols: whole tiles for every thread.
template <class Body>
void for_columns(const Context& ctx, const GemmW8A8Args& a, Body&& body) {
  const int64_t n = a.w.dim(0);
  parallel_for(ctx.pool, (n + kInt8TaskCols - 1) / kInt8TaskCols, 1, [&](int64_t begin, int64_t end) {
    body(begin * kInt8TaskCols, std::min(end * kInt8TaskCols, n));
  });
}

void run_reference(const Context& ctx, const GemmW8A8Args& args) {
  for_columns(ctx, args, [&](int64_t begin, int64_t end) { gemm_w8a8_ref(args, begin, end); });
}

#if defined(__x86_64__)
template <void (*kColumns)(const Int8Gemm&, int64_t, int64_t)>
void run_simd(const Context& ctx, const GemmW8A8Args& a) {
  const auto floats = [](const ConstTensor& t) { return t ? t.as<float>() : nullptr; };
  const bool scaled = a.y.dtype() == DType::f32;
  const Int8Gemm g{.x = a.x.as<int8_t>(),
                   .x_stride = a.x.stride(0),
                   .w = a.w.as<int8_t>(),
                   .w_stride = a.w.stride(0),
                   .x_scale = floats(a.x_scale),
                   .w_scale = floats(a.w_scale),
                   .w_code_sum = a.w_code_sum ? a.w_code_sum.as<int32_t>() : nullptr,
                   .bias = floats(a.bias),
                   .y = scaled ? a.y.as<float>() : nullptr,
                   .y_acc = scaled ? nullptr : a.y.as<int32_t>(),
                   .y_stride = a.y.stride(0),
                   .m = a.x.dim(0),
                   .k = a.x.dim(1)};
  for_columns(ctx, a, [&](int64_t begin, int64_t end) { kColumns(g, begin, end); });
}

bool is_wide(const GemmW8A8Args& a, const DeviceFacts&) {
  return a.y.dtype() == DType::f32 || a.y.dtype() == DType::i32;
}
#endif

constexpr auto kVariants = std::to_array<Variant<GemmW8A8Args>>({
#if defined(OCTAVO_CUDA)
  {"cuda_sm90",   Backend::cuda, Isa::reference, gemm_w8a8_fits_sm90, "sm_90, rows of x and w on 16 bytes",
   gemm_w8a8_sm90},
      {"cuda_sm80",
       Backend::cuda,
       Isa::reference,
       gemm_w8a8_fits_sm80,
       "sm_80 or newer, rows of x and w on 16 bytes",
       gemm_w8a8_sm80},
      {"cuda_any", Backend::cuda, Isa::reference, nullptr, "always", gemm_w8a8_any},
#endif
#if defined(__x86_64__)
      {"avx512_vnni", Backend::cpu,      Isa::avx512,
       is_wide,       "y is f32 or i32", run_simd<avx512::gemm_w8a8_columns>},
      {"avx2", Backend::cpu, Isa::avx2, is_wide, "y is f32 or i32", run_simd<avx2::gemm_w8a8_columns>},
#endif
      {"reference", Backend::cpu, Isa::reference, nullptr, "always", run_reference},
});

}  // namespace

int64_t gemm_w8a8_workspace_bytes(const Context&, const GemmW8A8Args&) {
  return 0;
}  // blocks live on the stacks

void gemm_w8a8(const Context& ctx, const GemmW8A8Args& args) {
  validate(ctx, args);
  choose(kVariants, kOp, ctx, args).run(ctx, args);
}

KernelInfo gemm_w8a8_variant(const Context& ctx, const GemmW8A8Args& args) {
  validate(ctx, args);
  return kernel_info(choose(kVariants, kOp, ctx, args));
}

}  // namespace octavo
