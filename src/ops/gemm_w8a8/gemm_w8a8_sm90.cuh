// The Hopper mainloop of gemm_w8a8: a producer warp fills a ring of stages by TMA, two warpgroups multiply them (wgmma s8).
//   D[rows][cols] = left[rows][k] * right[cols][k]^T, k in blocks of 128: s32 sums in registers
// A stage is free when every consumer warp of every block that shares it has read it (empty), and full when the bytes of
// both operands have arrived, from this block's producer and from its peer's (full).
#pragma once
#include <algorithm>

#include "core/buffer.h"
#include "cuda/launch.h"
#include "cuda/ptx/cluster.cuh"
#include "cuda/ptx/elect.cuh"
#include "cuda/ptx/grid_dependency.cuh"
#include "cuda/ptx/tensor_copy.cuh"
#include "cuda/ptx/warpgroup.cuh"
#include "cuda/ptx/wgmma_s8.cuh"
#include "cuda/tensor_map.h"
#include "ops/gemm_w8a8/gemm_w8a8_epilogue.cuh"
#include "ops/gemm_w8a8/gemm_w8a8_tiles.h"

namespace octavo {

namespace ptx = cuda::ptx;

inline constexpr int kGroupThreads = 128, kInt8Threads = 3 * kGroupThreads;  // a producer, two consumers
inline constexpr int kRowBytes = kDepthOfBlock;

// Everything a kernel gets. Maps are of boxes of one operand's tile, or of one sharer's part of it.
struct Int8Call {
  CUtensorMap left, right;
  Int8Output out;
  TileGrid grid;  // of clusters
  int k_blocks;
  uint32_t stage_bytes;   // of the boxes that fill a stage
  bool constant_weights;  // GemmW8A8Args
  int early;              // Int8Plan
  Int8Release release;
};

// kRows x kCols of a block; kSharers blocks of a cluster share the right operand (cols), each loading its part for all. kInTurn: each
// consumer has its own tile, else each has its part of the rows of one. kPerCore: blocks of a multiprocessor. kConsumers: warpgroups
// that multiply.
template <int kRows_, int kCols_, int kStages_, int kSharers_, bool kInTurn_, int kPerCore_ = 1,
          int kConsumers_ = 2>
struct Int8Config {
  static constexpr int kRows = kRows_, kCols = kCols_, kStages = kStages_, kSharers = kSharers_;
  static constexpr bool kInTurn = kInTurn_;
  static constexpr int kPerCore = kPerCore_, kConsumers = kConsumers_;
  // Of a thread, one block a multiprocessor: at the start each has 168. (Two blocks: 80 for everyone.)
  static constexpr int kProducerRegisters = 40, kConsumerRegisters = 232;
  static constexpr int kGroupRows = kInTurn ? kRows : kRows / kConsumers;  // of a consumer
  static constexpr int kProducts = kGroupRows / 64;                        // wgmma instructions down the rows
  static constexpr int kReaders = (kInTurn ? 4 : 4 * kConsumers) * kSharers;  // warps that read a stage
  static_assert(kGroupRows % 64 == 0 && kProducts * kCols <= 256, "sums fit 128 registers");
  static_assert(kCols / kSharers <= 256);
};

template <class C>
struct Int8Stages {
  alignas(1024) int8_t left[C::kStages][C::kRows * kRowBytes];
  alignas(1024) int8_t right[C::kStages][C::kCols * kRowBytes];
  uint64_t full[C::kStages], empty[C::kStages];  // mbarriers

  __device__ __forceinline__ void init() {
    for (int s = 0; s < C::kStages; ++s)
      ptx::mbarrier_init(&full[s], 1), ptx::mbarrier_init(&empty[s], C::kReaders);
  }
};

// A place in the ring and the parity of its current use.
template <class C>
struct Slot {
  int stage = 0;
  uint32_t phase = 0;

  __device__ __forceinline__ void next() {
    if (++stage == C::kStages) stage = 0, phase ^= 1;
  }
  __device__ __forceinline__ void skip(int blocks) {
    stage += blocks;
    phase ^= static_cast<uint32_t>(stage / C::kStages) & 1;
    stage %= C::kStages;
  }
};

// kTile rows of an operand, or this rank's part of them for all sharers.
template <int kTile, int kSharers>
__device__ __forceinline__ void load_operand(int8_t* stage, const CUtensorMap* map, int k, int row, int rank,
                                             uint64_t* full) {
  if constexpr (kSharers == 1) {
    ptx::load_box(stage, map, k, row, full);
  } else {
    const int part = rank * (kTile / kSharers);
    ptx::load_box_to_ranks(stage + part * kRowBytes, map, k, row + part, full, (1 << kSharers) - 1);
  }
}

template <class C>
__device__ __forceinline__ void load_left(Int8Stages<C>& stages, int stage, const Int8Call& call, int k_block,
                                          int row) {
  load_operand<C::kRows, 1>(stages.left[stage], &call.left, k_block * kDepthOfBlock, row, 0,
                            &stages.full[stage]);
}
template <class C>
__device__ __forceinline__ void load_right(Int8Stages<C>& stages, int stage, const Int8Call& call,
                                           int k_block, int col, int rank) {
  load_operand<C::kCols, C::kSharers>(stages.right[stage], &call.right, k_block * kDepthOfBlock, col, rank,
                                      &stages.full[stage]);
}

// One thread: blocks of k from number `from` on, of the tile at (row, col), into the ring.
template <class C>
__device__ __forceinline__ void produce(Int8Stages<C>& stages, Slot<C>& slot, const Int8Call& call, KRange k,
                                        int from, int row, int col, int rank) {
  for (int i = from; k.begin + i < k.end; ++i, slot.next()) {
    const int block = k.begin + i;
    ptx::mbarrier_wait(&stages.empty[slot.stage], slot.phase ^ 1);
    ptx::mbarrier_arrive_expect(&stages.full[slot.stage], call.stage_bytes);
    load_left(stages, slot.stage, call, block, row);
    load_right(stages, slot.stage, call, block, col, rank);
  }
}

// A block's first tile, when the ring is empty: constant weights are asked for before the kernel in front has finished.
// kWeightsLeft: the weights are the left operand.
template <class C>
__device__ __forceinline__ int early_blocks(const Int8Call& call, KRange k) {
  return call.constant_weights ? min(min(C::kStages, call.early), k.end - k.begin) : 0;
}
template <class C, bool kWeightsLeft>
__device__ __forceinline__ void ask_for_weights(Int8Stages<C>& stages, const Int8Call& call, KRange k,
                                                int row, int col, int rank) {
  for (int i = 0; i < early_blocks<C>(call, k); ++i) {
    ptx::mbarrier_arrive_expect(&stages.full[i], call.stage_bytes);
    if constexpr (kWeightsLeft)
      load_left(stages, i, call, k.begin + i, row);
    else
      load_right(stages, i, call, k.begin + i, col, rank);
  }
}
// The rest of the first tile, once the kernel in front has finished.
template <class C, bool kWeightsLeft>
__device__ __forceinline__ void produce_first(Int8Stages<C>& stages, Slot<C>& slot, const Int8Call& call,
                                              KRange k, int row, int col, int rank) {
  ptx::grid_dependency_wait();
  const int early = early_blocks<C>(call, k);
  for (int i = 0; i < early; ++i, slot.next()) {
    if constexpr (kWeightsLeft)
      load_right(stages, i, call, k.begin + i, col, rank);
    else
      load_left(stages, i, call, k.begin + i, row);
  }
  produce(stages, slot, call, k, early, row, col, rank);
}

// A consumer warp has read the stage: tell the producers of all blocks that fill it.
template <class C>
__device__ __forceinline__ void release(Int8Stages<C>& stages, int stage) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  if constexpr (C::kSharers == 1) {
    if (lane == 0) ptx::mbarrier_arrive(&stages.empty[stage]);
  } else {
    if (lane < C::kSharers) ptx::mbarrier_arrive_at(&stages.empty[stage], static_cast<uint32_t>(lane));
  }
}

// A warpgroup: acc = the sums over `blocks` (at least one) blocks of k for rows from first_row of the tile on.
// `issued(b)` is called when the products of block b are on their way.
template <class C, class Issued>
__device__ __forceinline__ void multiply(Int8Stages<C>& stages, Slot<C>& slot, int blocks, int first_row,
                                         int32_t (&acc)[C::kProducts][C::kCols / 2], Issued&& issued) {
  int previous = 0;
  for (int b = 0; b < blocks; ++b) {
    ptx::mbarrier_wait(&stages.full[slot.stage], slot.phase);
    const uint64_t left =
        ptx::tile_descriptor(ptx::shared_address(stages.left[slot.stage]) + first_row * kRowBytes);
    const uint64_t right = ptx::tile_descriptor(ptx::shared_address(stages.right[slot.stage]));
    ptx::wgmma_begin();
#pragma unroll
    for (int k = 0; k < kDepthOfBlock; k += 32)
#pragma unroll
      for (int i = 0; i < C::kProducts; ++i)
        ptx::wgmma_s8(acc[i], ptx::advance(left, k + i * 64 * kRowBytes), ptx::advance(right, k), b | k);
    ptx::wgmma_commit();
    issued(b);
    ptx::wgmma_wait<1>();
    if (b > 0) release(stages, previous);
    previous = slot.stage;
    slot.next();
  }
  ptx::wgmma_wait<0>();
#pragma unroll
  for (int i = 0; i < C::kProducts; ++i) ptx::keep(acc[i]);
  release(stages, previous);
}

// ---- launch

inline cuda::ByteMatrix matrix_of(const ConstTensor& t) {
  const int64_t pitch = t.dim(0) > 1 ? t.stride(0) : round_up(t.dim(1), 16);
  return {t.data(), t.dim(0), t.dim(1), pitch, 128};
}
inline int tiles_over(int64_t n, int tile) { return static_cast<int>((n + tile - 1) / tile); }

// `left` and `right` are the operands as the kernel sees them, in tiles of the clusters' sizes.
template <class C>
Int8Call int8_call(const ConstTensor& left, const ConstTensor& right, const GemmW8A8Args& a,
                   const Int8Plan& plan) {
  // NOTE: no rows of zeros below an operand that is smaller than its tile: they cost the copy engine more than real ones (H200,
  // 32x28672x4096: 37 us against 31.5 with 64 tokens). What lies in shared memory there makes sums that nobody stores.
  const int left_box = static_cast<int>(std::min<int64_t>(C::kRows, left.dim(0)));
  const int right_box = static_cast<int>(std::min<int64_t>(C::kCols / C::kSharers, right.dim(0)));
  return {.left = cuda::tensor_map_of(matrix_of(left), left_box),
          .right = cuda::tensor_map_of(matrix_of(right), right_box),
          .out = int8_output(a),
          .grid = {tiles_over(left.dim(0), C::kRows * C::kSharers), tiles_over(right.dim(0), C::kCols),
                   plan.group},
          .k_blocks = tiles_over(a.x.dim(1), kDepthOfBlock),
          .stage_bytes = static_cast<uint32_t>((left_box + right_box * C::kSharers) * kRowBytes),
          .constant_weights = a.constant_weights,
          .early = plan.early,
          .release = plan.release};
}

}  // namespace octavo
