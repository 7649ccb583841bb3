// INT8 matrix product with per-token and per-channel scales; exact in s32, the same bits on every backend, for every
// tile, thread count and batch size (design 3):
//   acc[m][n] = sum_k x[m][k] * w[n][k]  (s32)
//   y[m][n]   = fma(float(acc) * w_scale[n], x_scale[m], bias[n])  (no bias: +0), one rounding to y's type
#pragma once
#include "core/context.h"

namespace octavo {

inline constexpr int64_t kMaxInt8K = 131071;  // 128 * 128 * K < 2^31

struct GemmW8A8Args {
  ConstTensor x;        // [M, K] i8; any row stride
  ConstTensor x_scale;  // [M] f32; absent when y is i32
  ConstTensor w;        // [N, K] i8; any row stride (octavo's weights: pitch round_up(K, 128), zero tail)
  ConstTensor w_scale;  // [N] f32; absent when y is i32
  ConstTensor
      w_code_sum;    // [N] i32: sum_k w[n][k]; optional, VNNI needs it (computed on the fly where absent)
  ConstTensor bias;  // optional: [N] f32
  Tensor y;          // [M, N] f32 | f16 | bf16 (scaled) | i32 (acc); any row stride
};

// Bytes of ctx.workspace that the call needs; 0 for most variants.
int64_t gemm_w8a8_workspace_bytes(const Context& ctx, const GemmW8A8Args& args);
void gemm_w8a8(const Context& ctx, const GemmW8A8Args& args);
KernelInfo gemm_w8a8_variant(const Context& ctx, const GemmW8A8Args& args);

}  // namespace octavo
