// Thread block clusters (sm_90): rank, barrier, and stores into a peer's shared memory. A launch without a cluster, and
// any older architecture, is a cluster of one.
#pragma once
#include <cstdint>

#include "cuda/ptx/mbarrier.cuh"

namespace octavo::cuda::ptx {

__device__ __forceinline__ uint32_t cluster_size() {
  uint32_t n = 1;
#if __CUDA_ARCH__ >= 900
  asm("mov.u32 %0, %%cluster_nctaid.x;" : "=r"(n));
#endif
  return n;
}

__device__ __forceinline__ uint32_t cluster_rank() {
  uint32_t rank = 0;
#if __CUDA_ARCH__ >= 900
  asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
#endif
  return rank;
}

// Clusters in the grid.
__device__ __forceinline__ uint32_t cluster_count() {
  uint32_t n = gridDim.x;
#if __CUDA_ARCH__ >= 900
  asm("mov.u32 %0, %%nclusterid.x;" : "=r"(n));
#endif
  return n;
}

// Number of the cluster in the grid: blockIdx.x / cluster_size without the division.
__device__ __forceinline__ uint32_t cluster_index() {
  uint32_t index = blockIdx.x;
#if __CUDA_ARCH__ >= 900
  asm("mov.u32 %0, %%clusterid.x;" : "=r"(index));
#endif
  return index;
}

// Arrive and wait, for every thread of every block of the cluster; orders shared memory of the whole cluster.
// NOTE: the release also waits for this thread's stores to global memory, so put those after the barrier.
__device__ __forceinline__ void cluster_arrive() {
#if __CUDA_ARCH__ >= 900
  asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
#endif
}
__device__ __forceinline__ void cluster_wait() {
#if __CUDA_ARCH__ >= 900
  asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
#endif
}

// The same without the release: it waits for no earlier store to global memory. For the start of a kernel, after
// mbarrier_init_fence(). Not for its end: arrivals at a peer's mbarrier may still be on their way.
__device__ __forceinline__ void cluster_arrive_relaxed() {
#if __CUDA_ARCH__ >= 900
  asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory");
#endif
}

// Where `p` of this block's shared memory lies in that of block `rank` of the cluster.
__device__ __forceinline__ uint32_t address_in_peer(const void* p, uint32_t rank) {
  uint32_t peer = 0;
#if __CUDA_ARCH__ >= 900
  asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(peer) : "r"(shared_address(p)), "r"(rank));
#endif
  return peer;
}

// *p = value in the shared memory of block `rank`, then 4 bytes of that block's barrier; p and barrier are this block's
// addresses of the same variables. Unlike the barrier above it waits for no earlier store.
__device__ __forceinline__ void store_to_peer(uint32_t* p, uint64_t* barrier, uint32_t rank, uint32_t value) {
#if __CUDA_ARCH__ >= 900
  const uint32_t peer = address_in_peer(p, rank), peer_barrier = address_in_peer(barrier, rank);
  asm volatile("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.u32 [%0], %1, [%2];" ::"r"(peer),
               "r"(value), "r"(peer_barrier)
               : "memory");
#endif
}

// The same with 8 bytes.
__device__ __forceinline__ void store_to_peer(float2* p, uint64_t* barrier, uint32_t rank, float2 value) {
#if __CUDA_ARCH__ >= 900
  const uint32_t peer = address_in_peer(p, rank), peer_barrier = address_in_peer(barrier, rank);
  asm volatile(
      "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v2.f32 [%0], {%1, %2}, [%3];" ::"r"(peer),
      "f"(value.x), "f"(value.y), "r"(peer_barrier)
      : "memory");
#endif
}

// The same with 16 bytes.
__device__ __forceinline__ void store_to_peer(int4* p, uint64_t* barrier, uint32_t rank, int4 value) {
#if __CUDA_ARCH__ >= 900
  const uint32_t peer = address_in_peer(p, rank), peer_barrier = address_in_peer(barrier, rank);
  asm volatile(
      "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v4.s32 [%0], {%1, %2, %3, %4}, [%5];" ::"r"(
          peer),
      "r"(value.x), "r"(value.y), "r"(value.z), "r"(value.w), "r"(peer_barrier)
      : "memory");
#endif
}

// An arrival at the barrier of block `rank`; barrier is this block's address of the variable. For memory that was read.
__device__ __forceinline__ void mbarrier_arrive_at(uint64_t* barrier, uint32_t rank) {
#if __CUDA_ARCH__ >= 900
  asm volatile("mbarrier.arrive.shared::cluster.b64 _, [%0];" ::"r"(address_in_peer(barrier, rank))
               : "memory");
#endif
}

}  // namespace octavo::cuda::ptx
