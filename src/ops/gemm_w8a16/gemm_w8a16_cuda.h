// The CUDA side of gemm_w8a16: few tokens on Hopper (streams the weights by TMA) and elsewhere, many on Hopper (TMA, wgmma), any
// number on Ampere and newer (cp.async, mma.sync), and any layout.
#pragma once
#include "ops/gemm_w8a16/gemm_w8a16.h"
#include "ops/gemm_w8a16/gemm_w8a16_plan.h"

namespace octavo {

// Few tokens of 16 bits, sm_90, rows of x and w on 16 bytes, K a multiple of 128.
bool gemm_w8a16_fits_stream(const GemmW8A16Args& args, const DeviceFacts& facts);
void gemm_w8a16_stream(const Context& ctx, const GemmW8A16Args& args);
void gemm_w8a16_stream_with_plan(const Context& ctx, const GemmW8A16Args& args,
                                 const StreamPlan& plan);  // for benches

// Few tokens of 16 bits, sm_80 or newer.
bool gemm_w8a16_fits_few(const GemmW8A16Args& args, const DeviceFacts& facts);
void gemm_w8a16_few(const Context& ctx, const GemmW8A16Args& args);

// Many tokens of 16 bits, y of 16 bits, sm_90a, rows of x and w on 16 bytes, K above 0.
bool gemm_w8a16_fits_sm90(const GemmW8A16Args& args, const DeviceFacts& facts);
void gemm_w8a16_sm90(const Context& ctx, const GemmW8A16Args& args);
void gemm_w8a16_many_with_plan(const Context& ctx, const GemmW8A16Args& args,
                               const ManyPlan& plan);  // for benches

// Any number of tokens of 16 bits, sm_80 or newer, rows of x and w on 16 bytes.
bool gemm_w8a16_fits_sm80(const GemmW8A16Args& args, const DeviceFacts& facts);
void gemm_w8a16_sm80(const Context& ctx, const GemmW8A16Args& args);

// Any type, stride and alignment.
void gemm_w8a16_any(const Context& ctx, const GemmW8A16Args& args);

}  // namespace octavo
