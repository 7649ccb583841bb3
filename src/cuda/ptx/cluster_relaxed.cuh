// The barrier of a cluster without its release (ptx/cluster.cuh): it waits for no earlier store to global memory. For the start of
// a kernel, after mbarrier_init_fence(), and for its end, where blocks wait only for each other's presence (sm_90).
#pragma once

namespace octavo::cuda::ptx {

__device__ __forceinline__ void cluster_arrive_relaxed() {
#if __CUDA_ARCH__ >= 900
  asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory");
#endif
}

}  // namespace octavo::cuda::ptx
