// The CUDA side of rms_norm: rows streamed past parameters in registers, rows kept packed in registers, and a loop for any shape.
#pragma once
#include "ops/rms_norm/rms_norm.h"

namespace octavo {

bool rms_norm_streams(const RmsNormArgs& args, const DeviceFacts& facts);
void rms_norm_stream(const Context& ctx, const RmsNormArgs& args);
bool rms_norm_fits_registers(const RmsNormArgs& args, const DeviceFacts& facts);
void rms_norm_registers(const Context& ctx, const RmsNormArgs& args);
void rms_norm_loop(const Context& ctx, const RmsNormArgs& args);

}  // namespace octavo
