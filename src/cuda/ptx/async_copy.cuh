// cp.async (sm_80): 16 bytes from global to shared memory without a register in between.
#pragma once
#include <cstdint>

#include "cuda/ptx/mbarrier.cuh"

namespace octavo::cuda::ptx {

// Through the first-level cache: for data that other blocks of the multiprocessor read too.
__device__ __forceinline__ void copy_async(uint4* to_shared, const uint4* from) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 16;" ::"r"(shared_address(to_shared)), "l"(from)
               : "memory");
}
// Returns when this thread's copies have arrived; other threads' need a barrier after that.
__device__ __forceinline__ void wait_for_copies() { asm volatile("cp.async.wait_all;" ::: "memory"); }

}  // namespace octavo::cuda::ptx
