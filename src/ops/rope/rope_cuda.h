// The CUDA side of rope: one kernel by octets with a table of sines in shared memory, one by single pairs.
#pragma once
#include "ops/rope/rope.h"

namespace octavo {

bool rope_fits_octets(const RopeArgs& args, const DeviceFacts& facts);
void rope_octets(const Context& ctx, const RopeArgs& args);
void rope_pairs(const Context& ctx, const RopeArgs& args);

}  // namespace octavo
