// gemm_w8a16 for up to eight tokens on Hopper: w streams through shared memory once, x lies in registers.
//   y[m][n] = (sum_k x[m][k] w[n][k]) w_scale[n] + bias[n]
// A tile is 16 features x 8 tokens: mma.sync m16n8k16 with the weights as the left operand, so the cost does not depend on
// the number of tokens. A block keeps one ring of stages of 16 features x 1,024 k, each one box of the copy engine. Eight warps
// multiply, each 1/8 of a stage's k, whose x it keeps in registers for 4,096 k ("a chunk"): chunk after chunk over up to eight
// tiles of the block. A ninth warp refills the ring, adds up the eight warps' sums and finishes tiles. Where K is long and
// tiles are few, the two blocks of a cluster split k and exchange their sums. All sums meet in a fixed order.
// Two blocks fit a multiprocessor: those of the next launch fill their rings while this one drains (programmatic dependent
// launch; 113 KB of shared memory and 112 registers a block are what that takes).
// Lane (g, c) = (lane / 4, lane % 4) reads 16 codes of features g, g + 8 at k = 64 step + 16 c; word j of them is one
// product's operand, so its k are 16 c + 4 j + (0, 2, 1, 3), and x is put in that order.
#include <algorithm>
#include <type_traits>

#include "core/buffer.h"
#include "cuda/device.h"
#include "cuda/launch.h"
#include "cuda/ptx/cluster.cuh"
#include "cuda/ptx/grid_dependency.cuh"
#include "cuda/ptx/mma_f16.cuh"
#include "cuda/ptx/tensor_copy.cuh"
#include "cuda/tensor_map.h"
#include "ops/gemm_w8a16/gemm_w8a16_codes.cuh"
#include "ops/gemm_w8a16/gemm_w8a16_cuda.h"
#include "ops/gemm_w8a16/gemm_w8a16_epilogue.cuh"

namespace octavo {
namespace {

namespace ptx = cuda::ptx;

constexpr int kWarps = 8, kThreads = 32 * (kWarps + 1);  // that multiply; of a block
constexpr int kSumSlots = 2;
constexpr int kStepsOfStage = kStageDepth / (64 * kWarps), kStagesOfChunk = kChunkDepth / kStageDepth;
[[maybe_unused]] constexpr int kStepBytes =
    kStreamFeatures * 64 * kWarps;  // from one of a warp's steps of a stage to the next

struct StreamCall {
  CUtensorMap map;  // of w: boxes of [k / 128][feature][128]
  const void* x;    // [m, k] of T, rows on 16 bytes
  int64_t x_stride;
  W8A16Output out;
  int k, slice;  // slice: k of one block of a cluster
  int tiles, stages;
  bool early;
};

// Behind it: the ring, then what other blocks of the cluster send: [own tile][lane].
struct StreamShared {
  float4 sums[kSumSlots][kWarps][32];  // of a tile and chunk
  float4 totals[kStreamBatch][32];     // of a tile's chunks so far
  uint64_t full[kMostStages], empty[kMostStages];
  uint64_t sums_full[kSumSlots], sums_empty[kSumSlots];
  uint64_t arrived[kStreamBatch];
};
static_assert(sizeof(StreamShared) <= kStreamHeadBytes);

// Order of the work of a block: up to kStreamBatch tiles, chunk after chunk; tiles are `step` apart.
struct Place {
  int batch, chunk, tile;  // batch: its first tile
  int step, tiles, k;      // k: of this block

  __device__ __forceinline__ bool exists() const { return tile < tiles; }
  __device__ __forceinline__ bool is_last_chunk() const { return (chunk + 1) * kChunkDepth >= k; }
  __device__ __forceinline__ int stages() const {
    return min(kStagesOfChunk, (k - chunk * kChunkDepth + kStageDepth - 1) / kStageDepth);
  }
  __device__ __forceinline__ int index() const { return (tile - batch) / step; }
  __device__ __forceinline__ void next() {
    tile += step;
    if (tile < min(tiles, batch + kStreamBatch * step)) return;
    if (is_last_chunk())
      chunk = 0, batch += kStreamBatch * step;
    else
      ++chunk;
    tile = batch;
  }
};

// A place in a ring of `count` slots and the parity of the barrier's phase there.
struct Turn {
  int slot = 0;
  uint32_t phase = 0;

  __device__ __forceinline__ void next(int count) {
    if (++slot == count) slot = 0, phase ^= 1;
  }
};

// True in one lane, once `loaded` has arrived in all of them.
// NOTE: an arrival at an mbarrier seems to overtake the loads from shared memory in front of it: sums that warps waited to
// overwrite came out wrong in one launch of some ten (H200), so the arrival depends on what was loaded.
__device__ __forceinline__ bool one_lane_after(uint32_t loaded) {
  const uint32_t votes = __ballot_sync(~0u, loaded & 1);
  return static_cast<int>(threadIdx.x % 32) == 31 - __clz(static_cast<int>(votes | 1));
}

// Boxes of w, in the order of work.
struct Filler {
  const StreamCall& call;
  StreamShared& shared;
  int8_t* ring;
  Place at;
  int k_begin, stage = 0, slot = 0;  // stage: of the chunk

  __device__ __forceinline__ void next(int lane) {
    if (!at.exists()) return;
    if (lane == 0) {
      ptx::mbarrier_arrive_expect(&shared.full[slot], kStageBytes);
      const int k = k_begin + at.chunk * kChunkDepth + stage * kStageDepth;
      ptx::load_box(ring + slot * kStageBytes, &call.map, make_int3(0, at.tile * kStreamFeatures, k / 128),
                    &shared.full[slot]);
    }
    if (++slot == call.stages) slot = 0;
    if (++stage == at.stages()) stage = 0, at.next();
  }
};

__device__ __forceinline__ float4 operator+(const float4& a, const float4& b) {
  return make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w);
}

// Sums of a tile in the order of the tensor cores: features g, g + 8 x tokens 2 c, 2 c + 1.
struct Finisher {
  const StreamCall& call;
  int g, c;
  Feature feature[2];

  __device__ __forceinline__ int n(int tile, int i) const {
    return tile * kStreamFeatures + feature_of_row(g) + 8 * i;
  }
  __device__ __forceinline__ void load(int tile) {
#pragma unroll
    for (int i = 0; i < 2; ++i) feature[i].load(call.out, n(tile, i));
  }
  __device__ __forceinline__ void store(int tile, const float4& sum) const {
    const float sums[4] = {sum.x, sum.y, sum.z, sum.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int token = 2 * c + i % 2;
      const float v = feature[i / 2].of(sums[i]),
                  partner = partner_of(call.out, v, 8);  // row g ^ 2: feature ^ 1
      if (token < call.out.m && n(tile, i / 2) < call.out.n)
        store_one(call.out, token, n(tile, i / 2), v, partner);
    }
  }
};

// The ninth warp: refills the ring as stages are read, adds up and finishes tiles.
[[maybe_unused]] __device__ __forceinline__ void serve(const StreamCall& call, StreamShared& shared,
                                                       int8_t* ring, Place at, int k_begin, int split,
                                                       int rank, int lane) {
  Filler filler{call, shared, ring, at, k_begin};
  const auto fill_ring = [&] {
#pragma unroll 1
    for (int i = 0; i < call.stages; ++i) filler.next(lane);
  };
  const Place first = at;
  if (call.early) fill_ring();
  ptx::grid_dependency_wait();
  if (!call.early) fill_ring();

  // Tiles of a cluster belong to its ranks by turns. The exchange takes a while: a tile is finished `split` tiles later.
  auto* received = reinterpret_cast<float4*>(ring + call.stages * kStageBytes);
  Finisher now{call, lane / 4, lane % 4, {}}, late = now;
  const auto finish_late = [&](int tile, int index) {
    if (lane == 0) ptx::mbarrier_arrive_expect(&shared.arrived[index], sizeof(float4) * 32);
    ptx::mbarrier_wait(&shared.arrived[index], 0);
    const float4 own = shared.totals[index][lane], other = received[index / split * 32 + lane];
    late.store(tile, rank == 0 ? own + other : other + own);
  };
  Turn read, sum_turn;
  int last_index = 0;
#pragma unroll 1
  for (; at.exists(); at.next()) {
    const bool is_last = at.is_last_chunk();
    const int index = at.index(), late_tile = at.tile - split * at.step;
    const bool is_late = split > 1 && is_last && index >= split && index % split == rank;
    if (is_last) now.load(at.tile);  // before the product, which hides the latency
    if (is_late) late.load(late_tile);
#pragma unroll 1
    for (int i = at.stages(); i > 0; --i) {
      ptx::mbarrier_wait(&shared.empty[read.slot], read.phase);
      filler.next(lane);
      read.next(call.stages);
    }
    ptx::mbarrier_wait(&shared.sums_full[sum_turn.slot], sum_turn.phase);
    float4 sum = shared.sums[sum_turn.slot][0][lane];
#pragma unroll
    for (int i = 1; i < kWarps; ++i) sum = sum + shared.sums[sum_turn.slot][i][lane];
    if (one_lane_after(__float_as_uint(sum.x))) ptx::mbarrier_arrive(&shared.sums_empty[sum_turn.slot]);
    sum_turn.next(kSumSlots);
    if (at.chunk > 0) sum = shared.totals[index][lane] + sum;
    if (is_last && split == 1) {
      now.store(at.tile, sum);
    } else if (is_last && index % split != rank) {
      ptx::store_to_peer(reinterpret_cast<int4*>(&received[index / split * 32 + lane]),
                         &shared.arrived[index], static_cast<uint32_t>(index % split),
                         reinterpret_cast<const int4&>(sum));
    } else {
      shared.totals[index][lane] = sum;
    }
    if (is_late) finish_late(late_tile, index - split);
    last_index = index;
  }
  // NOTE: blocks that split k have one batch only, and need no last meeting: each waits for all that is sent to it.
  for (int index = max(0, last_index + 1 - split); split > 1 && index <= last_index; ++index) {
    if (index % split != rank) continue;
    const int tile = first.tile + index * first.step;
    late.load(tile);
    finish_late(tile, index);
  }
}

[[maybe_unused]] __device__ __forceinline__ uint32_t word_of(const uint4& v, int j) {
  return j == 0 ? v.x : j == 1 ? v.y : j == 2 ? v.z : v.w;
}

// A lane's activations of a chunk: token g, operands of word j of step s in [s][2 j], [s][2 j + 1].
using ChunkOfX = uint32_t[kStepsOfStage * kStagesOfChunk][8];

// Zeros beyond k, so that whatever a box holds there adds nothing.
template <class T>
__device__ __forceinline__ void load_x(ChunkOfX& x, const StreamCall& call, int k_begin, const Place& at,
                                       int warp, int lane) {
  const int token = lane / 4;
  const T* row = static_cast<const T*>(call.x) + token * call.x_stride + k_begin;
#pragma unroll
  for (int s = 0; s < kStepsOfStage * kStagesOfChunk; ++s) {
    const int k = at.chunk * kChunkDepth + (s * kWarps + warp) * 64 + lane % 4 * 16;
    uint4 v[2] = {};
    if (token < call.out.m && k < at.k)
      v[0] = reinterpret_cast<const uint4*>(row + k)[0], v[1] = reinterpret_cast<const uint4*>(row + k)[1];
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const uint32_t low = word_of(v[j / 2], j % 2 * 2), high = word_of(v[j / 2], j % 2 * 2 + 1);
      x[s][2 * j] = __byte_perm(low, high, 0x5410), x[s][2 * j + 1] = __byte_perm(low, high, 0x7632);
    }
  }
}

// chains += a step of features g (upper) and g + 8 (lower) times x.
// NOTE: two chains hide the tensor cores' latency. With f16 they do not fit 96 registers: one chain a stage, whose sums are
// then added with rounding.
template <class T>
constexpr bool kTwoChains = std::is_same_v<T, BF16>;

template <class T>
__device__ __forceinline__ void multiply(float (&chains)[2][4], const uint4& upper, const uint4& lower,
                                         const uint32_t (&x)[8]) {
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    const CodePairs a = code_pairs_apart(word_of(upper, j), T{}),
                    b = code_pairs_apart(word_of(lower, j), T{});
    ptx::mma_f16(chains[kTwoChains<T> ? j % 2 : 0], {a.low, b.low, a.high, b.high}, x[2 * j], x[2 * j + 1],
                 T{});
  }
}
template <class T>
__device__ __forceinline__ void end_stage(float (&chains)[2][4]) {
  if constexpr (!kTwoChains<T>) {
#pragma unroll
    for (int i = 0; i < 4; ++i) chains[1][i] += chains[0][i], chains[0][i] = 0;
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads, 2)
    gemm_w8a16_stream_tokens(const __grid_constant__ StreamCall call) {
#if __CUDA_ARCH__ >= 900
  extern __shared__ __align__(1024) int8_t memory[];
  auto& shared = *reinterpret_cast<StreamShared*>(memory);
  int8_t* ring = memory + kStreamHeadBytes;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = __shfl_sync(~0u, static_cast<int>(threadIdx.x) / 32, 0);
  const int split = static_cast<int>(ptx::cluster_size()), rank = static_cast<int>(ptx::cluster_rank());
  if (threadIdx.x == 0) {
    for (int i = 0; i < call.stages; ++i)
      ptx::mbarrier_init(&shared.full[i], 1), ptx::mbarrier_init(&shared.empty[i], kWarps);
    for (int i = 0; i < kSumSlots; ++i)
      ptx::mbarrier_init(&shared.sums_full[i], kWarps), ptx::mbarrier_init(&shared.sums_empty[i], 1);
    for (int i = 0; i < kStreamBatch; ++i) ptx::mbarrier_init(&shared.arrived[i], 1);
    ptx::mbarrier_init_fence();
  }
  __syncthreads();
  if (split > 1)
    ptx::cluster_arrive(), ptx::cluster_wait();  // nobody sends to barriers that are not there yet
  ptx::grid_dependency_release();

  const int first = static_cast<int>(ptx::cluster_index()), k_begin = rank * call.slice;
  Place at{
      first, 0, first, static_cast<int>(ptx::cluster_count()), call.tiles, min(call.slice, call.k - k_begin)};
  if (warp == kWarps) return serve(call, shared, ring, at, k_begin, split, rank, lane);
  ptx::grid_dependency_wait();

  // Step i of a stage is half a line of 128 bytes of [k / 128][feature], in the 128-byte swizzle.
  const int row = feature_of_row(lane / 4);
  const int8_t* codes_of_lane =
      ring + warp / 2 * (kStreamFeatures * 128) + row * 128 + ((warp % 2 * 4 + lane % 4) ^ row) * 16;
  ChunkOfX x;
  Turn turn, sum_turn{0, 1};
#pragma unroll 1
  for (; at.exists(); at.next()) {
    if (at.tile == at.batch) load_x<T>(x, call, k_begin, at, warp, lane);
    const int stages = at.stages();
    float sums[2][4] = {};
#pragma unroll
    for (int stage = 0; stage < kStagesOfChunk; ++stage) {
      if (stage >= stages) continue;
      ptx::mbarrier_wait(&shared.full[turn.slot], turn.phase);
      const int8_t* stage_of_lane = codes_of_lane + turn.slot * kStageBytes;
#pragma unroll
      for (int s = 0; s < kStepsOfStage; ++s) {
        const uint4 upper = *reinterpret_cast<const uint4*>(stage_of_lane + s * kStepBytes),
                    lower = *reinterpret_cast<const uint4*>(stage_of_lane + s * kStepBytes + 8 * 128);
        if (s == kStepsOfStage - 1) {  // what refills the stage comes from L2 at best: long after these loads
          __syncwarp();
          if (lane == 0) ptx::mbarrier_arrive(&shared.empty[turn.slot]);
        }
        multiply<T>(sums, upper, lower, x[stage * kStepsOfStage + s]);
      }
      end_stage<T>(sums);
      turn.next(call.stages);
    }
    ptx::mbarrier_wait(&shared.sums_empty[sum_turn.slot], sum_turn.phase);
    shared.sums[sum_turn.slot][warp][lane] = make_float4(sums[0][0] + sums[1][0], sums[0][1] + sums[1][1],
                                                         sums[0][2] + sums[1][2], sums[0][3] + sums[1][3]);
    __threadfence_block();
    __syncwarp();
    if (lane == 0) ptx::mbarrier_arrive(&shared.sums_full[sum_turn.slot]);
    sum_turn.next(kSumSlots);
  }
#else
  __trap();  // the host never launches it there
#endif
}

int ceil_div(int64_t a, int64_t b) { return static_cast<int>((a + b - 1) / b); }

bool rows_on_16_bytes(const ConstTensor& t) {
  return reinterpret_cast<uintptr_t>(t.data()) % 16 == 0 &&
         (t.dim(0) <= 1 || t.stride(0) * size_of(t.dtype()) % 16 == 0);
}

// w as [n][k / 128][128], boxes of [8][16][128]: a stage.
cuda::BoxedTensor boxes_of(const ConstTensor& w) {
  const int64_t n = w.dim(0), k = w.dim(1), pitch = n > 1 ? w.stride(0) : k;
  return {.data = w.data(),
          .element_bytes = 1,
          .dims = 3,
          .size = {128, n, k / 128},
          .stride_bytes = {1, pitch, 128},
          .box = {128, kStreamFeatures, kStageDepth / 128},
          .promote = false};
}

template <class T>
void run(const Context& ctx, const GemmW8A16Args& a, const StreamPlan& plan) {
  const auto* kernel = reinterpret_cast<const void*>(gemm_w8a16_stream_tokens<T>);
  cuda::LaunchShape shape{.kernel = "gemm_w8a16_stream_tokens",
                          .grid = {},
                          .block = dim3(kThreads),
                          .shared_bytes = stream_shared_bytes(plan),
                          .shared_percent = 100,
                          .cluster = plan.split,
                          .overlap = true};
  const int cores = cuda::device_facts(cuda::current_device()).cores;
  int64_t clusters = std::max(1, cores / plan.split);
  if (plan.split > 1) clusters = std::min(clusters, cuda::resident_clusters(kernel, shape));
  const int tiles = ceil_div(a.w.dim(0), kStreamFeatures);
  const int64_t k = a.x.dim(1);
  const int slice = ceil_div(k, plan.split * kStageDepth) * kStageDepth;
  if (plan.split > 1 && (tiles > clusters * kStreamBatch || slice >= k))
    return run<T>(ctx, a, {.split = 1, .stages = plan.stages, .early = plan.early});
  const StreamCall call{.map = cuda::tensor_map_of(boxes_of(a.w)),
                        .x = a.x.data(),
                        .x_stride = a.x.stride(0),
                        .out = w8a16_output(a),
                        .k = static_cast<int>(k),
                        .slice = slice,
                        .tiles = tiles,
                        .stages = plan.stages,
                        .early = plan.early};
  shape.grid = dim3(static_cast<unsigned>(std::min<int64_t>(clusters, tiles) * plan.split));
  cuda::launch(ctx, shape, gemm_w8a16_stream_tokens<T>, call);
}

}  // namespace

bool gemm_w8a16_fits_stream(const GemmW8A16Args& a, const DeviceFacts& facts) {
  const auto* kernel = reinterpret_cast<const void*>(gemm_w8a16_stream_tokens<F16>);
  return facts.compute_capability == 90 && a.x.dtype() != DType::f32 && a.x.dim(0) <= kFewTokens &&
         a.x.dim(1) > 0 && a.x.dim(1) % 128 == 0 && a.x.dim(1) < INT32_MAX / 2 && a.w.dim(0) > 0 &&
         a.w.dim(0) < INT32_MAX / 2 && rows_on_16_bytes(a.x) && rows_on_16_bytes(a.w) &&
         cuda::kernel_facts(kernel, 0).ptx_version >= 90;
}

void gemm_w8a16_stream_with_plan(const Context& ctx, const GemmW8A16Args& a, const StreamPlan& plan) {
  if (a.y.numel() == 0) return;
  if (a.x.dtype() == DType::f16)
    run<F16>(ctx, a, plan);
  else
    run<BF16>(ctx, a, plan);
}

void gemm_w8a16_stream(const Context& ctx, const GemmW8A16Args& a) {
  const int cores = cuda::device_facts(cuda::current_device()).cores;
  gemm_w8a16_stream_with_plan(ctx, a, plan_stream(a.w.dim(0), a.x.dim(1), cores, a.w_ready));
}

}  // namespace octavo
