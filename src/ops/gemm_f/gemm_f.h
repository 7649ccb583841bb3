// Unquantised product y = x w^T + bias, sums in fp32. The CPU's own; cuBLASLt on CUDA (later).
#pragma once
#include "core/context.h"

namespace octavo {

struct GemmFArgs {
  ConstTensor x;     // [M, K] f32 | f16 | bf16; any row stride
  ConstTensor w;     // [N, K] f32 | f16 | bf16; any row stride
  ConstTensor bias;  // optional: [N] f32
  Tensor y;          // [M, N] f32 | f16 | bf16; any row stride
};

void gemm_f(const Context& ctx, const GemmFArgs& args);
KernelInfo gemm_f_variant(const Context& ctx, const GemmFArgs& args);

}  // namespace octavo
