// The CUDA side of layer_norm: many rows streamed through shared memory, few rows kept in registers, and a loop for any shape.
#pragma once
#include "cuda/row_split.h"
#include "ops/layer_norm/layer_norm.h"

namespace octavo {

bool layer_norm_streams(const LayerNormArgs& args, const DeviceFacts& facts);
void layer_norm_streamed(const Context& ctx, const LayerNormArgs& args);
void layer_norm_with_stream(const Context& ctx, const LayerNormArgs& args,
                            const cuda::RowStream& stream);  // for benches
bool layer_norm_fits_registers(const LayerNormArgs& args, const DeviceFacts& facts);
void layer_norm_registers(const Context& ctx, const LayerNormArgs& args);
void layer_norm_loop(const Context& ctx, const LayerNormArgs& args);

}  // namespace octavo
