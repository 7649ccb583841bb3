// gemm_w8a8 with tokens in the rows of its tiles, on Hopper: left = x, right = w; persistent clusters, of two share the weights by multicast.
// Bound by the tensor cores (8,192 operations a clock and multiprocessor), sustained by the power limit.
// Threads: warp 0 loads, warpgroups 1 and 2 multiply; sums lie in registers as in ptx/wgmma_s8.cuh.
#pragma once
#include "ops/gemm_w8a8/gemm_w8a8_sm90.cuh"

namespace octavo {

using Tile128x256 = Int8Config<128, 256, 4, 2, false, false>;
using Tile128x128InTurn = Int8Config<128, 128, 6, 2, false, true>;
using Tile128x256Alone = Int8Config<128, 256, 4, 1, false, false>;
using Tile64x128 = Int8Config<64, 128, 8, 1, false, true>;
using Tile64x64 = Int8Config<64, 64, 12, 1, false, true>;
using Tile64x64Shared = Int8Config<64, 64, 12, 2, false, true>;
using Tile64x32 = Int8Config<64, 32, 16, 1, false, true>;

template <class C>
struct TileShared {
  Int8Stages<C> stages;
  alignas(16) uint4 staging[8][128];        // 2 KB a consumer warp
  alignas(16) float2 columns[2][C::kCols];  // (scale, bias) of the tile, a consumer each
  uint64_t turn[2];                         // mbarriers, kInTurn: this consumer may multiply
};

// First row and column of this block's part of a cluster's tile.
template <class C>
__device__ __forceinline__ TilePlace place_of_block(const Int8Call& call, int tile, int rank) {
  const TilePlace at = place_of(call.grid, tile);
  constexpr int kDown = C::kShareLeft ? 1 : C::kSharers, kAcross = C::kShareLeft ? C::kSharers : 1;
  return {(at.row * kDown + rank % kDown) * C::kRows, (at.column * kAcross + rank % kAcross) * C::kCols};
}

template <class C, class Y, Int8Policy kPolicy>
__device__ __forceinline__ void consume_tiles(TileShared<C>& shared, const Int8Call& call, int group,
                                              int rank) {
  const int thread = static_cast<int>(threadIdx.x) % kGroupThreads, lane = thread % 32, warp = thread / 32;
  const int clusters = static_cast<int>(ptx::cluster_count()), blocks = call.k_blocks;
  const int first_row = C::kInTurn ? 0 : group * C::kGroupRows;  // of this consumer in the tile
  int tile = static_cast<int>(ptx::cluster_index());
  Slot<C> slot;
  uint32_t turn_phase = group == 0;  // the first consumer need not wait for its first turn
  if (C::kInTurn && group == 1) tile += clusters, slot.skip(blocks);

  for (; tile < call.grid.count(); tile += (C::kInTurn ? 2 : 1) * clusters) {
    const TilePlace at = place_of_block<C>(call, tile, rank);
    const int row = at.row + first_row + warp * 16;  // of this warp's first product
    const ColumnScales<C::kCols, kGroupThreads> columns(call.out, at.column, thread);
    float x_scale[C::kProducts][2];
#pragma unroll
    for (int i = 0; i < C::kProducts; ++i)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int r = row + 64 * i + lane / 4 + 8 * half;
        x_scale[i][half] = call.out.x_scale && r < call.out.m ? call.out.x_scale[r] : 0.0f;
      }

    if constexpr (C::kInTurn) {
      ptx::mbarrier_wait(&shared.turn[group], turn_phase);
      turn_phase ^= 1;
    }
    int32_t acc[C::kProducts][C::kCols / 2];
    multiply(shared.stages, slot, blocks, first_row, acc, [&](int b) {
      if constexpr (C::kInTurn)
        if (b == blocks - 1 && lane == 0) ptx::mbarrier_arrive(&shared.turn[group ^ 1]);
    });
    if constexpr (!std::is_same_v<Y, int32_t>) columns.publish(shared.columns[group], 1 + group);
#pragma unroll
    for (int i = 0; i < C::kProducts; ++i)
      store_sums<Y, kPolicy>(call.out, row + 64 * i, at.column, acc[i], x_scale[i], shared.columns[group],
                             shared.staging[4 * group + warp]);
    if constexpr (C::kInTurn) slot.skip(blocks);  // the other consumer's tile
  }
}

template <class C>
__device__ __forceinline__ void produce_tiles(TileShared<C>& shared, const Int8Call& call, int rank) {
  Slot<C> slot;
  const int clusters = static_cast<int>(ptx::cluster_count());
  const KRange all_k{0, call.k_blocks};
  int tile = static_cast<int>(ptx::cluster_index());
  const TilePlace first = place_of_block<C>(call, tile, rank);
  produce_first<C, false>(shared.stages, slot, call, all_k, first.row, first.column, rank);
  while ((tile += clusters) < call.grid.count()) {
    const TilePlace at = place_of_block<C>(call, tile, rank);
    produce(shared.stages, slot, call, all_k, at.row, at.column, rank);
  }
}

template <class C, class Y, Int8Policy kPolicy>
__global__ void __launch_bounds__(kInt8Threads, 1) gemm_w8a8_tiles(const __grid_constant__ Int8Call call) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ __align__(1024) uint8_t memory[];
  auto& shared = *reinterpret_cast<TileShared<C>*>(memory);
  const int group = __shfl_sync(~0u, static_cast<int>(threadIdx.x) / kGroupThreads, 0);
  const int rank = static_cast<int>(ptx::cluster_rank());
  if (threadIdx.x == 0) {
    ptx::prefetch_tensor_map(&call.left), ptx::prefetch_tensor_map(&call.right);
    shared.stages.init();
    for (int i = 0; i < 2; ++i) ptx::mbarrier_init(&shared.turn[i], 4);
    ptx::mbarrier_init_fence();
  }
  __syncwarp();
  if constexpr (C::kSharers > 1)
    ptx::cluster_arrive_relaxed(),
        ptx::cluster_wait();  // nobody writes to a block whose barriers are not there
  else
    __syncthreads();
  ptx::grid_dependency_release();

  if (group == 0) {
    ptx::give_registers_back<C::kProducerRegisters>();
    const int warp = __shfl_sync(~0u, static_cast<int>(threadIdx.x) / 32, 0);
    if (warp == 0 && ptx::elect_one()) produce_tiles(shared, call, rank);
    __syncwarp();
  } else {
    ptx::take_registers<C::kConsumerRegisters>();
    ptx::grid_dependency_wait();
    consume_tiles<C, Y, kPolicy>(shared, call, group - 1, rank);
  }
  if constexpr (C::kSharers > 1)
    ptx::cluster_arrive(), ptx::cluster_wait();  // the peer's arrivals at this block's barriers are there
#else
  __trap();
#endif
}

template <class C, class Y, Int8Policy kPolicy = Int8Policy::scales>
void run_tiles(const Context& ctx, const GemmW8A8Args& a, const Int8Plan& plan) {
  static_assert(sizeof(TileShared<C>) <= 227 * 1024);
  const Int8Call call = int8_call<C>(a.x, a.w, a, plan);
  cuda::LaunchShape shape{.kernel = "gemm_w8a8_tiles",
                          .grid = dim3(C::kSharers),
                          .block = dim3(kInt8Threads),
                          .shared_bytes = sizeof(TileShared<C>),
                          .cluster = C::kSharers,
                          .overlap = plan.overlap};
  const auto kernel = gemm_w8a8_tiles<C, Y, kPolicy>;
  const int64_t resident = cuda::resident_clusters(reinterpret_cast<const void*>(kernel), shape);
  shape.grid.x *= static_cast<unsigned>(resident < call.grid.count() ? resident : call.grid.count());
  cuda::launch(ctx, shape, kernel, call);
}

}  // namespace octavo
