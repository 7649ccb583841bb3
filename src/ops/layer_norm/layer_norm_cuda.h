// The CUDA side of layer_norm: one kernel that keeps the row in registers, one that loops over rows of any shape.
#pragma once
#include "cuda/row_split.h"
#include "ops/layer_norm/layer_norm.h"

namespace octavo {

bool layer_norm_fits_registers(const LayerNormArgs& args, const DeviceFacts& facts);
void layer_norm_registers(const Context& ctx, const LayerNormArgs& args);
void layer_norm_with_split(const Context& ctx, const LayerNormArgs& args,
                           const cuda::RowSplit& split);  // for benches
void layer_norm_loop(const Context& ctx, const LayerNormArgs& args);

}  // namespace octavo
