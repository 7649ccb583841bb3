// On the device: how many 16-byte words of two buffers differ, added to a counter.
#pragma once
#include <cstdint>

#include "core/context.h"

namespace octavo::gpu {

void count_differences(const Context& ctx, const void* a, const void* b, int64_t bytes, uint32_t* counter);

}  // namespace octavo::gpu
