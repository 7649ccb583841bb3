// gemm_w8a8 on Hopper:  y[m][n] = fma(float(sum_k x[m][k] w[n][k]) * w_scale[n], x_scale[m], bias[n])
//   tiles  many tokens: left = x, right = w; persistent clusters of two share one operand by multicast. Bound by the
//          tensor cores (8,192 operations a clock and multiprocessor), sustained by the power limit.
//   few    up to 128 tokens: left = w, right = x; a cluster splits k, its s32 sums meet in distributed shared memory.
//          Bound by reading the weights.
// Threads: warp 0 loads, warpgroups 1 and 2 multiply; sums lie in registers as in ptx/wgmma_s8.cuh.
#include <algorithm>

#include "core/buffer.h"
#include "cuda/device.h"
#include "cuda/launch.h"
#include "cuda/tensor_map.h"
#include "ops/gemm_w8a8/gemm_w8a8_cuda.h"
#include "ops/gemm_w8a8/gemm_w8a8_sm90.cuh"

namespace octavo {
namespace {

// ---- many tokens

using Tile128x256 = Int8Config<128, 256, 4, 2, false, false>;
using Tile256x128 = Int8Config<256, 128, 4, 2, true, false>;
using Tile128x128InTurn = Int8Config<128, 128, 6, 2, false, true>;
using Tile128x256Alone = Int8Config<128, 256, 4, 1, false, false>;

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

// Named barriers: 1 and 2 of the consumers, 3 of both.
[[maybe_unused]] constexpr int kBothBarrier = 3;

template <class C, class Y>
__device__ __forceinline__ void consume_tiles(TileShared<C>& shared, const Int8Call& call, int group,
                                              int rank) {
  const int thread = static_cast<int>(threadIdx.x) % kGroupThreads, lane = thread % 32, warp = thread / 32;
  const int clusters = static_cast<int>(ptx::cluster_count()), blocks = call.k_blocks;
  const int first_row = C::kInTurn ? 0 : group * C::kGroupRows;  // of this consumer in the tile
  int tile = static_cast<int>(ptx::cluster_index());
  Slot<C> slot;
  uint32_t turn_phase = group == 0;  // the first consumer need not wait for its first turn
  bool waits = !C::kInTurn && group == 1 && call.lead > 0,
       announces = !C::kInTurn && group == 0 && call.lead > 0;
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
    } else if (waits) {
      ptx::named_barrier_sync(kBothBarrier, 2 * kGroupThreads);
      waits = false;
    }
    int32_t acc[C::kProducts][C::kCols / 2];
    multiply(shared.stages, slot, blocks, first_row, acc, [&](int b) {
      if constexpr (C::kInTurn) {
        if (b == blocks - 1 && lane == 0) ptx::mbarrier_arrive(&shared.turn[group ^ 1]);
      } else if (announces && b == call.lead - 1) {
        ptx::named_barrier_arrive(kBothBarrier, 2 * kGroupThreads);
        announces = false;
      }
    });
    if constexpr (!std::is_same_v<Y, int32_t>) columns.publish(shared.columns[group], 1 + group);
#pragma unroll
    for (int i = 0; i < C::kProducts; ++i)
      store_sums<Y>(call.out, row + 64 * i, at.column, acc[i], x_scale[i], shared.columns[group],
                    shared.staging[4 * group + warp]);
    if constexpr (C::kInTurn) slot.skip(blocks);  // the other consumer's tile
  }
}

template <class C, class Y>
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
  ptx::cluster_arrive(), ptx::cluster_wait();  // nobody writes to a block whose barriers are not there yet
  ptx::grid_dependency_release();
  ptx::grid_dependency_wait();

  if (group == 0) {
    ptx::give_registers_back<C::kProducerRegisters>();
    if (threadIdx.x == 0) {
      Slot<C> slot;
      const int clusters = static_cast<int>(ptx::cluster_count());
      for (int tile = static_cast<int>(ptx::cluster_index()); tile < call.grid.count(); tile += clusters) {
        const TilePlace at = place_of_block<C>(call, tile, rank);
        produce(shared.stages, slot, call, {0, call.k_blocks}, at.row, at.column, rank);
      }
    }
    __syncwarp();
  } else {
    ptx::take_registers<C::kConsumerRegisters>();
    consume_tiles<C, Y>(shared, call, group - 1, rank);
  }
  ptx::cluster_arrive(), ptx::cluster_wait();  // the peer still arrives at this block's barriers
#else
  __trap();
#endif
}

// ---- few tokens

// Two blocks run on a multiprocessor where they fit: one's sums meet while the other reads, and the next launch starts
// early. 256 features a block for a wide w, without a split: one round of tiles instead of two.
template <int kFeatures, int kTokens, int kStages, int kPerCore>
using Few = Int8Config<kFeatures, kTokens, kStages, 1, false, false, kPerCore>;

constexpr int kConsumers = 2 * kGroupThreads;

// Sums travel in groups of 8 tokens, as wgmma leaves them: four a thread. Of `split` blocks, group j belongs to block
// j % split, which gets everyone's part of it: parts[source][j / split][thread].
template <class C>
struct FewShared {
  static constexpr int kGroups = C::kCols / 8;
  static constexpr int kParts = C::kRows > 128 ? 1 : std::max(kGroups, kMostSplit);
  Int8Stages<C> stages;
  int4 parts[kParts][kConsumers];
  float tokens[C::kCols];  // x_scale
  uint64_t arrived;        // mbarrier: all parts of this block's groups are here
  uint64_t read;           // mbarrier: every block has read those of the tile before
};

// Two features (lane / 4, and 8 further) x two tokens (2 (lane % 4), and the next) to y.
struct Features {
  int first;  // of the warp's 16, plus lane / 4
  float scale[2], bias[2];

  [[maybe_unused]] __device__ __forceinline__ void load(const Int8Output& out, int first_) {
    first = first_;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const bool exists = first + 8 * i < out.n && out.w_scale;
      scale[i] = exists ? out.w_scale[first + 8 * i] : 0.0f;
      bias[i] = exists && out.bias ? out.bias[first + 8 * i] : 0.0f;
    }
  }
  [[maybe_unused]] __device__ __forceinline__ void store(const Int8Output& out, int token,
                                                         const float* x_scale, int4 sum) const {
    const int sums[4] = {sum.x, sum.y, sum.z, sum.w};
#pragma unroll
    for (int i = 0; i < 2; ++i)
#pragma unroll
      for (int t = 0; t < 2; ++t)
        if (token + t < out.m && first + 8 * i < out.n)
          store_one(out, token + t, first + 8 * i, sums[2 * i + t], scale[i], x_scale[t], bias[i]);
  }
};

// Pushes the sums to the blocks that own their groups, then adds and stores this block's groups.
template <class C>
__device__ __forceinline__ void join_sums(FewShared<C>& shared, const Int8Output& out,
                                          const Features& features, const int32_t (&acc)[C::kCols / 2],
                                          int first_token, int split, int rank, uint32_t phase,
                                          bool has_next) {
  const int thread = static_cast<int>(threadIdx.x) - kGroupThreads, lane = thread % 32;
  const int groups = min(FewShared<C>::kGroups, (out.m - first_token + 7) / 8);
  const int pair = lane % 4 * 2, per_source = (FewShared<C>::kGroups + split - 1) / split;
  const int owned = (groups - rank + split - 1) / split;
  ptx::mbarrier_wait(&shared.read, phase ^ 1);
  if (thread == 0)
    ptx::mbarrier_arrive_expect(&shared.arrived, static_cast<uint32_t>(split * owned * kConsumers) * 16);
  int4(*part)[kConsumers] = shared.parts + rank * per_source;
  int owner = 0;
#pragma unroll
  for (int j = 0; j < FewShared<C>::kGroups; ++j) {
    if (j < groups)
      ptx::store_to_peer(*part + thread, &shared.arrived, static_cast<uint32_t>(owner),
                         make_int4(acc[4 * j], acc[4 * j + 1], acc[4 * j + 2], acc[4 * j + 3]));
    if (++owner == split) owner = 0, ++part;
  }
  ptx::mbarrier_wait(&shared.arrived, phase);
#pragma unroll 1
  for (int i = 0; i < owned; ++i) {
    int4 sum{};
#pragma unroll 1
    for (int source = 0; source < split; ++source) {
      const int4 part = shared.parts[source * per_source + i][thread];
      sum.x += part.x, sum.y += part.y, sum.z += part.z, sum.w += part.w;
    }
    const int token = (i * split + rank) * 8 + pair;
    features.store(out, first_token + token, shared.tokens + token, sum);
  }
  __syncwarp();
  if (has_next && lane < split) ptx::mbarrier_arrive_at(&shared.read, static_cast<uint32_t>(lane));
}

template <class C>
__device__ __forceinline__ void consume_few(FewShared<C>& shared, const Int8Call& call, int group, int split,
                                            int rank) {
  const int thread = static_cast<int>(threadIdx.x) - kGroupThreads, lane = thread % 32;
  const int clusters = static_cast<int>(ptx::cluster_count());
  const KRange k = k_range(call.k_blocks, split, rank);
  Slot<C> slot;
  uint32_t phase = 0;
  for (int tile = static_cast<int>(ptx::cluster_index()); tile < call.grid.count();
       tile += clusters, phase ^= 1) {
    const TilePlace at = place_of_block<C>(call, tile, 0);
    const int first =
        at.row + thread / kGroupThreads * C::kGroupRows + thread % kGroupThreads / 32 * 16 + lane / 4;
    Features features[C::kProducts];  // loaded before the product, which hides the latency
#pragma unroll
    for (int i = 0; i < C::kProducts; ++i) features[i].load(call.out, first + 64 * i);
    const int token = at.column + thread;
    const float x_scale =
        thread < C::kCols && token < call.out.m && call.out.x_scale ? call.out.x_scale[token] : 0.0f;
    int32_t acc[C::kProducts][C::kCols / 2];
    multiply(shared.stages, slot, k.end - k.begin, group * C::kGroupRows, acc, [](int) {});

    ptx::named_barrier_sync(kBothBarrier, kConsumers);  // nobody reads the scales of the tile before any more
    if (thread < C::kCols) shared.tokens[thread] = x_scale;
    ptx::named_barrier_sync(kBothBarrier, kConsumers);
    if constexpr (C::kProducts == 1) {
      if (split > 1) {
        join_sums<C>(shared, call.out, features[0], acc[0], at.column, split, rank, phase,
                     tile + clusters < call.grid.count());
        continue;
      }
    }
    const int pair = lane % 4 * 2;
#pragma unroll
    for (int i = 0; i < C::kProducts; ++i)
#pragma unroll
      for (int j = 0; j < C::kCols / 8; ++j)
        features[i].store(call.out, at.column + 8 * j + pair, shared.tokens + 8 * j + pair,
                          make_int4(acc[i][4 * j], acc[i][4 * j + 1], acc[i][4 * j + 2], acc[i][4 * j + 3]));
  }
}

template <class C>
__global__ void __launch_bounds__(kInt8Threads, C::kPerCore)
    gemm_w8a8_few(const __grid_constant__ Int8Call call) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ __align__(1024) uint8_t memory[];
  auto& shared = *reinterpret_cast<FewShared<C>*>(memory);
  const int group = __shfl_sync(~0u, static_cast<int>(threadIdx.x) / kGroupThreads, 0);
  const int rank = static_cast<int>(ptx::cluster_rank());
  const int split = static_cast<int>(ptx::cluster_size());
  if (threadIdx.x == 0) {
    ptx::prefetch_tensor_map(&call.left), ptx::prefetch_tensor_map(&call.right);
    shared.stages.init();
    ptx::mbarrier_init(&shared.arrived, 1);
    ptx::mbarrier_init(&shared.read, static_cast<uint32_t>(8 * split));
    ptx::mbarrier_init_fence();
  }
  __syncwarp();
  ptx::cluster_arrive(), ptx::cluster_wait();  // nobody writes to a block whose barriers are not there yet
  ptx::grid_dependency_release();
  ptx::grid_dependency_wait();

  if (group == 0) {
    if constexpr (C::kPerCore == 1) ptx::give_registers_back<C::kProducerRegisters>();
    if (threadIdx.x == 0) {
      Slot<C> slot;
      const int clusters = static_cast<int>(ptx::cluster_count());
      const KRange k = k_range(call.k_blocks, split, rank);
      for (int tile = static_cast<int>(ptx::cluster_index()); tile < call.grid.count(); tile += clusters) {
        const TilePlace at = place_of_block<C>(call, tile, 0);
        produce(shared.stages, slot, call, k, at.row, at.column, 0);
      }
    }
    __syncwarp();
  } else {
    if constexpr (C::kPerCore == 1) ptx::take_registers<C::kConsumerRegisters>();
    consume_few<C>(shared, call, group - 1, split, rank);
  }
  // NOTE: blocks that split k need no last meeting: each waited for all that is sent to it, and nobody sends after the
  // last tile.
#else
  __trap();
#endif
}

// ---- launch

cuda::ByteMatrix matrix_of(const ConstTensor& t) {
  const int64_t pitch = t.dim(0) > 1 ? t.stride(0) : round_up(t.dim(1), 16);
  return {t.data(), t.dim(0), t.dim(1), pitch};
}
int ceil_div(int64_t a, int64_t b) { return static_cast<int>((a + b - 1) / b); }

// `left` and `right` are the operands as the kernel sees them; `shared_bytes` of its shared memory.
template <class C>
void run_kernel(const Context& ctx, const char* name, void (*kernel)(Int8Call), int64_t shared_bytes,
                const ConstTensor& left, const ConstTensor& right, const GemmW8A8Args& a,
                const Int8Plan& plan) {
  constexpr int kDown = C::kShareLeft ? 1 : C::kSharers, kAcross = C::kShareLeft ? C::kSharers : 1;
  const int blocks = ceil_div(a.x.dim(1), kDepthOfBlock);
  const Int8Call call{
      .left = cuda::tensor_map_of(matrix_of(left), C::kRows / kAcross),
      .right = cuda::tensor_map_of(matrix_of(right), C::kCols / kDown),
      .out = int8_output(a),
      .grid = {ceil_div(left.dim(0), C::kRows * kDown), ceil_div(right.dim(0), C::kCols * kAcross),
               plan.group},
      .k_blocks = blocks,
      // NOTE: with a longer lead the ring would be full of what the other consumer has not read.
      .lead = std::min({plan.lead, C::kStages - 1, blocks})};
  cuda::LaunchShape shape{.kernel = name,
                          .grid = dim3(static_cast<unsigned>(C::kSharers * plan.split)),
                          .block = dim3(kInt8Threads),
                          .shared_bytes = shared_bytes,
                          .cluster = C::kSharers * plan.split,
                          .overlap = true};
  const int64_t resident = cuda::resident_clusters(reinterpret_cast<const void*>(kernel), shape);
  shape.grid.x *= static_cast<unsigned>(resident < call.grid.count() ? resident : call.grid.count());
  cuda::launch(ctx, shape, kernel, call);
}

template <class C, class Y>
void run_tiles(const Context& ctx, const GemmW8A8Args& a, const Int8Plan& plan) {
  static_assert(sizeof(TileShared<C>) <= 227 * 1024);
  run_kernel<C>(ctx, "gemm_w8a8_tiles", gemm_w8a8_tiles<C, Y>, sizeof(TileShared<C>), a.x, a.w, a, plan);
}
template <class C>
void run_few(const Context& ctx, const GemmW8A8Args& a, const Int8Plan& plan) {
  static_assert(C::kPerCore * (sizeof(FewShared<C>) + 1024) <= 228 * 1024);
  run_kernel<C>(ctx, "gemm_w8a8_few", gemm_w8a8_few<C>, sizeof(FewShared<C>), a.w, a.x, a, plan);
}

template <class Y>
void run_plan(const Context& ctx, const GemmW8A8Args& a, const Int8Plan& plan) {
  switch (plan.tile) {
    case Int8Tile::m128_n256: return run_tiles<Tile128x256, Y>(ctx, a, plan);
    case Int8Tile::m256_n128: return run_tiles<Tile256x128, Y>(ctx, a, plan);
    case Int8Tile::m128_n128_in_turn: return run_tiles<Tile128x128InTurn, Y>(ctx, a, plan);
    case Int8Tile::m128_n256_alone: return run_tiles<Tile128x256Alone, Y>(ctx, a, plan);
    case Int8Tile::few16: return run_few<Few<128, 16, 5, 2>>(ctx, a, plan);
    case Int8Tile::few32: return run_few<Few<128, 32, 4, 2>>(ctx, a, plan);
    case Int8Tile::few64: return run_few<Few<128, 64, 3, 2>>(ctx, a, plan);
    case Int8Tile::few128: return run_few<Few<128, 128, 4, 1>>(ctx, a, plan);
    case Int8Tile::few16_wide: return run_few<Few<256, 16, 6, 1>>(ctx, a, plan);
    case Int8Tile::few64_wide: return run_few<Few<256, 64, 5, 1>>(ctx, a, plan);
  }
}

}  // namespace

bool gemm_w8a8_fits_sm90(const GemmW8A8Args& a, const DeviceFacts& facts) {
  if (facts.compute_capability != 90 || a.x.dim(0) >= INT32_MAX / 2 || a.w.dim(0) >= INT32_MAX / 2)
    return false;
  if (a.x.dim(0) == 0 || a.w.dim(0) == 0) return true;  // nothing to do
  // NOTE: a build without sm_90a code has kernels that trap; they need no registers.
  const auto* kernel = reinterpret_cast<const void*>(gemm_w8a8_tiles<Tile128x256, float>);
  return cuda::tensor_map_takes(matrix_of(a.x)) && cuda::tensor_map_takes(matrix_of(a.w)) &&
         cuda::kernel_facts(kernel, 0).registers >= 128;
}

void gemm_w8a8_with_plan(const Context& ctx, const GemmW8A8Args& a, const Int8Plan& plan) {
  if (!can_run(plan)) throw Error(ErrorKind::usage, "gemm_w8a8: this tile cannot split k that way");
  if (a.y.numel() == 0) return;
  switch (a.y.dtype()) {
    case DType::f32: return run_plan<float>(ctx, a, plan);
    case DType::f16: return run_plan<F16>(ctx, a, plan);
    case DType::bf16: return run_plan<BF16>(ctx, a, plan);
    default: return run_plan<int32_t>(ctx, a, plan);
  }
}

void gemm_w8a8_sm90(const Context& ctx, const GemmW8A8Args& a) {
  const int64_t blocks = ceil_div(a.x.dim(1), kDepthOfBlock);
  gemm_w8a8_with_plan(
      ctx, a, plan_int8(a.x.dim(0), a.w.dim(0), blocks, cuda::device_facts(cuda::current_device()).cores));
}

}  // namespace octavo
