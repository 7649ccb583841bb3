// The barrier of a cluster without its release (ptx/cluster.cuh): it waits for no earlier store to global memory. For the start of
// a kernel, after mbarrier_init_fence() (sm_90). Not for its end: arrivals at a peer's mbarrier may still be on their way.
#pragma once

namespace octavo::cuda::ptx {

__device__ __forceinline__ void cluster_arrive_relaxed() {
#if __CUDA_ARCH__ >= 900
  asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory");
#endif
}

}  // namespace octavo::cuda::ptx
