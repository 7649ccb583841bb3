// Two numbers of a row and their reduction over threads, warps and the blocks of a cluster: one barrier for both. The order
// is fixed by the launch shape: the same row gives the same bits every time.
#pragma once
#include "cuda/ptx/cluster.cuh"
#include "cuda/ptx/convert.cuh"
#include "cuda/reduce.cuh"
#include "cuda/row_split.h"

namespace octavo::cuda {

struct RowStatistics {
  float sum = 0.0f, second = 0.0f;
};
enum class Second { unused, sum, peak };  // peak: the largest magnitude; NaN counts as largest

// Over groups of `lanes` lanes of a warp, a power of two.
template <Second kSecond>
__device__ __forceinline__ RowStatistics over_lanes(RowStatistics s, int lanes) {
  s.sum = reduce_lanes<Sum>(s.sum, lanes);
  if constexpr (kSecond == Second::sum) s.second = reduce_lanes<Sum>(s.second, lanes);
  if constexpr (kSecond == Second::peak)
    s.second = __uint_as_float(reduce_lanes<MaxBits>(__float_as_uint(s.second), lanes));
  return s;
}
template <Second kSecond>
__device__ __forceinline__ RowStatistics over_warp(RowStatistics s) {
  s.sum = reduce_warp<Sum>(s.sum);
  if constexpr (kSecond == Second::sum) s.second = reduce_warp<Sum>(s.second);
  if constexpr (kSecond == Second::peak)
    s.second = __uint_as_float(reduce_warp<MaxBits>(__float_as_uint(s.second)));
  return s;
}

// The first `parts` of at most 8, or of at most 32, by every warp for itself: fewer instructions than by every thread.
template <Second kSecond>
__device__ __forceinline__ RowStatistics over_parts(const float2* part, int parts) {
  const int lane = static_cast<int>(threadIdx.x) % 32,
            mine = parts <= kDirectWarps ? lane % kDirectWarps : lane;
  float2 p = make_float2(0.0f, 0.0f);
  if (mine < parts) p = part[mine];
  const RowStatistics s{p.x, p.y};
  return parts <= kDirectWarps ? over_lanes<kSecond>(s, kDirectWarps) : over_warp<kSecond>(s);
}

// Shared memory of one reduction. A kernel has one for each of its reductions, so that none waits for readers of another.
struct StatisticsScratch {
  float2 warp[kMaxWarps];
  float2 block[kMaxRowCluster];
  uint64_t arrived;  // mbarrier: the blocks' parts are here
};

// Before the first reduction of a kernel over clusters; wait_for_peers returns once all blocks of the cluster run.
__device__ __forceinline__ void arrive_at_peers(StatisticsScratch* scratch, int reductions) {
  if (threadIdx.x == 0) {
    for (int i = 0; i < reductions; ++i) ptx::mbarrier_init(&scratch[i].arrived, 1);
    ptx::mbarrier_init_fence();
  }
  __syncthreads();
  ptx::cluster_arrive();
}
__device__ __forceinline__ void wait_for_peers() { ptx::cluster_wait(); }

template <Second kSecond>
__device__ __forceinline__ RowStatistics over_block(const RowStatistics& s, StatisticsScratch& scratch) {
  const RowStatistics warp = over_warp<kSecond>(s);
  if (threadIdx.x % 32 == 0) scratch.warp[threadIdx.x / 32] = make_float2(warp.sum, warp.second);
  __syncthreads();
  return over_parts<kSecond>(scratch.warp, static_cast<int>(blockDim.x) / 32);
}

// A block's part to every block of the cluster, and all of them added up. `use`: how often this scratch has been used before.
__device__ __forceinline__ void send_to_peers(const RowStatistics& block, StatisticsScratch& scratch) {
  const uint32_t blocks = ptx::cluster_size();
  float2& place = scratch.block[ptx::cluster_rank()];
  if (threadIdx.x < blocks) {
    ptx::store_to_peer(reinterpret_cast<uint32_t*>(&place.x), &scratch.arrived, threadIdx.x,
                       to_bits(block.sum));
    ptx::store_to_peer(reinterpret_cast<uint32_t*>(&place.y), &scratch.arrived, threadIdx.x,
                       to_bits(block.second));
  }
  if (threadIdx.x == 0) ptx::mbarrier_arrive_expect(&scratch.arrived, blocks * sizeof(float2));
}
template <Second kSecond>
__device__ __forceinline__ RowStatistics from_peers(StatisticsScratch& scratch, int use = 0) {
  ptx::mbarrier_wait(&scratch.arrived, static_cast<uint32_t>(use) & 1);
  return over_parts<kSecond>(scratch.block, static_cast<int>(ptx::cluster_size()));
}
template <Second kSecond>
__device__ __forceinline__ RowStatistics over_cluster(const RowStatistics& block,
                                                      StatisticsScratch& scratch) {
  send_to_peers(block, scratch);
  return from_peers<kSecond>(scratch);
}

// The statistics of the row in every thread of it. Every thread of the block calls it, once a scratch and kernel.
template <RowSpan kSpan, Second kSecond>
__device__ __forceinline__ RowStatistics over_row(const RowStatistics& s, StatisticsScratch& scratch) {
  if constexpr (kSpan == RowSpan::lanes) return over_lanes<kSecond>(s, static_cast<int>(blockDim.x));
  const RowStatistics block = over_block<kSecond>(s, scratch);
  if constexpr (kSpan == RowSpan::cluster) return over_cluster<kSecond>(block, scratch);
  return block;
}

}  // namespace octavo::cuda
