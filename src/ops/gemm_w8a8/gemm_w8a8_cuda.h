// The CUDA side of gemm_w8a8: Hopper (TMA, wgmma), Ampere and newer (cp.async, mma.sync), and any layout.
#pragma once
#include "ops/gemm_w8a8/gemm_w8a8.h"
#include "ops/gemm_w8a8/gemm_w8a8_tiles.h"

namespace octavo {

// sm_90a: rows of x and w on 16 bytes, K above 0.
bool gemm_w8a8_fits_sm90(const GemmW8A8Args& args, const DeviceFacts& facts);
void gemm_w8a8_sm90(const Context& ctx, const GemmW8A8Args& args);
void gemm_w8a8_with_plan(const Context& ctx, const GemmW8A8Args& args, const Int8Plan& plan);  // for benches

// Parts of it, each in a file of its own: few tokens; some, with y of 16 bits, scales and a bias; many with more behind the
// sums.
void gemm_w8a8_few(const Context& ctx, const GemmW8A8Args& args, const Int8Plan& plan);
void gemm_w8a8_some(const Context& ctx, const GemmW8A8Args& args, const Int8Plan& plan);
void gemm_w8a8_fused(const Context& ctx, const GemmW8A8Args& args, const Int8Plan& plan);

// sm_80 and newer: rows of x and w on 16 bytes.
bool gemm_w8a8_fits_sm80(const GemmW8A8Args& args, const DeviceFacts& facts);
void gemm_w8a8_sm80(const Context& ctx, const GemmW8A8Args& args);

// Any stride and alignment.
void gemm_w8a8_any(const Context& ctx, const GemmW8A8Args& args);

}  // namespace octavo
