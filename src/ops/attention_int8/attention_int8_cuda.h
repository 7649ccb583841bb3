// The CUDA side of attention_int8: Hopper (TMA, wgmma), Ampere and newer (cp.async, mma.sync).
#pragma once
#include "ops/attention_int8/attention_int8.h"

namespace octavo {

// sm_90a, D at most 128.
bool attention_int8_fits_sm90(const AttentionInt8Args& args, const DeviceFacts& facts);
void attention_int8_sm90(const Context& ctx, const AttentionInt8Args& args);

// sm_80 and newer, D at most 128.
bool attention_int8_fits_sm80(const AttentionInt8Args& args, const DeviceFacts& facts);
void attention_int8_sm80(const Context& ctx, const AttentionInt8Args& args);

// Any architecture.
void attention_int8_quantize_cuda(const Context& ctx, const AttentionInt8QuantizeArgs& args);

}  // namespace octavo
