// gemm_w8a16 for up to eight tokens on Hopper: w streams through shared memory once, x lies in registers.
//   y[m][n] = (sum_k x[m][k] w[n][k]) w_scale[n] + bias[n]
// A tile is 16 features x 8 tokens: mma.sync m16n8k16 with the weights as the left operand, so the cost does not depend on
// the number of tokens. A block keeps one ring of stages of 16 features x 1,024 k, each one box of the copy engine. Eight warps
// multiply, each 1/8 of a stage's k, whose x it keeps in registers for 4,096 k ("a chunk"): chunk after chunk over up to eight
// tiles of the block, or all tiles where one chunk is all of k. A ninth warp refills the ring, a tenth adds up the eight warps'
// sums and finishes tiles. Where K is long and tiles are few, the two blocks of a cluster split k and exchange their sums. All
// sums meet in a fixed order.
// Two blocks fit a multiprocessor: those of the next launch fill their rings while this one finishes (programmatic dependent
// launch; 113 KB of shared memory a block and 96 registers a thread are what that takes), and ask L2 for the next stages.
// Weights are the first to leave L2: they are read once, and x, scales and y stay.
// Lane (g, c) = (lane / 4, lane % 4) reads 16 codes of features g, g + 8 at k = 64 step + 16 c; word j of them is one
// product's operand, so its k are 16 c + 4 j + (0, 2, 1, 3), and x is put in that order.
#include <algorithm>
#include <type_traits>

#include "core/buffer.h"
#include "cuda/device.h"
#include "cuda/launch.h"
#include "cuda/ptx/cluster.cuh"
#include "cuda/ptx/elect.cuh"
#include "cuda/ptx/grid_dependency.cuh"
#include "cuda/ptx/kept.cuh"
#include "cuda/ptx/mbarrier_test.cuh"
#include "cuda/ptx/mma_f16.cuh"
#include "cuda/ptx/relaxed.cuh"
#include "cuda/ptx/tensor_copy.cuh"
#include "cuda/tensor_map.h"
#include "ops/gemm_w8a16/gemm_w8a16_codes.cuh"
#include "ops/gemm_w8a16/gemm_w8a16_cuda.h"
#include "ops/gemm_w8a16/gemm_w8a16_epilogue.cuh"

namespace octavo {
namespace {

namespace ptx = cuda::ptx;

constexpr int kWarps = 8, kThreads = 32 * (kWarps + 2);  // that multiply; of a block
constexpr int kSumSlots = 2;
constexpr int kStepsOfStage = kStageDepth / (64 * kWarps), kStagesOfChunk = kChunkDepth / kStageDepth;
[[maybe_unused]] constexpr int kStepBytes =
    kStreamFeatures * 64 * kWarps;  // from one of a warp's steps of a stage to the next

struct StreamCall {
  CUtensorMap map_of_w;  // boxes of [k / 128][feature][128]
  CUtensorMap map_of_x;  // boxes of [k / 64][token][64]
  const void* x;         // [m, k] of T, rows on 16 bytes
  int64_t x_stride;
  W8A16Output out;
  int k, slice;  // slice: k of one block of a cluster
  int tiles, stages;
  bool early;
};

// Of each multiprocessor: whether weights of a block are still on their way there. While they are, the next launch's block
// leaves the memory to it: its own ring fills while this launch multiplies, adds up and stores the rest. Only a hint: it
// changes no result, and a block whose wait is over does not look at it. (8 x 4096 x 14336 17.2 us, filled at once 18.3.)
constexpr int kMostCores = 256;
[[maybe_unused]] __device__ uint32_t is_reading[kMostCores];

[[maybe_unused]] __device__ __forceinline__ uint32_t* hint_of_core() {
  return &is_reading[ptx::core_id() % kMostCores];
}

// Behind it: the ring, then what other blocks of the cluster send: [own tile][lane].
struct StreamShared {
  float4 sums[kSumSlots][kWarps][32];  // of a tile and chunk
  float4 totals[kStreamBatch][32];     // of a tile's chunks so far
  uint64_t full[kMostStages], empty[kMostStages];
  uint64_t sums_full[kSumSlots], sums_empty[kSumSlots];
  uint64_t arrived[kStreamBatch], released;
};
static_assert(sizeof(StreamShared) <= kStreamHeadBytes);

// Order of the work of a block: a batch of tiles, chunk after chunk; tiles are `step` apart.
struct Place {
  int batch, chunk, tile, index;  // batch: its first tile; index: of the tile in it
  int step, tiles, k;             // k: of this block

  __device__ __forceinline__ bool exists() const { return tile < tiles; }
  __device__ __forceinline__ bool begins_chunk() const { return tile == batch; }
  __device__ __forceinline__ bool is_last_chunk() const { return (chunk + 1) * kChunkDepth >= k; }
  __device__ __forceinline__ int stages() const {
    return min(kStagesOfChunk, (k - chunk * kChunkDepth + kStageDepth - 1) / kStageDepth);
  }
  __device__ __forceinline__ int next_batch() const {  // one batch where x of one chunk serves all tiles
    return k <= kChunkDepth ? tiles : batch + kStreamBatch * step;
  }
  __device__ __forceinline__ void next() {
    tile += step, ++index;
    if (tile < min(tiles, next_batch())) return;
    if (is_last_chunk())
      chunk = 0, batch = next_batch();
    else
      ++chunk;
    tile = batch, index = 0;
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
// NOTE: nothing else keeps an arrival at an mbarrier behind the loads from shared memory in front of it: ptxas puts it where
// their results are not there yet, and what they read may be overwritten first (H200).
[[maybe_unused]] __device__ __forceinline__ bool one_lane_after(uint32_t loaded) {
  const uint32_t votes = __ballot_sync(~0u, loaded & 1);
  return static_cast<int>(threadIdx.x % 32) == 31 - __clz(static_cast<int>(votes | 1));
}

[[maybe_unused]] __device__ __forceinline__ float4 operator+(const float4& a, const float4& b) {
  return make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w);
}

// Sums of a tile in the order of the tensor cores: features g, g + 8 x tokens 2 c, 2 c + 1.
template <class T>
struct Finisher {
  const StreamCall& call;
  int g, c;
  int64_t y_rows[2], residual_rows[2];  // where the tokens' rows begin
  Feature feature[2];

  __device__ __forceinline__ Finisher(const StreamCall& of, int lane) : call(of), g(lane / 4), c(lane % 4) {
    for (int i = 0; i < 2; ++i)
      y_rows[i] = (2 * c + i) * call.out.y_stride, residual_rows[i] = (2 * c + i) * call.out.residual_stride;
  }
  __device__ __forceinline__ int n(int tile, int i) const {
    return tile * kStreamFeatures + feature_of_row(g) + 8 * i;
  }
  __device__ __forceinline__ void load(Feature (&to)[2], int tile) const {
#pragma unroll
    for (int i = 0; i < 2; ++i) to[i].load(call.out, n(tile, i));
  }
  __device__ __forceinline__ void store(int tile, const float4& sum) const {
    constexpr float scale = kCodeScale<T>;
    float v[4] = {feature[0].of(scale * sum.x), feature[0].of(scale * sum.y), feature[1].of(scale * sum.z),
                  feature[1].of(scale * sum.w)};
    int columns[2] = {n(tile, 0), n(tile, 1)};
    bool has[2] = {columns[0] < call.out.n, columns[1] < call.out.n};
    if (call.out.silu_mul) {
#pragma unroll
      for (float& e : v) e = silu_mul(e, __shfl_xor_sync(~0u, e, 8));  // row g ^ 2: feature ^ 1
#pragma unroll
      for (int i = 0; i < 2; ++i) has[i] &= columns[i] % 2 == 0, columns[i] /= 2;
    }
    switch (call.out.y_type) {
      case DType::f16: store_as<F16>(v, columns, has); break;
      case DType::bf16: store_as<BF16>(v, columns, has); break;
      default: store_as<float>(v, columns, has);
    }
  }
  template <class Y>
  __device__ __forceinline__ void store_as(float (&v)[4], const int (&columns)[2],
                                           const bool (&has)[2]) const {
    const auto exists = [&](int i) { return has[i / 2] && 2 * c + i % 2 < call.out.m; };
    if (call.out.residual) {
#pragma unroll
      for (int i = 0; i < 4; ++i)
        if (exists(i))
          v[i] += cuda::load_element(static_cast<const Y*>(call.out.residual) + residual_rows[i % 2] +
                                     columns[i / 2]);
    }
#pragma unroll
    for (int i = 0; i < 4; ++i)
      if (exists(i)) cuda::store_element(static_cast<Y*>(call.out.y) + y_rows[i % 2] + columns[i / 2], v[i]);
  }
};

// Into L2 and the tables of pages: x, each block some lines of 128 bytes, scales and biases of the block's tiles.
// NOTE: before the wait, which is right: nothing is read.
[[maybe_unused]] __device__ __forceinline__ void prefetch_inputs(const StreamCall& call, const Place& at,
                                                                 int lane) {
  const int lines = call.k / 64, all = call.out.m * lines, blocks = static_cast<int>(gridDim.x);
  for (int i = lane * blocks + static_cast<int>(blockIdx.x); i < max(all, blocks); i += 32 * blocks) {
    const int token = i % all / lines, line = i % all - token * lines;
    ptx::prefetch_to_l2(static_cast<const uint16_t*>(call.x) + token * call.x_stride + line * 64);
  }
  for (int tile = at.tile + lane * at.step; tile < at.tiles; tile += 32 * at.step) {
    ptx::prefetch_to_l2(call.out.w_scale + tile * kStreamFeatures);
    if (call.out.bias) ptx::prefetch_to_l2(call.out.bias + tile * kStreamFeatures);
  }
}

// The ninth warp, until the launch in front has what it reads.
[[maybe_unused]] __device__ __forceinline__ void wait_for_memory(StreamShared& shared) {
  const uint32_t* hint = hint_of_core();
  while (ptx::load_relaxed(hint) && !ptx::mbarrier_test(&shared.released, 0)) {
  }
  __syncwarp();
}

__device__ __forceinline__ int3 box_of_w(const Place& at, int stage, int k_begin) {
  return make_int3(0, at.tile * kStreamFeatures,
                   (k_begin + at.chunk * kChunkDepth + stage * kStageDepth) / 128);
}

// Into L2: the stages behind `stage` of `at`, which is the last that the ring holds while the launch in front finishes.
// NOTE: once. Asked for all along, boxes leave L2 before they are read: 1 x 28672 x 4096 34.5 us instead of 31.3.
constexpr int kStagesAhead = 4;
[[maybe_unused]] __device__ __forceinline__ void prefetch_stages(const StreamCall& call, Place at, int stage,
                                                                 int k_begin) {
#pragma unroll 1
  for (int i = 0; i < kStagesAhead; ++i) {
    if (++stage == at.stages()) stage = 0, at.next();
    if (!at.exists()) return;
    ptx::prefetch_box(&call.map_of_w, box_of_w(at, stage, k_begin));
  }
}

// One lane of the ninth warp: boxes in the order of work, as the ring's stages are read. x of every chunk but the first comes
// through the ring too, in front of the chunk's tiles.
[[maybe_unused]] __device__ __forceinline__ void fill_ring(const StreamCall& call, StreamShared& shared,
                                                           int8_t* ring, Place at, int k_begin) {
  uint32_t* hint = hint_of_core();
  if (call.early)
    ptx::store_relaxed(hint, 1);
  else
    ptx::grid_dependency_wait();
  Turn turn{0, 1}, last;  // the ring is empty
  const auto next_slot = [&] {
    ptx::mbarrier_wait(&shared.empty[turn.slot], turn.phase);
    ptx::mbarrier_arrive_expect(&shared.full[turn.slot], kStageBytes);
    last = turn, turn.next(call.stages);
    return ring + last.slot * kStageBytes;
  };
  bool has_x = true;  // the first chunk's, in registers
  int free = call.early ? call.stages : 0;
#pragma unroll 1
  for (; at.exists(); at.next()) {
    if (at.begins_chunk() && !has_x) {
      ptx::grid_dependency_wait();
#pragma unroll 1
      for (int i = 0; i < at.stages(); ++i) {
        int8_t* slot = next_slot();
        ptx::load_box(slot, &call.map_of_x,
                      make_int3(0, 0, (k_begin + at.chunk * kChunkDepth + i * kStageDepth) / 64),
                      &shared.full[last.slot]);
      }
    }
    has_x = false;
#pragma unroll 1
    for (int i = 0; i < at.stages(); ++i) {
      int8_t* slot = next_slot();
      ptx::load_box_once(slot, &call.map_of_w, box_of_w(at, i, k_begin), &shared.full[last.slot]);
      if (--free == 0) prefetch_stages(call, at, i, k_begin);
    }
  }
  if (call.early) {
    ptx::mbarrier_wait(&shared.full[last.slot], last.phase ^ 1);
    ptx::store_relaxed(hint, 0);
  }
  ptx::grid_dependency_wait();
}

// The tenth warp: adds up and finishes tiles.
template <class T>
__device__ __forceinline__ void finish_tiles(const StreamCall& call, StreamShared& shared, int8_t* ring,
                                             Place at, int split, int rank, int lane) {
  ptx::grid_dependency_wait();
  if (lane == 0) ptx::mbarrier_arrive(&shared.released);
  const Place first = at;
  // Tiles of a cluster belong to its ranks by turns. The exchange takes a while: a tile is finished `split` tiles later.
  auto* received = reinterpret_cast<float4*>(ring + call.stages * kStageBytes);
  Finisher<T> now(call, lane), late(call, lane);
  Feature upcoming[2];  // a tile ahead
  now.load(upcoming, at.tile);
  const auto finish_late = [&](int tile, int index) {
    if (lane == 0) ptx::mbarrier_arrive_expect(&shared.arrived[index], sizeof(float4) * 32);
    ptx::mbarrier_wait(&shared.arrived[index], 0);
    const float4 own = shared.totals[index][lane], other = received[index / split * 32 + lane];
    late.store(tile, rank == 0 ? own + other : other + own);
  };
  Turn sum_turn;
  int last_index = 0;
#pragma unroll 1
  for (; at.exists(); at.next()) {
    const bool is_last = at.is_last_chunk();
    const int index = at.index, late_tile = at.tile - split * at.step;
    const bool is_late = split > 1 && is_last && index >= split && index % split == rank;
    Place following = at;
    following.next();
    now.feature[0] = upcoming[0], now.feature[1] = upcoming[1];
    if (following.exists()) now.load(upcoming, following.tile);
    if (is_late) late.load(late.feature, late_tile);
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
    late.load(late.feature, tile);
    finish_late(tile, index);
  }
}

[[maybe_unused]] __device__ __forceinline__ uint32_t word_of(const uint4& v, int j) {
  return j == 0 ? v.x : j == 1 ? v.y : j == 2 ? v.z : v.w;
}

// A lane's activations of a chunk: token g; of step s its 16 of them, then operands of word j in [s][2 j], [s][2 j + 1].
using ChunkOfX = uint32_t[kStepsOfStage * kStagesOfChunk][8];

__device__ __forceinline__ void make_operands(uint32_t (&x)[8]) {
#pragma unroll
  for (int j = 0; j < 8; j += 2) {
    const uint32_t low = x[j], high = x[j + 1];
    x[j] = __byte_perm(low, high, 0x5410), x[j + 1] = __byte_perm(low, high, 0x7632);
  }
}
__device__ __forceinline__ void put(uint32_t (&x)[8], const uint4& low, const uint4& high) {
  x[0] = low.x, x[1] = low.y, x[2] = low.z, x[3] = low.w;
  x[4] = high.x, x[5] = high.y, x[6] = high.z, x[7] = high.w;
}

// Of the first chunk, from global memory, not yet operands: nothing here waits for what is loaded. Zeros beyond k, so that
// whatever a box holds there adds nothing.
template <class T>
__device__ __forceinline__ void load_x(ChunkOfX& x, const StreamCall& call, int k_begin, const Place& at,
                                       int warp, int lane) {
  const int token = lane / 4, end = min(k_begin + at.stages() * kStageDepth, call.k);
  const T* row = static_cast<const T*>(call.x) + token * call.x_stride;
#pragma unroll
  for (int s = 0; s < kStepsOfStage * kStagesOfChunk; ++s) {
    const int k = k_begin + (s * kWarps + warp) * 64 + lane % 4 * 16;
    uint4 v[2] = {};
    if (token < call.out.m && k < end)
      v[0] = reinterpret_cast<const uint4*>(row + k)[0], v[1] = reinterpret_cast<const uint4*>(row + k)[1];
    put(x[s], v[0], v[1]);
  }
}

// Of a stage, from the ring: [k / 64][token][64] in the 128-byte swizzle. Returns a word of everything loaded.
[[maybe_unused]] __device__ __forceinline__ uint32_t read_x(ChunkOfX& x, int stage, const int8_t* box,
                                                            int warp, int lane) {
  const int token = lane / 4, part = lane % 4 * 2;
  uint32_t loaded = 0;
#pragma unroll
  for (int i = 0; i < kStepsOfStage; ++i) {
    const int8_t* row = box + (i * kWarps + warp) * (kFewTokens * 128) + token * 128;
    put(x[stage * kStepsOfStage + i], *reinterpret_cast<const uint4*>(row + (part ^ token) * 16),
        *reinterpret_cast<const uint4*>(row + ((part + 1) ^ token) * 16));
    make_operands(x[stage * kStepsOfStage + i]);
    loaded ^= x[stage * kStepsOfStage + i][0] ^ x[stage * kStepsOfStage + i][4];
  }
  return loaded;
}

// chains += a step of features g (upper) and g + 8 (lower) times x.
// NOTE: two chains hide the tensor cores' latency. With f16 they do not fit 96 registers: one chain a stage, whose sums are
// then added with rounding.
template <class T>
constexpr bool kTwoChains = std::is_same_v<T, BF16>;

// A lane's codes of a step: of feature g and g + 8.
struct StepCodes {
  uint4 upper, lower;

  __device__ __forceinline__ uint32_t loaded() const { return upper.x ^ lower.x; }
};

template <class T>
__device__ __forceinline__ void multiply(float (&chains)[2][4], const StepCodes& codes,
                                         const uint32_t (&x)[8]) {
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    const CodePairs a = code_pairs_apart(word_of(codes.upper, j), T{}),
                    b = code_pairs_apart(word_of(codes.lower, j), T{});
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
      ptx::mbarrier_init(&shared.sums_full[i], 32 * kWarps), ptx::mbarrier_init(&shared.sums_empty[i], 1);
    for (int i = 0; i < kStreamBatch; ++i) ptx::mbarrier_init(&shared.arrived[i], 1);
    ptx::mbarrier_init(&shared.released, 1);
    ptx::mbarrier_init_fence();
  }
  __syncthreads();
  if (split > 1)
    ptx::cluster_arrive_relaxed(), ptx::cluster_wait();  // nobody sends to barriers that are not there yet
  ptx::grid_dependency_release();

  const int first = static_cast<int>(ptx::cluster_index()), k_begin = rank * call.slice;
  Place at{first,
           0,
           first,
           0,
           static_cast<int>(ptx::cluster_count()),
           call.tiles,
           min(call.slice, call.k - k_begin)};
  if (warp == kWarps) {
    if (call.early) wait_for_memory(shared);
    prefetch_inputs(call, at, lane);
    if (ptx::elect_one()) fill_ring(call, shared, ring, at, k_begin);
    return;
  }
  if (warp > kWarps) return finish_tiles<T>(call, shared, ring, at, split, rank, lane);
  ptx::grid_dependency_wait();

  // Step i of a stage is half a line of 128 bytes of [k / 128][feature], in the 128-byte swizzle.
  const int row = feature_of_row(lane / 4);
  const int8_t* codes_of_lane =
      ring + warp / 2 * (kStreamFeatures * 128) + row * 128 + ((warp % 2 * 4 + lane % 4) ^ row) * 16;
  ChunkOfX x;
  Turn turn, sum_turn{0, 1};
  // NOTE: kept, or ptxas asks for the number of the block in its cluster in front of each wait.
  StreamShared& barriers = *ptx::kept(&shared);
  const uint32_t first_codes = ptx::kept(ptx::shared_address(codes_of_lane));
  const auto codes_of = [&](int slot, int step) {
    const uint32_t at_step = first_codes + static_cast<uint32_t>(slot * kStageBytes + step * kStepBytes);
    return StepCodes{ptx::load_shared(at_step), ptx::load_shared(at_step + 8 * 128)};
  };
  const auto release_after = [&](uint32_t loaded) {
    if (one_lane_after(loaded)) ptx::mbarrier_arrive(&barriers.empty[turn.slot]);
    turn.next(call.stages);
  };
  load_x<T>(x, call, k_begin, at, warp, lane);
  bool is_first = true;
#pragma unroll 1
  for (; at.exists(); at.next()) {
    const int stages = at.stages();
    if (at.begins_chunk() && !is_first) {
#pragma unroll
      for (int stage = 0; stage < kStagesOfChunk; ++stage) {
        if (stage >= stages) continue;
        ptx::mbarrier_wait(&barriers.full[turn.slot], turn.phase);
        release_after(read_x(x, stage, ring + turn.slot * kStageBytes, warp, lane));
      }
    }
    float sums[2][4] = {};
#pragma unroll
    for (int stage = 0; stage < kStagesOfChunk; ++stage) {
      if (stage >= stages) continue;
      auto &x0 = x[stage * kStepsOfStage], &x1 = x[stage * kStepsOfStage + 1];
      if (is_first) make_operands(x0), make_operands(x1);
      ptx::mbarrier_wait(&barriers.full[turn.slot], turn.phase);
      const StepCodes first = codes_of(turn.slot, 0), second = codes_of(turn.slot, 1);
      multiply<T>(sums, first, x0);
      multiply<T>(sums, second, x1);
      release_after(first.loaded() ^ second.loaded());
      end_stage<T>(sums);
    }
    is_first = false;
    ptx::mbarrier_wait(&shared.sums_empty[sum_turn.slot], sum_turn.phase);
    shared.sums[sum_turn.slot][warp][lane] = make_float4(sums[0][0] + sums[1][0], sums[0][1] + sums[1][1],
                                                         sums[0][2] + sums[1][2], sums[0][3] + sums[1][3]);
    ptx::mbarrier_arrive(&shared.sums_full[sum_turn.slot]);
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
cuda::BoxedTensor boxes_of_w(const ConstTensor& w) {
  const int64_t n = w.dim(0), k = w.dim(1), pitch = n > 1 ? w.stride(0) : k;
  return {.data = w.data(),
          .element_bytes = 1,
          .dims = 3,
          .size = {128, n, k / 128},
          .stride_bytes = {1, pitch, 128},
          .box = {128, kStreamFeatures, kStageDepth / 128},
          .promote = false};
}

// x as [m][k / 64][64], boxes of [16][8][64]: of the k of a stage.
cuda::BoxedTensor boxes_of_x(const ConstTensor& x) {
  const int64_t m = x.dim(0), k = x.dim(1), pitch = m > 1 ? x.stride(0) : k;
  return {.data = x.data(),
          .element_bytes = 2,
          .dims = 3,
          .size = {64, m, k / 64},
          .stride_bytes = {2, 2 * pitch, 128},
          .box = {64, kFewTokens, kStageDepth / 64}};
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
  const StreamCall call{.map_of_w = cuda::tensor_map_of(boxes_of_w(a.w)),
                        .map_of_x = cuda::tensor_map_of(boxes_of_x(a.x)),
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
