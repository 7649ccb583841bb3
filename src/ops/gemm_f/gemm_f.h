// Unquantised product y = x w^T + bias, sums in fp32. The CPU's own; cuBLASLt on CUDA, loaded at the first call.
#pragma once
#include "core/context.h"

namespace octavo {

struct GemmFArgs {
  ConstTensor x;     // [M, K] f32 | f16 | bf16; any row stride
  ConstTensor w;     // [N, K] f32 | f16 | bf16; any row stride
  ConstTensor bias;  // optional: [N] f32
  Tensor y;          // [M, N] f32 | f16 | bf16; any row stride
};

// On CUDA; more is not used, less may be slower, none is needed but for a bias with 16-bit outputs.
int64_t gemm_f_workspace_bytes(const Context& ctx, const GemmFArgs& args);
void gemm_f(const Context& ctx, const GemmFArgs& args);
KernelInfo gemm_f_variant(const Context& ctx, const GemmFArgs& args);

}  // namespace octavo
