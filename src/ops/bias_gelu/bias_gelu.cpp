#include "ops/bias_gelu/bias_gelu.h"

#include "core/check.h"
#include "core/dispatch.h"
#include "core/thread_pool.h"
#include "ops/bias_gelu/bias_gelu_ref.h"
#include "ops/bias_gelu/bias_gelu_simd.h"
#if defined(OCTAVO_CUDA)
#include "ops/bias_gelu/bias_gelu_cuda.h"
#endif

namespace octavo {
namespace {

constexpr const char* kOp = "bias_gelu";
constexpr int64_t kElementsPerTask = 4096;  // fewer cost more to hand to a thread than to compute

void validate(const Context& ctx, const BiasGeluArgs& a) {
  const auto floats = {DType::f32, DType::f16, DType::bf16};
  expect_tensor(kOp, "x", a.x, ctx.backend, floats, {-1, -1});
  const int64_t rows = a.x.dim(0), width = a.x.dim(1);
  if (a.bias) expect_tensor(kOp, "bias", a.bias, ctx.backend, floats, {width});
  if (!a.out && !a.out_codes) fail_argument(kOp, "out", "and out_codes are both absent; give at least one");
  if (a.out) expect_tensor(kOp, "out", a.out, ctx.backend, {a.x.dtype()}, {rows, width});
  if (a.out && a.out.data() == a.x.data() && a.out.numel() > 0 && rows > 1 &&
      a.out.stride(0) != a.x.stride(0))
    fail_argument(kOp, "out", "is x's memory with another row stride; in place they must be equal");
  if (a.out_codes) {
    expect_tensor(kOp, "out_codes", a.out_codes, ctx.backend, {DType::i8}, {rows, width});
    expect_tensor(kOp, "out_scale", a.out_scale, ctx.backend, {DType::f32}, {rows});
  } else if (a.out_scale) {
    fail_argument(kOp, "out_scale", "is given without out_codes");
  }
}

void run_reference(const Context&, const BiasGeluArgs& args) { bias_gelu_ref<double>(args); }

#if defined(__x86_64__)
template <void (*kernel)(const BiasGeluRow&)>
void run_rows(const Context& ctx, const BiasGeluArgs& a) {
  const int64_t grain = 1 + kElementsPerTask / (a.x.dim(1) + 1);
  parallel_for(ctx.pool, a.x.dim(0), grain, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
      kernel({.x = a.x.as<float>() + r * a.x.stride(0),
              .bias = a.bias ? a.bias.as<float>() : nullptr,
              .out = a.out ? a.out.as<float>() + r * a.out.stride(0) : nullptr,
              .codes = a.out_codes ? a.out_codes.as<int8_t>() + r * a.out_codes.stride(0) : nullptr,
              .scale = a.out_codes ? a.out_scale.as<float>() + r : nullptr,
              .width = a.x.dim(1),
              .tanh_form = a.form == GeluForm::tanh});
  });
}

bool all_f32(const BiasGeluArgs& a, const DeviceFacts&) {
  return a.x.dtype() == DType::f32 && (!a.bias || a.bias.dtype() == DType::f32);
}
#endif

constexpr auto kVariants = std::to_array<Variant<BiasGeluArgs>>({
#if defined(OCTAVO_CUDA)
  {"cuda_streamed",
   Backend::cuda,
   Isa::reference,
   bias_gelu_streams,
   "codes, sm_90, aligned rows of 8n elements wider than 16,384, bias of their dtype",
   bias_gelu_streamed},
      {"cuda_octets",   Backend::cuda, Isa::reference, bias_gelu_fits_octets, "aligned rows of 8n elements",
       bias_gelu_octets},
      {"cuda_loop", Backend::cuda, Isa::reference, nullptr, "always", bias_gelu_loop},
#endif
#if defined(__x86_64__)
      {"avx512", Backend::cpu, Isa::avx512, all_f32, "x and bias f32", run_rows<avx512::bias_gelu_row>},
      {"avx2", Backend::cpu, Isa::avx2, all_f32, "x and bias f32", run_rows<avx2::bias_gelu_row>},
#endif
      {"reference", Backend::cpu, Isa::reference, nullptr, "always", run_reference},
});

}  // namespace

void bias_gelu(const Context& ctx, const BiasGeluArgs& args) {
  validate(ctx, args);
  choose(kVariants, kOp, ctx, args).run(ctx, args);
}

KernelInfo bias_gelu_variant(const Context& ctx, const BiasGeluArgs& args) {
  validate(ctx, args);
  return kernel_info(choose(kVariants, kOp, ctx, args));
}

}  // namespace octavo
