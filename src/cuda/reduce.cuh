// Reductions over the threads of a row: lanes, then warps through shared memory (then blocks of a cluster:
// row_pipeline.cuh). The order is fixed by the launch shape: the same row gives the same bits every time.
//
// Launch shape: blockDim = (threads of a row in this block, rows of a block).
#pragma once
#include <cstdint>

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
template <class V>
__device__ __forceinline__ V from_bits(uint32_t bits);
template <>
__device__ __forceinline__ float from_bits<float>(uint32_t bits) {
  return __uint_as_float(bits);
}
template <>
__device__ __forceinline__ uint32_t from_bits<uint32_t>(uint32_t bits) {
  return bits;
}
template <>
__device__ __forceinline__ int32_t from_bits<int32_t>(uint32_t bits) {
  return static_cast<int32_t>(bits);
}

// What the threads of a row are.
enum class RowSpan {
  lanes,    // a power of two of lanes of one warp
  block,    // a multiple of 32 threads of one block
  cluster,  // that, in each block of a cluster (row_statistics.cuh)
};

// All lanes of a group of `width` (a power of two) lanes get the result.
template <class Op>
__device__ __forceinline__ typename Op::Value reduce_lanes(typename Op::Value v, int width) {
  for (int offset = width / 2; offset > 0; offset /= 2)
    v = Op::join(v, __shfl_xor_sync(0xffffffffu, v, offset));
  return v;
}
template <class Op>
__device__ __forceinline__ typename Op::Value reduce_warp(typename Op::Value v) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) v = Op::join(v, __shfl_xor_sync(0xffffffffu, v, offset));
  return v;
}
template <>
__device__ __forceinline__ uint32_t reduce_warp<MaxBits>(uint32_t v) {
  return __reduce_max_sync(0xffffffffu, v);
}
template <>
__device__ __forceinline__ int32_t reduce_warp<IntSum>(int32_t v) {
  return __reduce_add_sync(0xffffffffu, v);
}

inline constexpr int kMaxWarps = 32, kMaxCluster = 16;

// Scratch of one reduction. A kernel has one for each of its reductions, so that none waits for the readers of another.
struct ReduceScratch {
  uint32_t warp[kMaxWarps];
  uint32_t block[kMaxCluster];
};

inline constexpr int kDirectWarps =
    8;  // so few partial results each thread joins itself: a third of the shuffles' time

// The partial results warp[0 .. warps).
template <class Op>
__device__ __forceinline__ typename Op::Value join_warps(const uint32_t* warp, int warps) {
  using Value = typename Op::Value;
  if (warps > kDirectWarps) {
    const int lane = threadIdx.x % 32;
    return reduce_warp<Op>(lane < warps ? from_bits<Value>(warp[lane]) : Op::zero());
  }
  Value v[kDirectWarps];
#pragma unroll
  for (int w = 0; w < kDirectWarps; ++w) v[w] = w < warps ? from_bits<Value>(warp[w]) : Op::zero();
#pragma unroll
  for (int apart = kDirectWarps / 2; apart > 0; apart /= 2)
#pragma unroll
    for (int w = 0; w < apart; ++w) v[w] = Op::join(v[w], v[w + apart]);
  return v[0];
}

// The result over the row in every thread of it. Every thread of the block calls it.
template <class Op, RowSpan kSpan>
__device__ __forceinline__ typename Op::Value reduce_row(typename Op::Value v, ReduceScratch& scratch) {
  if constexpr (kSpan == RowSpan::lanes) {
    return reduce_lanes<Op>(v, blockDim.x);
  } else {
    const int warps = blockDim.x / 32;
    v = reduce_warp<Op>(v);
    if (threadIdx.x % 32 == 0) scratch.warp[threadIdx.y * warps + threadIdx.x / 32] = to_bits(v);
    __syncthreads();
    return join_warps<Op>(scratch.warp + threadIdx.y * warps, warps);
  }
}

}  // namespace octavo::cuda
