// The CUDA side of rms_norm: one kernel that keeps the row in registers, one that loops over rows of any shape.
#pragma once
#include "cuda/row_split.h"
#include "ops/rms_norm/rms_norm.h"

namespace octavo {

bool rms_norm_fits_registers(const RmsNormArgs& args, const DeviceFacts& facts);
void rms_norm_registers(const Context& ctx, const RmsNormArgs& args);
void rms_norm_with_split(const Context& ctx, const RmsNormArgs& args, const cuda::RowSplit& split);  // for benches
void rms_norm_loop(const Context& ctx, const RmsNormArgs& args);

}  // namespace octavo
