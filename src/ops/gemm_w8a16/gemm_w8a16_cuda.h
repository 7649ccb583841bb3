// The CUDA side of gemm_w8a16: few tokens (streams the weights), and any layout.
#pragma once
#include "ops/gemm_w8a16/gemm_w8a16.h"
#include "ops/gemm_w8a16/gemm_w8a16_plan.h"

namespace octavo {

// Few tokens of 16 bits, sm_80 or newer.
bool gemm_w8a16_fits_few(const GemmW8A16Args& args, const DeviceFacts& facts);
void gemm_w8a16_few(const Context& ctx, const GemmW8A16Args& args);
void gemm_w8a16_few_with_plan(const Context& ctx, const GemmW8A16Args& args,
                              const FewPlan& plan);  // for benches

// Any type, stride and alignment.
void gemm_w8a16_any(const Context& ctx, const GemmW8A16Args& args);

}  // namespace octavo
