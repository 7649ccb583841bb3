// Weight-only INT8 product: float activations times INT8 weights, the conversion fused into the product.
//   v[m][n] = (sum_k x[m][k] * w[n][k]) * w_scale[n] + bias[n], sums in fp32
//   y[m][n] = v[m][n], or with silu_mul: v[m][2 n] * sigmoid(v[m][2 n]) * v[m][2 n + 1]; plus residual[m][n]
#pragma once
#include "core/context.h"

namespace octavo {

struct GemmW8A16Args {
  ConstTensor x;          // [M, K] f32 | f16 | bf16; any row stride
  ConstTensor w;          // [N, K] i8; any row stride
  ConstTensor w_scale;    // [N] f32
  ConstTensor bias;       // optional: [N] f32
  ConstTensor residual;   // optional: y's shape and type; any row stride; may be y
  bool silu_mul = false;  // the rows of w are gate 0, up 0, gate 1, up 1, ..
  bool w_ready =
      false;  // no launch in front of this one on the stream still writes w: it may be read before they end
  Tensor y;   // [M, N], with silu_mul [M, N / 2]; f32 | f16 | bf16; any row stride
};

void gemm_w8a16(const Context& ctx, const GemmW8A16Args& args);
KernelInfo gemm_w8a16_variant(const Context& ctx, const GemmW8A16Args& args);

}  // namespace octavo
