// The CUDA side of silu_mul: octet kernels for unit column strides and for interleaved gate and up, and a loop.
#pragma once
#include "cuda/row_split.h"
#include "ops/silu_mul/silu_mul.h"

namespace octavo {

bool silu_mul_streams(const SiluMulArgs& args, const DeviceFacts& facts);
void silu_mul_streamed(const Context& ctx, const SiluMulArgs& args);
bool silu_mul_fits_octets(const SiluMulArgs& args, const DeviceFacts& facts);
void silu_mul_octets(const Context& ctx, const SiluMulArgs& args);
void silu_mul_loop(const Context& ctx, const SiluMulArgs& args);

}  // namespace octavo
