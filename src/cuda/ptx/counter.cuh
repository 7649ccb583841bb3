// Counters in global memory.
#pragma once
#include <cstdint>

namespace octavo::cuda::ptx {

// *counter before it is raised by one; from number - 1 on it starts over at 0.
__device__ __forceinline__ uint32_t increment_below(uint32_t* counter, uint32_t number) {
  return atomicInc(counter, number - 1);
}

}  // namespace octavo::cuda::ptx
