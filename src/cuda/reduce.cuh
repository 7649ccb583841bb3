// Reductions over the threads of a row: lanes, then warps through shared memory, then blocks of a cluster through
// distributed shared memory. The order is fixed by the launch shape: the same row gives the same bits every time.
//
// Launch shape: blockDim = (threads of a row in this block, rows of a block); threads of a row are a power of two up to
// 32, or a multiple of 32. With a cluster, blockDim.y = 1 and all its blocks work on one row.
#pragma once
#include <cstdint>

#include "cuda/ptx/cluster.cuh"

namespace octavo::cuda {

struct Sum {
  using Value = float;
  static __device__ __forceinline__ float zero() { return 0.0f; }
  static __device__ __forceinline__ float join(float a, float b) { return a + b; }
};
// Maximum of the bits of absolute values: ordered like the values, and NaN is the largest, so it is never lost.
struct MaxBits {
  using Value = uint32_t;
  static __device__ __forceinline__ uint32_t zero() { return 0; }
  static __device__ __forceinline__ uint32_t join(uint32_t a, uint32_t b) { return max(a, b); }
};
struct IntSum {
  using Value = int32_t;
  static __device__ __forceinline__ int32_t zero() { return 0; }
  static __device__ __forceinline__ int32_t join(int32_t a, int32_t b) { return a + b; }
};

__device__ __forceinline__ uint32_t to_bits(float v) { return __float_as_uint(v); }
__device__ __forceinline__ uint32_t to_bits(uint32_t v) { return v; }
__device__ __forceinline__ uint32_t to_bits(int32_t v) { return static_cast<uint32_t>(v); }
template <class V> __device__ __forceinline__ V from_bits(uint32_t bits);
template <> __device__ __forceinline__ float from_bits<float>(uint32_t bits) { return __uint_as_float(bits); }
template <> __device__ __forceinline__ uint32_t from_bits<uint32_t>(uint32_t bits) { return bits; }
template <> __device__ __forceinline__ int32_t from_bits<int32_t>(uint32_t bits) { return static_cast<int32_t>(bits); }

// All lanes of a group of `width` (a power of two) lanes get the result.
template <class Op>
__device__ __forceinline__ typename Op::Value reduce_lanes(typename Op::Value v, int width) {
  if (width == 32) {
#pragma unroll
    for (int offset = 16; offset > 0; offset /= 2) v = Op::join(v, __shfl_xor_sync(0xffffffffu, v, offset));
  } else {
    for (int offset = width / 2; offset > 0; offset /= 2) v = Op::join(v, __shfl_xor_sync(0xffffffffu, v, offset));
  }
  return v;
}

inline constexpr int kMaxWarps = 32, kMaxCluster = 16;

// Scratch of one reduction. A kernel has one for each of its reductions, so that none waits for the readers of another.
struct ReduceScratch {
  uint32_t warp[kMaxWarps];
  uint32_t block[kMaxCluster];
};

// The result over the row in every thread of it. Every thread of the block calls it. With a cluster, the kernel has
// passed cluster_start() before.
template <class Op>
__device__ __forceinline__ typename Op::Value reduce_row(typename Op::Value v, ReduceScratch& scratch) {
  using Value = typename Op::Value;
  const int threads = blockDim.x;
  if (threads <= 32) return reduce_lanes<Op>(v, threads);

  const int lane = threadIdx.x % 32, warps = threads / 32;
  v = reduce_lanes<Op>(v, 32);
  if (lane == 0) scratch.warp[threadIdx.y * warps + threadIdx.x / 32] = to_bits(v);
  __syncthreads();
  v = lane < warps ? from_bits<Value>(scratch.warp[threadIdx.y * warps + lane]) : Op::zero();
  v = reduce_lanes<Op>(v, 32);

  const int ranks = ptx::cluster_size();
  if (ranks > 1) {
    if (static_cast<int>(threadIdx.x) < ranks)
      ptx::store_to_peer(&scratch.block[ptx::cluster_rank()], threadIdx.x, to_bits(v));
    ptx::cluster_arrive();
    ptx::cluster_wait();
    v = from_bits<Value>(scratch.block[0]);
    for (int rank = 1; rank < ranks; ++rank) v = Op::join(v, from_bits<Value>(scratch.block[rank]));
  }
  return v;
}

// Before the first store into a peer's shared memory the peer must run: arrive early, wait before the first reduction.
__device__ __forceinline__ void cluster_announce() {
  if (ptx::cluster_size() > 1) ptx::cluster_arrive();
}
__device__ __forceinline__ void cluster_start() {
  if (ptx::cluster_size() > 1) ptx::cluster_wait();
}

}  // namespace octavo::cuda
