// The CUDA side of attention_f: Hopper (TMA, wgmma), Ampere and newer (cp.async, mma.sync), and any layout and dtype.
#pragma once
#include "ops/attention_f/attention_f.h"

namespace octavo {

// sm_90a: f16 or bf16 (q and cache alike), D a multiple of 8 up to 128, rows on 16 bytes, scale above 0.
bool attention_f_fits_sm90(const AttentionFArgs& args, const DeviceFacts& facts);
void attention_f_sm90(const Context& ctx, const AttentionFArgs& args);

// sm_80 and newer: f16 or bf16, D a multiple of 8 up to 256, rows on 16 bytes, scale above 0.
bool attention_f_fits_sm80(const AttentionFArgs& args, const DeviceFacts& facts);
void attention_f_sm80(const Context& ctx, const AttentionFArgs& args);

// A warp a row: D up to 512, every dtype.
bool attention_f_fits_any(const AttentionFArgs& args, const DeviceFacts& facts);
void attention_f_any(const Context& ctx, const AttentionFArgs& args);

}  // namespace octavo
