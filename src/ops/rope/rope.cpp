#include "ops/rope/rope.h"

#include <fmt/format.h>

#include "core/check.h"
#include "core/dispatch.h"
#include "core/thread_pool.h"
#include "ops/rope/rope_ref.h"
#include "ops/rope/rope_simd.h"
#if defined(OCTAVO_CUDA)
#include "ops/rope/rope_cuda.h"
#endif

namespace octavo {
namespace {

constexpr const char* kOp = "rope";
constexpr int64_t kElementsPerTask = 8192;  // fewer cost more to hand to a thread than to compute

void validate(const Context& ctx, const RopeArgs& a) {
  expect_tensor(kOp, "x", a.x, ctx.backend, {DType::f32, DType::f16, DType::bf16}, {-1, -1, -1});
  const int64_t tokens = a.x.dim(0), heads = a.x.dim(1), width = a.x.dim(2);
  expect_tensor(kOp, "out", a.out, ctx.backend, {a.x.dtype()}, {tokens, heads, width});
  expect_tensor(kOp, "positions", a.positions, ctx.backend, {DType::i32}, {tokens});
  expect_tensor(kOp, "inv_freq", a.inv_freq, ctx.backend, {DType::f32}, {-1});
  if (const int64_t rotary = 2 * a.inv_freq.dim(0); rotary > width)
    fail_argument(kOp, "inv_freq",
                  fmt::format("has {} frequencies, which turn {} elements; a head of x has {}",
                              a.inv_freq.dim(0), rotary, width));
  const auto moves = [&](int d) { return a.x.dim(d) > 1 && a.x.stride(d) != a.out.stride(d); };
  if (a.x.data() == a.out.data() && a.x.numel() > 0 && (moves(0) || moves(1)))
    fail_argument(kOp, "out", "is x's memory with other strides; in place they must be equal");
}

void run_reference(const Context&, const RopeArgs& args) { rope_ref<double>(args); }

#if defined(__x86_64__)
template <void (*kernel)(const RopeToken&)>
void run_tokens(const Context& ctx, const RopeArgs& a) {
  const int64_t grain = 1 + kElementsPerTask / (a.x.dim(1) * a.x.dim(2) + 1);
  parallel_for(ctx.pool, a.x.dim(0), grain, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t)
      kernel({.x = a.x.as<float>() + t * a.x.stride(0),
              .out = a.out.as<float>() + t * a.out.stride(0),
              .inv_freq = a.inv_freq.as<float>(),
              .heads = a.x.dim(1),
              .width = a.x.dim(2),
              .pairs = a.inv_freq.dim(0),
              .x_head_stride = a.x.stride(1),
              .out_head_stride = a.out.stride(1),
              .position = static_cast<float>(a.positions.as<int32_t>()[t]),
              .factor = a.attention_factor,
              .interleaved = a.style == RopeStyle::interleaved});
  });
}

bool is_f32(const RopeArgs& a, const DeviceFacts&) { return a.x.dtype() == DType::f32; }
#endif

constexpr auto kVariants = std::to_array<Variant<RopeArgs>>({
#if defined(OCTAVO_CUDA)
  {"cuda_octets",
   Backend::cuda,
   Isa::reference,
   rope_fits_octets,
   "aligned heads, half_split pairs a multiple of 8, interleaved of 4",
   rope_octets},
      {"cuda_pairs", Backend::cuda, Isa::reference, nullptr, "always", rope_pairs},
#endif
#if defined(__x86_64__)
      {"avx512", Backend::cpu, Isa::avx512, is_f32, "f32", run_tokens<avx512::rope_token>},
      {"avx2", Backend::cpu, Isa::avx2, is_f32, "f32", run_tokens<avx2::rope_token>},
#endif
      {"reference", Backend::cpu, Isa::reference, nullptr, "always", run_reference},
});

}  // namespace

void rope(const Context& ctx, const RopeArgs& args) {
  validate(ctx, args);
  choose(kVariants, kOp, ctx, args).run(ctx, args);
}

KernelInfo rope_variant(const Context& ctx, const RopeArgs& args) {
  validate(ctx, args);
  return kernel_info(choose(kVariants, kOp, ctx, args));
}

}  // namespace octavo
