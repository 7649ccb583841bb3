// The CUDA side of rms_norm: many rows streamed through shared memory, few rows kept in registers, and a loop for any shape.
#pragma once
#include "cuda/row_split.h"
#include "ops/rms_norm/rms_norm.h"

namespace octavo {

bool rms_norm_streams(const RmsNormArgs& args, const DeviceFacts& facts);
void rms_norm_streamed(const Context& ctx, const RmsNormArgs& args);
void rms_norm_with_stream(const Context& ctx, const RmsNormArgs& args,
                          const cuda::RowStream& stream);  // for benches
bool rms_norm_fits_registers(const RmsNormArgs& args, const DeviceFacts& facts);
void rms_norm_registers(const Context& ctx, const RmsNormArgs& args);
void rms_norm_loop(const Context& ctx, const RmsNormArgs& args);

}  // namespace octavo
