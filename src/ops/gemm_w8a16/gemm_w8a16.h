// Weight-only INT8 product: float activations times INT8 weights, the conversion fused into the product.
//   y[m][n] = (sum_k x[m][k] * w[n][k]) * w_scale[n] + bias[n], sums in fp32
#pragma once
#include "core/context.h"

namespace octavo {

struct GemmW8A16Args {
  ConstTensor x;        // [M, K] f32 | f16 | bf16; any row stride
  ConstTensor w;        // [N, K] i8; any row stride
  ConstTensor w_scale;  // [N] f32
  ConstTensor bias;     // optional: [N] f32
  Tensor y;             // [M, N] f32 | f16 | bf16; any row stride
};

void gemm_w8a16(const Context& ctx, const GemmW8A16Args& args);
KernelInfo gemm_w8a16_variant(const Context& ctx, const GemmW8A16Args& args);

}  // namespace octavo
