// cp.async.bulk (sm_90): contiguous copies by the copy engine, reported to an mbarrier.
#pragma once
#include <cstdint>

#include "cuda/ptx/mbarrier.cuh"

namespace octavo::cuda::ptx {

// Global to this block's shared memory; both addresses and `bytes` are multiples of 16.
__device__ __forceinline__ void bulk_load(void* to_shared, const void* from, uint32_t bytes,
                                          uint64_t* barrier) {
#if __CUDA_ARCH__ >= 900
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
          shared_address(to_shared)),
      "l"(from), "r"(bytes), "r"(shared_address(barrier))
      : "memory");
#endif
}

// Orders this thread's ordinary accesses to shared memory before later ones of the copy engine.
__device__ __forceinline__ void shared_before_bulk() {
#if __CUDA_ARCH__ >= 900
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}

}  // namespace octavo::cuda::ptx
