#include "ops/attention_int8/attention_int8.h"

#include <fmt/format.h>

#include <cmath>

#include "core/check.h"
#include "core/dispatch.h"
#include "core/thread_pool.h"
#include "core/workspace.h"
#include "ops/attention_int8/attention_int8_blocked.h"
#include "ops/attention_int8/attention_int8_ref.h"
#if defined(OCTAVO_CUDA)
#include "ops/attention_int8/attention_int8_cuda.h"
#endif

namespace octavo {
namespace {

constexpr const char* kOp = "attention_int8";
constexpr int64_t kLargestDim = 256;

int64_t pages_of(int64_t keys) { return (keys + kInt8PageKeys - 1) / kInt8PageKeys; }
int64_t tiles_of(int64_t keys) { return (keys + kInt8TileKeys - 1) / kInt8TileKeys; }

void expect_dense(const char* arg, const ConstTensor& t) {
  int64_t step = 1;
  for (int d = t.rank() - 1; d >= 0; step *= t.dim(d), --d)
    if (t.dim(d) > 1 && t.stride(d) != step)
      fail_argument(kOp, arg, fmt::format("is {}, expected dense", t.describe()));
}

void check_heads(const ConstTensor& q, const ConstTensor& k) {
  if (k.dim(1) < 1 || q.dim(1) % k.dim(1) != 0)
    fail_argument(kOp, "k",
                  fmt::format("has {} heads, but q has {}; expected a divisor", k.dim(1), q.dim(1)));
  if (q.dim(3) < 16 || q.dim(3) > kLargestDim || q.dim(3) % 16 != 0)
    fail_argument(
        kOp, "q",
        fmt::format("has head dimension {}, expected a multiple of 16 up to {}; pad q, k and v with zeros",
                    q.dim(3), kLargestDim));
}

// Codes and scales of q rows x dim, keys x dim.
struct Codes {
  ConstTensor q, q_scale, k, k_scale, v, v_scale;
};

void check_codes(Backend backend, const Codes& c, int64_t batch, int64_t heads, int64_t kv_heads, int64_t sq,
                 int64_t sk, int64_t dim) {
  const auto expect = [&](const char* name, const ConstTensor& t, DType dtype,
                          std::initializer_list<int64_t> shape) {
    expect_backend(kOp, name, t, backend);
    expect_dtype(kOp, name, t, {dtype});
    expect_shape(kOp, name, t, shape);
  };
  expect("q codes", c.q, DType::i8, {batch, heads, sq, dim}), expect_dense("q codes", c.q);
  expect("q_scale", c.q_scale, DType::f32, {batch, heads, sq}), expect_dense("q_scale", c.q_scale);
  expect("k codes", c.k, DType::i8, {batch, kv_heads, sk, dim}), expect_dense("k codes", c.k);
  expect("k_scale", c.k_scale, DType::f32, {batch, kv_heads, sk}), expect_dense("k_scale", c.k_scale);
  expect("v codes", c.v, DType::i8, {batch, kv_heads, pages_of(sk), dim * kInt8PageKeys}),
      expect_dense("v codes", c.v);
  expect_backend(kOp, "v_scale", c.v_scale, backend);
  expect_dtype(kOp, "v_scale", c.v_scale, {DType::f32});
  // NOTE: not expect_shape: a stride of 0 in the last dimension is one scale for all channels.
  const int64_t want[] = {batch, kv_heads, tiles_of(sk), dim};
  for (int d = 0; d < 4; ++d)
    if (c.v_scale.rank() != 4 || c.v_scale.dim(d) != want[d])
      fail_argument(kOp, "v_scale",
                    fmt::format("is {}, expected [{}, {}, {}, {}]", c.v_scale.describe(), want[0], want[1],
                                want[2], want[3]));
}

void check_output(Backend backend, float scale, const Tensor& out, const Tensor& lse, int64_t batch,
                  int64_t heads, int64_t sq, int64_t dim) {
  if (!std::isfinite(scale) || scale <= 0)
    fail_argument(kOp, "scale", fmt::format("is {}, expected a finite number above 0", scale));
  expect_tensor(kOp, "out", out, backend, {DType::f16, DType::bf16, DType::f32}, {batch, heads, sq, dim});
  if (!lse) return;
  expect_tensor(kOp, "lse", lse, backend, {DType::f32}, {batch, heads, sq});
  expect_dense("lse", lse);
}

void check(const Context& ctx, const AttentionInt8Args& a) {
  expect_shape(kOp, "q", a.q, {-1, -1, -1, -1});
  expect_shape(kOp, "k", a.k, {-1, -1, -1, -1});
  check_heads(a.q, a.k);
  check_codes(ctx.backend, {a.q, a.q_scale, a.k, a.k_scale, a.v, a.v_scale}, a.q.dim(0), a.q.dim(1),
              a.k.dim(1), a.q.dim(2), a.k.dim(2), a.q.dim(3));
  check_output(ctx.backend, a.scale, a.out, a.lse, a.q.dim(0), a.q.dim(1), a.q.dim(2), a.q.dim(3));
}

void check_floats(const Context& ctx, const ConstTensor& q, const ConstTensor& k, const ConstTensor& v) {
  expect_tensor(kOp, "q", q, ctx.backend, {DType::f16, DType::bf16, DType::f32}, {-1, -1, -1, -1});
  expect_tensor(kOp, "k", k, ctx.backend, {q.dtype()}, {q.dim(0), -1, -1, q.dim(3)});
  expect_tensor(kOp, "v", v, ctx.backend, {q.dtype()}, {q.dim(0), k.dim(1), k.dim(2), q.dim(3)});
  check_heads(q, k);
}

void run_reference(const Context& ctx, const AttentionInt8Args& a) {
  parallel_for(ctx.pool, a.q.dim(0) * a.q.dim(1), 1, [&](int64_t begin, int64_t end) {
    float scratch[kInt8TileKeys];
    attention_int8_ref(a, begin, end, scratch);
  });
}

#if defined(__x86_64__)
template <void (*kAttend)(const Int8AttentionRows&)>
void run_blocked(const Context& ctx, const AttentionInt8Args& a) {
  attention_int8_blocked(ctx, a, kAttend);
}

constexpr Int8Coders kAvx512Coders = {avx512::code_int8_rows, avx512::code_int8_tile};
constexpr Int8Coders kAvx2Coders = {avx2::code_int8_rows, avx2::code_int8_tile};
template <const Int8Coders& kCode>
void run_quantize(const Context& ctx, const AttentionInt8QuantizeArgs& a) {
  attention_int8_quantize_blocked(ctx, a, kCode);
}
#endif

constexpr auto kVariants = std::to_array<Variant<AttentionInt8Args>>({
#if defined(OCTAVO_CUDA)
  {"cuda_sm90",        Backend::cuda, Isa::reference, attention_int8_fits_sm90, "sm_90, D at most 128",
   attention_int8_sm90},
      {"cuda_sm80",
       Backend::cuda,
       Isa::reference,
       attention_int8_fits_sm80,
       "sm_80 and newer, D at most 128, codes on 16 bytes",
       attention_int8_sm80},
#endif
#if defined(__x86_64__)
      {"avx512", Backend::cpu, Isa::avx512, nullptr, "always", run_blocked<avx512::attend_rows>},
      {"avx2", Backend::cpu, Isa::avx2, nullptr, "always", run_blocked<avx2::attend_rows>},
#endif
      {"reference", Backend::cpu, Isa::reference, nullptr, "always", run_reference},
});

constexpr auto kQuantizeVariants = std::to_array<Variant<AttentionInt8QuantizeArgs>>({
#if defined(OCTAVO_CUDA)
  {"cuda_any", Backend::cuda, Isa::reference, nullptr, "always", attention_int8_quantize_cuda},
#endif
#if defined(__x86_64__)
      {"avx512", Backend::cpu, Isa::avx512, nullptr, "always", run_quantize<kAvx512Coders>},
      {"avx2", Backend::cpu, Isa::avx2, nullptr, "always", run_quantize<kAvx2Coders>},
#endif
      {"reference",
       Backend::cpu,
       Isa::reference,
       nullptr,
       "always",
       [](const Context&, const AttentionInt8QuantizeArgs& a) { attention_int8_quantize_ref(a); }},
});

// The codes of a float call, one after the other in the workspace.
struct Workspace {
  AttentionInt8QuantizeArgs quantize;
  AttentionInt8Args attend;
  int64_t bytes = 0;
};

Workspace carve(const AttentionInt8FloatArgs& a, uint8_t* start) {
  const int64_t batch = a.q.dim(0), heads = a.q.dim(1), sq = a.q.dim(2), dim = a.q.dim(3), kv = a.k.dim(1),
                sk = a.k.dim(2);
  Workspace w;
  w.bytes = kWorkspaceAlignment;
  int64_t at = 0;
  const auto take = [&](DType dtype, std::initializer_list<int64_t> shape) {
    Tensor t(start ? start + at : nullptr, dtype, shape, a.q.backend());
    at += round_up(t.numel() * size_of(dtype), kWorkspaceAlignment);
    return t;
  };
  w.quantize = {.q = a.q,
                .k = a.k,
                .v = a.v,
                .q_codes = take(DType::i8, {batch, heads, sq, dim}),
                .q_scale = take(DType::f32, {batch, heads, sq}),
                .k_codes = take(DType::i8, {batch, kv, sk, dim}),
                .k_scale = take(DType::f32, {batch, kv, sk}),
                .v_codes = take(DType::i8, {batch, kv, pages_of(sk), dim * kInt8PageKeys}),
                .v_scale = take(DType::f32, {batch, kv, tiles_of(sk), dim})};
  w.attend = {.q = w.quantize.q_codes,
              .q_scale = w.quantize.q_scale,
              .k = w.quantize.k_codes,
              .k_scale = w.quantize.k_scale,
              .v = w.quantize.v_codes,
              .v_scale = w.quantize.v_scale,
              .causal = a.causal,
              .scale = a.scale,
              .out = a.out,
              .lse = a.lse};
  w.bytes += at;
  return w;
}

}  // namespace

void attention_int8(const Context& ctx, const AttentionInt8Args& a) {
  check(ctx, a);
  if (a.out.numel() == 0) return;
  choose(kVariants, kOp, ctx, a).run(ctx, a);
}

KernelInfo attention_int8_variant(const Context& ctx, const AttentionInt8Args& a) {
  check(ctx, a);
  return kernel_info(choose(kVariants, kOp, ctx, a));
}

void attention_int8_quantize(const Context& ctx, const AttentionInt8QuantizeArgs& a) {
  check_floats(ctx, a.q, a.k, a.v);
  check_codes(ctx.backend, {a.q_codes, a.q_scale, a.k_codes, a.k_scale, a.v_codes, a.v_scale}, a.q.dim(0),
              a.q.dim(1), a.k.dim(1), a.q.dim(2), a.k.dim(2), a.q.dim(3));
  expect_dense("v_scale", a.v_scale);
  choose(kQuantizeVariants, "attention_int8_quantize", ctx, a).run(ctx, a);
}

int64_t attention_int8_floats_workspace_bytes(const Context&, const AttentionInt8FloatArgs& a) {
  return carve(a, nullptr).bytes;
}

void attention_int8_floats(const Context& ctx, const AttentionInt8FloatArgs& a) {
  check_floats(ctx, a.q, a.k, a.v);
  check_output(ctx.backend, a.scale, a.out, a.lse, a.q.dim(0), a.q.dim(1), a.q.dim(2), a.q.dim(3));
  if (a.out.numel() == 0) return;
  expect_workspace("attention_int8_floats", ctx, attention_int8_floats_workspace_bytes(ctx, a));
  const Workspace w = carve(a, static_cast<uint8_t*>(workspace_start(ctx)));
  attention_int8_quantize(ctx, w.quantize);
  attention_int8(ctx, w.attend);
}

}  // namespace octavo
