// The CUDA side of layer_norm: rows streamed past parameters in registers, rows kept packed in registers, and a loop for any shape.
#pragma once
#include "ops/layer_norm/layer_norm.h"

namespace octavo {

bool layer_norm_streams(const LayerNormArgs& args, const DeviceFacts& facts);
void layer_norm_stream(const Context& ctx, const LayerNormArgs& args);
bool layer_norm_fits_registers(const LayerNormArgs& args, const DeviceFacts& facts);
void layer_norm_registers(const Context& ctx, const LayerNormArgs& args);
void layer_norm_loop(const Context& ctx, const LayerNormArgs& args);

}  // namespace octavo
