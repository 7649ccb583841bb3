// cp.async.bulk.tensor (sm_90): boxes of a tensor by the copy engine (TMA), reported to an mbarrier. The host describes
// the tensor in a CUtensorMap, which reaches the kernel as a __grid_constant__ parameter. Elements outside it read as 0.
#pragma once
#include <cuda.h>

#include <cstdint>

#include "cuda/ptx/mbarrier.cuh"

namespace octavo::cuda::ptx {

__device__ __forceinline__ void prefetch_tensor_map(const CUtensorMap* map) {
#if __CUDA_ARCH__ >= 900
  asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
#endif
}

// The map's box at (column, row) to this block's shared memory. The barrier gets all bytes of the box, zeros included.
__device__ __forceinline__ void load_box(void* to_shared, const CUtensorMap* map, int column, int row,
                                         uint64_t* barrier) {
#if __CUDA_ARCH__ >= 900
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], "
      "[%4];" ::"r"(shared_address(to_shared)),
      "l"(map), "r"(column), "r"(row), "r"(shared_address(barrier))
      : "memory");
#endif
}

// The same of a tensor of 3 or 5 dimensions, the contiguous one first.
__device__ __forceinline__ void load_box(void* to_shared, const CUtensorMap* map, int3 at,
                                         uint64_t* barrier) {
#if __CUDA_ARCH__ >= 900
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, %4}], "
      "[%5];" ::"r"(shared_address(to_shared)),
      "l"(map), "r"(at.x), "r"(at.y), "r"(at.z), "r"(shared_address(barrier))
      : "memory");
#endif
}
__device__ __forceinline__ void load_box(void* to_shared, const CUtensorMap* map, int c0, int c1, int c2,
                                         int c3, int c4, uint64_t* barrier) {
#if __CUDA_ARCH__ >= 900
  asm volatile(
      "cp.async.bulk.tensor.5d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, %4, "
      "%5, %6}], [%7];" ::"r"(shared_address(to_shared)),
      "l"(map), "r"(c0), "r"(c1), "r"(c2), "r"(c3), "r"(c4), "r"(shared_address(barrier))
      : "memory");
#endif
}

// load_box of data that nobody reads again soon: first to leave L2. (The hint is the value that createpolicy.fractional
// makes of L2::evict_first and a fraction of 1.)
__device__ __forceinline__ void load_box_once(void* to_shared, const CUtensorMap* map, int3 at,
                                              uint64_t* barrier) {
#if __CUDA_ARCH__ >= 900
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1, "
      "{%2, %3, %4}], [%5], %6;" ::"r"(shared_address(to_shared)),
      "l"(map), "r"(at.x), "r"(at.y), "r"(at.z), "r"(shared_address(barrier)), "l"(0x12f0000000000000ull)
      : "memory");
#endif
}

// Asks for a box into L2.
__device__ __forceinline__ void prefetch_box(const CUtensorMap* map, int3 at) {
#if __CUDA_ARCH__ >= 900
  asm volatile("cp.async.bulk.prefetch.tensor.3d.L2.global [%0, {%1, %2, %3}];" ::"l"(map), "r"(at.x),
               "r"(at.y), "r"(at.z)
               : "memory");
#endif
}

// load_box into every block of the cluster that `ranks` has a bit for: to the same address in each, reported to each
// one's own barrier.
__device__ __forceinline__ void load_box_to_ranks(void* to_shared, const CUtensorMap* map, int column,
                                                  int row, uint64_t* barrier, uint16_t ranks) {
#if __CUDA_ARCH__ >= 900
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster "
      "[%0], [%1, {%2, %3}], [%4], %5;" ::"r"(shared_address(to_shared)),
      "l"(map), "r"(column), "r"(row), "r"(shared_address(barrier)), "h"(ranks)
      : "memory");
#endif
}

}  // namespace octavo::cuda::ptx
