// The CUDA side of bias_gelu: octet kernels for aligned rows, and a loop.
#pragma once
#include "cuda/row_split.h"
#include "ops/bias_gelu/bias_gelu.h"

namespace octavo {

bool bias_gelu_streams(const BiasGeluArgs& args, const DeviceFacts& facts);
void bias_gelu_streamed(const Context& ctx, const BiasGeluArgs& args);
bool bias_gelu_fits_octets(const BiasGeluArgs& args, const DeviceFacts& facts);
void bias_gelu_octets(const Context& ctx, const BiasGeluArgs& args);
void bias_gelu_loop(const Context& ctx, const BiasGeluArgs& args);

}  // namespace octavo
