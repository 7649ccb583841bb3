#include "ops/layer_norm/layer_norm.h"

#include <fmt/format.h>

#include "core/check.h"
#include "core/dispatch.h"
#include "core/thread_pool.h"
#include "ops/layer_norm/layer_norm_ref.h"
#include "ops/layer_norm/layer_norm_simd.h"
#if defined(OCTAVO_CUDA)
#include "ops/layer_norm/layer_norm_cuda.h"
#endif

namespace octavo {
namespace {

constexpr const char* kOp = "layer_norm";
constexpr int64_t kElementsPerTask = 8192;  // fewer cost more to hand to a thread than to compute

void validate(const Context& ctx, const LayerNormArgs& a) {
  const auto floats = {DType::f32, DType::f16, DType::bf16};
  expect_tensor(kOp, "x", a.x, ctx.backend, floats, {-1, -1});
  const int64_t rows = a.x.dim(0), width = a.x.dim(1);
  const auto expect_like_x = [&](const char* name, const ConstTensor& t) {
    expect_tensor(kOp, name, t, ctx.backend, {a.x.dtype()}, {rows, width});
  };
  expect_tensor(kOp, "weight", a.weight, ctx.backend, floats, {width});
  if (a.bias) expect_tensor(kOp, "bias", a.bias, ctx.backend, {a.weight.dtype()}, {width});
  if (a.residual) expect_like_x("residual", a.residual), expect_like_x("u", a.u);
  if (!a.residual && a.u)
    fail_argument(kOp, "u", "is given without residual; u is then x itself, so leave it out");
  if (!a.y && !a.y_codes) fail_argument(kOp, "y", "and y_codes are both absent; give at least one");
  if (a.y) expect_like_x("y", a.y);
  if (a.y && a.u && a.u.data() == a.y.data() && a.y.numel() > 0)
    fail_argument(kOp, "y", "is the same memory as u; two outputs need two tensors");
  if (a.y_codes) {
    expect_tensor(kOp, "y_codes", a.y_codes, ctx.backend, {DType::i8}, {rows, width});
    expect_tensor(kOp, "y_scale", a.y_scale, ctx.backend, {DType::f32}, {rows});
  } else if (a.y_scale) {
    fail_argument(kOp, "y_scale", "is given without y_codes");
  }
  if (!(a.eps >= 0))
    fail_argument(kOp, "eps", fmt::format("is {}, expected 0 or more (usually 1e-5)", a.eps));
}

void run_reference(const Context&, const LayerNormArgs& args) { layer_norm_ref<double>(args); }

#if defined(__x86_64__)
template <void (*kernel)(const LayerNormRow&)>
void run_rows(const Context& ctx, const LayerNormArgs& a) {
  const auto row_of = [](const auto& t, int64_t r) {
    return t ? t.template as<float>() + r * t.stride(0) : nullptr;
  };
  const int64_t grain = 1 + kElementsPerTask / (a.x.dim(1) + 1);
  parallel_for(ctx.pool, a.x.dim(0), grain, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
      kernel({.x = row_of(a.x, r),
              .residual = row_of(a.residual, r),
              .weight = a.weight.as<float>(),
              .bias = a.bias ? a.bias.as<float>() : nullptr,
              .u = row_of(a.u, r),
              .y = row_of(a.y, r),
              .codes = a.y_codes ? a.y_codes.as<int8_t>() + r * a.y_codes.stride(0) : nullptr,
              .scale = row_of(a.y_scale, r),
              .width = a.x.dim(1),
              .eps = a.eps});
  });
}

bool all_f32(const LayerNormArgs& a, const DeviceFacts&) {
  return a.x.dtype() == DType::f32 && a.weight.dtype() == DType::f32;
}
#endif

constexpr auto kVariants = std::to_array<Variant<LayerNormArgs>>({
#if defined(OCTAVO_CUDA)
  {"cuda_stream",
   Backend::cuda,
   Isa::reference,
   layer_norm_streams,
   "sm_90, aligned 16-bit rows of 16,384 to 131,072 elements, or many of 4,096 to 8,192; parameters of their "
   "dtype",
   layer_norm_stream},
      {"cuda_registers",
       Backend::cuda,
       Isa::reference,
       layer_norm_fits_registers,
       "aligned rows of 8n elements and a weight of their dtype; sm_90 up to 131,072, else 16,384 (f32 half)",
       layer_norm_registers},
      {"cuda_loop", Backend::cuda, Isa::reference, nullptr, "always", layer_norm_loop},
#endif
#if defined(__x86_64__)
      {"avx512", Backend::cpu, Isa::avx512, all_f32, "x and weight f32", run_rows<avx512::layer_norm_row>},
      {"avx2", Backend::cpu, Isa::avx2, all_f32, "x and weight f32", run_rows<avx2::layer_norm_row>},
#endif
      {"reference", Backend::cpu, Isa::reference, nullptr, "always", run_reference},
});

}  // namespace

void layer_norm(const Context& ctx, const LayerNormArgs& args) {
  validate(ctx, args);
  choose(kVariants, kOp, ctx, args).run(ctx, args);
}

KernelInfo layer_norm_variant(const Context& ctx, const LayerNormArgs& args) {
  validate(ctx, args);
  return kernel_info(choose(kVariants, kOp, ctx, args));
}

}  // namespace octavo
