// INT8 matrix product with per-token and per-channel scales; exact in s32, the same bits on every backend, for every
// tile, thread count and batch size (design 3):
//   acc[m][n] = sum_k x[m][k] * w[n][k]  (s32)
//   v[m][n]   = fma(float(acc) * w_scale[n], x_scale[m], bias[n])  (no bias: +0)
//   y = v; or gelu(v); or silu(v of even columns) * v of odd ones; or v + residual; in fp32, then one rounding to y's type
#pragma once
#include "core/context.h"

namespace octavo {

inline constexpr int64_t kMaxInt8K = 131071;  // 128 * 128 * K < 2^31

// What is done to v before it is rounded. The formulas are those of bias_gelu and silu_mul.
enum class GemmActivation : uint8_t {
  none,
  gelu_erf,
  gelu_tanh,
  silu_mul,  // rows of w alternate gate and up: y[m][i] = silu(v[m][2 i]) * v[m][2 i + 1], and y is [M, N / 2]
};

struct GemmW8A8Args {
  ConstTensor x;        // [M, K] i8; any row stride
  ConstTensor x_scale;  // [M] f32; absent when y is i32
  ConstTensor w;        // [N, K] i8; any row stride (octavo's weights: pitch round_up(K, 128), zero tail)
  ConstTensor w_scale;  // [N] f32; absent when y is i32
  ConstTensor
      w_code_sum;    // [N] i32: sum_k w[n][k]; optional, VNNI needs it (computed on the fly where absent)
  ConstTensor bias;  // optional: [N] f32
  GemmActivation activation = GemmActivation::none;
  ConstTensor
      residual;  // optional, without activation: [M, N] of y's type (f32, f16, bf16); may be y's memory
  ConstTensor
      y_scale;  // with y of i8: [1] f32; y = clamp(round_half_even(v * (1 / y_scale)), -127, 127), NaN: 0
  // Optional, with y of f16 or bf16: [M] f32. Raised to the row's largest |y| (as stored; NaN above Inf above every number),
  // from what it held: 0 at first. It is the amax that quantises y by rows.
  Tensor y_amax = {};
  Tensor y;  // [M, N], silu_mul: [M, N / 2]; f32 | f16 | bf16 | i8 (scaled) | i32 (acc); any row stride
  // A promise: w, w_scale and bias were complete before any work started that is still in flight on the stream. Then a
  // GPU reads them while the kernel before this one still runs.
  bool constant_weights = false;
};

// Bytes of ctx.workspace that the call needs; 0 for most variants.
int64_t gemm_w8a8_workspace_bytes(const Context& ctx, const GemmW8A8Args& args);
void gemm_w8a8(const Context& ctx, const GemmW8A8Args& args);
KernelInfo gemm_w8a8_variant(const Context& ctx, const GemmW8A8Args& args);

}  // namespace octavo
