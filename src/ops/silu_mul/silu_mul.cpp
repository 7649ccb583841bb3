#include "ops/silu_mul/silu_mul.h"

#include "core/check.h"
#include "core/dispatch.h"
#include "core/thread_pool.h"
#include "ops/silu_mul/silu_mul_ref.h"
#include "ops/silu_mul/silu_mul_simd.h"
#if defined(OCTAVO_CUDA)
#include "ops/silu_mul/silu_mul_cuda.h"
#endif

namespace octavo {
namespace {

constexpr const char* kOp = "silu_mul";
constexpr int64_t kElementsPerTask = 4096;  // fewer cost more to hand to a thread than to compute

void validate(const Context& ctx, const SiluMulArgs& a) {
  expect_dtype(kOp, "gate", a.gate, {DType::f32, DType::f16, DType::bf16});
  expect_shape(kOp, "gate", a.gate, {-1, -1});
  expect_backend(kOp, "gate", a.gate, ctx.backend);
  const int64_t rows = a.gate.dim(0), width = a.gate.dim(1);
  const auto expect_like_gate = [&](const char* name, const ConstTensor& t) {
    expect_dtype(kOp, name, t, {a.gate.dtype()});
    expect_shape(kOp, name, t, {rows, width});
    expect_backend(kOp, name, t, ctx.backend);
  };
  expect_like_gate("up", a.up);
  if (!a.out && !a.out_codes) fail_argument(kOp, "out", "and out_codes are both absent; give at least one");
  if (a.out) expect_like_gate("out", a.out);
  const auto same_layout = [](const ConstTensor& s, const ConstTensor& t) {
    return s.stride(0) == t.stride(0) && s.stride(1) == t.stride(1);
  };
  for (const auto& [name, input] : {std::pair<const char*, const ConstTensor&>{"gate", a.gate}, {"up", a.up}})
    if (a.out && a.out.numel() > 0 && a.out.data() == input.data() && !same_layout(a.out, input))
      fail_argument(kOp, "out",
                    std::string("is ") + name + "'s memory with other strides; in place they must be equal");
  if (a.out_codes) {
    expect_tensor(kOp, "out_codes", a.out_codes, ctx.backend, {DType::i8}, {rows, width});
    expect_tensor(kOp, "out_scale", a.out_scale, ctx.backend, {DType::f32}, {rows});
  } else if (a.out_scale) {
    fail_argument(kOp, "out_scale", "is given without out_codes");
  }
}

void run_reference(const Context&, const SiluMulArgs& args) { silu_mul_ref<double>(args); }

#if defined(__x86_64__)
template <void (*kernel)(const SiluMulRow&)>
void run_rows(const Context& ctx, const SiluMulArgs& a) {
  const int64_t grain = 1 + kElementsPerTask / (a.gate.dim(1) + 1);
  parallel_for(ctx.pool, a.gate.dim(0), grain, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
      kernel({.gate = a.gate.as<float>() + r * a.gate.stride(0),
              .up = a.up.as<float>() + r * a.up.stride(0),
              .out = a.out ? a.out.as<float>() + r * a.out.stride(0) : nullptr,
              .codes = a.out_codes ? a.out_codes.as<int8_t>() + r * a.out_codes.stride(0) : nullptr,
              .scale = a.out_codes ? a.out_scale.as<float>() + r : nullptr,
              .width = a.gate.dim(1)});
  });
}

bool contiguous_f32(const SiluMulArgs& a, const DeviceFacts&) {
  const auto contiguous = [](const ConstTensor& t) { return !t || t.dim(1) <= 1 || t.stride(1) == 1; };
  return a.gate.dtype() == DType::f32 && contiguous(a.gate) && contiguous(a.up) && contiguous(a.out);
}
#endif

constexpr auto kVariants = std::to_array<Variant<SiluMulArgs>>({
#if defined(OCTAVO_CUDA)
  {"cuda_streamed",
   Backend::cuda,
   Isa::reference,
   silu_mul_streams,
   "codes, sm_90, aligned rows of 8n elements, gate and up apart, wider than 16,384",
   silu_mul_streamed},
      {"cuda_octets",
       Backend::cuda,
       Isa::reference,
       silu_mul_fits_octets,
       "aligned rows of 8n elements, separate, concatenated or interleaved",
       silu_mul_octets},
      {"cuda_loop", Backend::cuda, Isa::reference, nullptr, "always", silu_mul_loop},
#endif
#if defined(__x86_64__)
      {"avx512",
       Backend::cpu,
       Isa::avx512,
       contiguous_f32,
       "f32, unit column strides",
       run_rows<avx512::silu_mul_row>},
      {"avx2",
       Backend::cpu,
       Isa::avx2,
       contiguous_f32,
       "f32, unit column strides",
       run_rows<avx2::silu_mul_row>},
#endif
      {"reference", Backend::cpu, Isa::reference, nullptr, "always", run_reference},
});

}  // namespace

void silu_mul(const Context& ctx, const SiluMulArgs& args) {
  validate(ctx, args);
  choose(kVariants, kOp, ctx, args).run(ctx, args);
}

KernelInfo silu_mul_variant(const Context& ctx, const SiluMulArgs& args) {
  validate(ctx, args);
  return kernel_info(choose(kVariants, kOp, ctx, args));
}

}  // namespace octavo
