// gemm_w8a16 for up to eight tokens: reads w once, as fast as memory gives it.
//   y[m][n] = (sum_k x[m][k] w[n][k]) w_scale[n] + bias[n]
// A tile is 16 or 32 features x 8 tokens: mma.sync m16n8k16 with the weights as the left operand, so the cost does not depend on
// the number of tokens. Every warp has a ring of boxes (the tile's features x 128 k) of its own and takes every 16th box of
// its tile (or 8th); the warps' sums of a tile meet in shared memory, those of a cluster's blocks in distributed shared
// memory, both in a fixed order. Lane (g, c) = (lane / 4, lane % 4) reads 16 codes of features g, g + 8, .. at k = 64 step +
// 16 c; word j of them is one product's operand, so its k are 16 c + 4 j + (0..3), and x is read at the same k.
// Bound by memory: about 20 bytes a clock and multiprocessor, which cost 1.4 (f16) or 2.2 (bf16) instructions a byte.
#include <algorithm>
#include <type_traits>

#include "core/buffer.h"
#include "cuda/device.h"
#include "cuda/launch.h"
#include "cuda/ptx/cluster.cuh"
#include "cuda/ptx/grid_dependency.cuh"
#include "cuda/ptx/mma_f16.cuh"
#include "cuda/ptx/mma_s8.cuh"
#include "cuda/ptx/tensor_copy.cuh"
#include "cuda/tensor_map.h"
#include "ops/gemm_w8a16/gemm_w8a16_codes.cuh"
#include "ops/gemm_w8a16/gemm_w8a16_cuda.h"
#include "ops/gemm_w8a16/gemm_w8a16_epilogue.cuh"

namespace octavo {
namespace {

namespace ptx = cuda::ptx;

struct FewCall {
  CUtensorMap map;  // of w, for FewSource::tma
  const int8_t* w;
  int64_t w_stride;
  const void* x;  // [m, k] of T, rows on 16 bytes
  int64_t x_stride;
  W8A16Output out;
  int k, boxes, tiles;
  int slots;
  bool early;
};

// Behind it: the rings, then the activations.
template <int kWarps, int kFeatures>
struct FewShared {
  static constexpr int kOutputs = kFeatures * kFewTokens;  // of a tile
  alignas(16) float sums[kWarps][kOutputs];                // of the tile
  alignas(16) float parts[2][kOutputs];  // [source rank][output] of this block's share, by turns
  uint64_t full[kWarps][kMostSlots];     // mbarriers
  uint64_t arrived[2], read[2];          // of parts
};

// Places in a warp's sequence of boxes: its share of each tile, tile after tile.
template <int kWarps>
struct Cursor {
  int tile, box;

  __device__ __forceinline__ void next(const Part& boxes, int warp, int tile_step) {
    box += kWarps;
    if (box >= boxes.end) box = boxes.begin + warp, tile += tile_step;
  }
};

// A lane's codes of a box, 16 each: [step of k][features g + 8 part].
template <int kFeatures>
using LaneCodes = uint4[2][kFeatures / 8];

// A warp's ring of boxes by TMA: lane 0 asks, everyone waits.
template <int kFeatures_>
struct TmaRing {
  static constexpr int kWarps = few_warps(FewSource::tma), kFeatures = kFeatures_,
                       kBoxBytes = kFeatures * kBoxDepth;
  static constexpr bool kTma = true;
  using Shared = FewShared<kWarps, kFeatures>;
  using At = Cursor<kWarps>;
  int8_t* boxes;   // [slots][kBoxBytes], in the 128-byte swizzle
  uint64_t* full;  // [slots]
  int slots, slot = 0;
  uint32_t phase = 0;

  __device__ __forceinline__ TmaRing(Shared& shared, int8_t* memory, const FewCall& call, int warp, int lane)
      : boxes(memory + warp * call.slots * kBoxBytes), full(shared.full[warp]), slots(call.slots) {
    if (lane == 0) {
#pragma unroll 1
      for (int i = 0; i < slots; ++i) ptx::mbarrier_init(&full[i], 1);
    }
  }
  __device__ __forceinline__ void ask(const FewCall& call, int to, const At& at, int lane) {
    if (lane != 0) return;
    ptx::mbarrier_arrive_expect(&full[to], kBoxBytes);
    ptx::load_box(boxes + to * kBoxBytes, &call.map, at.box * kBoxDepth, at.tile * kFeatures, &full[to]);
  }
  static __device__ __forceinline__ void asked() {}
  __device__ __forceinline__ void wait() { ptx::mbarrier_wait(&full[slot], phase); }
  __device__ __forceinline__ void read(LaneCodes<kFeatures>& codes, int lane) const {
    const int row = feature_of_row(lane / 4), at = lane % 4;
    const int8_t* box = boxes + slot * kBoxBytes;
#pragma unroll
    for (int step = 0; step < 2; ++step)
#pragma unroll
      for (int i = 0; i < kFeatures / 8; ++i)
        codes[step][i] =
            *reinterpret_cast<const uint4*>(box + (row + i * 8) * kBoxDepth + ((at + step * 4) ^ row) * 16);
    __syncwarp();
  }
  __device__ __forceinline__ void next() {
    if (++slot == slots) slot = 0, phase ^= 1;
  }
};

// 16 codes of a row from k on, any alignment; zeros beyond the end.
__device__ __forceinline__ uint4 codes_of_row(const int8_t* row, int k, int end) {
  uint32_t words[5] = {};
  const int8_t* p = row + k;
  const int off = static_cast<int>(reinterpret_cast<uintptr_t>(p) % 4);
  if (k + 20 <= end) {
    const auto* aligned = reinterpret_cast<const uint32_t*>(p - off);
#pragma unroll
    for (int i = 0; i < 5; ++i) words[i] = aligned[i];
#pragma unroll
    for (int i = 0; i < 4; ++i) words[i] = __funnelshift_r(words[i], words[i + 1], 8 * off);
  } else {
#pragma unroll
    for (int i = 0; i < 16; ++i)
      if (k + i < end) words[i / 4] |= static_cast<uint32_t>(static_cast<uint8_t>(p[i])) << (i % 4 * 8);
  }
  return make_uint4(words[0], words[1], words[2], words[3]);
}

// The same ring filled by the lanes, each with what it reads itself: cp.async, or through registers where w lies anyhow.
template <bool kAligned>
struct LaneRing {
  static constexpr int kWarps = few_warps(FewSource::async), kFeatures = 32,
                       kBoxBytes = kFeatures * kBoxDepth, kParts = kFeatures / 8;
  static constexpr bool kTma = false;
  using Shared = FewShared<kWarps, kFeatures>;
  using At = Cursor<kWarps>;
  int8_t* boxes;  // [slots][step][part][lane][16]
  int slots, slot = 0;

  __device__ __forceinline__ LaneRing(Shared&, int8_t* memory, const FewCall& call, int warp, int)
      : boxes(memory + warp * call.slots * kBoxBytes), slots(call.slots) {}
  __device__ __forceinline__ void ask(const FewCall& call, int to, const At& at, int lane) {
#pragma unroll
    for (int i = 0; i < 2 * kParts; ++i) {
      const int n = at.tile * kFeatures + feature_of_row(lane / 4) + i % kParts * 8;
      const int k = at.box * kBoxDepth + i / kParts * 64 + lane % 4 * 16;
      const bool exists = n < call.out.n && k < call.k;
      const int8_t* row = call.w + (exists ? n * call.w_stride : 0);
      int8_t* place = boxes + to * kBoxBytes + i * 512 + lane * 16;
      if constexpr (kAligned)
        ptx::copy_async(place, exists ? row + k : row, exists ? min(16, call.k - k) : 0);
      else
        *reinterpret_cast<uint4*>(place) = exists ? codes_of_row(row, k, call.k) : uint4{};
    }
  }
  static __device__ __forceinline__ void asked() { ptx::copy_async_commit(); }
  __device__ __forceinline__ void wait() { ptx::copy_async_wait<kAsyncSlots - 1>(); }
  __device__ __forceinline__ void read(LaneCodes<kFeatures>& codes, int lane) const {
#pragma unroll
    for (int i = 0; i < 2 * kParts; ++i)
      codes[i / kParts][i % kParts] =
          *reinterpret_cast<const uint4*>(boxes + slot * kBoxBytes + i * 512 + lane * 16);
  }
  __device__ __forceinline__ void next() {
    if (++slot == slots) slot = 0;
  }
};

// This block's part of k of all tokens to shared memory, zeros up to the end of its last box.
template <class T, int kThreads>
__device__ __forceinline__ void load_x(const FewCall& call, const Part& boxes, int8_t* x_shared, int pitch) {
  const int octets = (boxes.end - boxes.begin) * kBoxDepth / 8;
  for (int token = 0; token < call.out.m; ++token) {
    const T* row = static_cast<const T*>(call.x) + token * call.x_stride;
    for (int octet = static_cast<int>(threadIdx.x); octet < octets; octet += kThreads) {
      const int k = boxes.begin * kBoxDepth + octet * 8, bytes = 2 * min(8, max(0, call.k - k));
      ptx::copy_async(x_shared + token * pitch + octet * 16, bytes ? row + k : row, bytes);
    }
  }
  ptx::copy_async_commit();
}

__device__ __forceinline__ uint32_t word_of(const uint4& v, int j) {
  return j == 0 ? v.x : j == 1 ? v.y : j == 2 ? v.z : v.w;
}

// sums[features / 16] += a box of weights times x: `x` is the lane's token at k = 16 c of the box.
template <class T, int kPairs>
__device__ __forceinline__ void multiply(float (&sums)[kPairs][4], const uint4 (&codes)[2][2 * kPairs],
                                         const int8_t* x) {
#pragma unroll
  for (int step = 0; step < 2; ++step) {
    const auto* words_of_x = reinterpret_cast<const uint4*>(x + step * 128);
    const uint4 b[2] = {words_of_x[0], words_of_x[1]};
    const auto& c = codes[step];
#pragma unroll
    for (int j = 0; j < 4; ++j)
#pragma unroll
      for (int i = 0; i < kPairs; ++i) {
        const CodePairs upper = code_pairs(word_of(c[2 * i], j), T{}),
                        lower = code_pairs(word_of(c[2 * i + 1], j), T{});
        ptx::mma_f16(sums[i], {upper.low, lower.low, upper.high, lower.high}, word_of(b[j / 2], j % 2 * 2),
                     word_of(b[j / 2], j % 2 * 2 + 1), T{});
      }
  }
}

// Where mma.sync leaves output o, token o / kFeatures and feature o % kFeatures, in a warp's sums.
template <int kFeatures>
__device__ __forceinline__ int place_of_output(int o) {
  const int feature = o % kFeatures, token = o / kFeatures;
  const int lane = row_of_feature(feature % 8) * 4 + token / 2;
  return feature / 16 * 128 + lane * 4 + feature / 8 % 2 * 2 + token % 2;
}

// Sums of a cluster's blocks: output o belongs to rank o / share. The exchange takes longer than a tile, so a tile's sums
// are sent when it is done and received when the next one is.
template <class Shared>
struct Exchange {
  Shared& shared;
  int split, rank, turn = 0;  // tiles sent so far

  __device__ __forceinline__ int share() const { return Shared::kOutputs / split; }
  __device__ __forceinline__ static uint32_t phase(int tile) { return static_cast<uint32_t>(tile / 2 % 2); }
  __device__ __forceinline__ void init() const {
    for (int i = 0; i < 2; ++i) {
      ptx::mbarrier_init(&shared.arrived[i], 1);
      ptx::mbarrier_init(&shared.read[i], static_cast<uint32_t>(split * max(1, share() / 32)));
    }
  }
  // Output `thread` of this block to its owner.
  __device__ __forceinline__ void send(float sum) {
    const int thread = static_cast<int>(threadIdx.x), at = turn % 2;
    ptx::mbarrier_wait(&shared.read[at], phase(turn) ^ 1);
    if (thread == 0) ptx::mbarrier_arrive_expect(&shared.arrived[at], sizeof shared.parts[at]);
    ptx::store_to_peer(reinterpret_cast<uint32_t*>(&shared.parts[at][rank * share() + thread % share()]),
                       &shared.arrived[at], static_cast<uint32_t>(thread / share()), __float_as_uint(sum));
    ++turn;
  }
  // Of the tile sent `back` tiles ago: the sum of output rank * share + thread, in the first `share` threads.
  __device__ __forceinline__ float receive(int back, bool is_reused) const {
    const int thread = static_cast<int>(threadIdx.x), tile = turn - back, at = tile % 2;
    if (thread >= round_up(share(), 32)) return 0;
    ptx::mbarrier_wait(&shared.arrived[at], phase(tile));
    float total = 0;
    if (thread < share())
      for (int source = 0; source < split; ++source) total += shared.parts[at][source * share() + thread];
    __syncwarp();
    if (is_reused && thread % 32 < split)
      ptx::mbarrier_arrive_at(&shared.read[at], static_cast<uint32_t>(thread % 32));
    return total;
  }
};

template <class T, class Ring>
__global__ void __launch_bounds__(32 * Ring::kWarps, 16 / Ring::kWarps)
    gemm_w8a16_few_tokens(const __grid_constant__ FewCall call) {
  constexpr int kWarps = Ring::kWarps, kFeatures = Ring::kFeatures, kHead = few_head_bytes(kWarps, kFeatures);
  constexpr int kOutputs = Ring::Shared::kOutputs;
  static_assert(sizeof(typename Ring::Shared) <= kHead);
  extern __shared__ __align__(1024) int8_t memory[];
  auto& shared = *reinterpret_cast<typename Ring::Shared*>(memory);
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32;
  const int warp = __shfl_sync(~0u, thread / 32, 0);
  const int split = static_cast<int>(ptx::cluster_size()), rank = static_cast<int>(ptx::cluster_rank());
  const int clusters = static_cast<int>(ptx::cluster_count());
  const Part boxes = part_of(call.boxes, split, rank);
  const int pitch = few_x_pitch((call.boxes + split - 1) / split);
  int8_t* x_shared = memory + kHead + kWarps * call.slots * Ring::kBoxBytes;

  Ring ring(shared, memory + kHead, call, warp, lane);
  Exchange<typename Ring::Shared> exchange{shared, split, rank};
  if (split > 1 && thread == 0) exchange.init();
  ptx::mbarrier_init_fence();
  __syncwarp();
  if (split > 1)
    ptx::cluster_arrive(), ptx::cluster_wait();  // nobody writes to a block whose barriers are not there yet
  ptx::grid_dependency_release();

  const typename Ring::At first{static_cast<int>(ptx::cluster_index()), boxes.begin + warp};
  auto ahead = first;
  if (first.box >= boxes.end) ahead.tile = call.tiles;
  const auto ask = [&](int slot) {
    if (ahead.tile < call.tiles) ring.ask(call, slot, ahead, lane), ahead.next(boxes, warp, clusters);
    Ring::asked();
  };
  const auto fill = [&] {
#pragma unroll 1
    for (int i = 0; i < call.slots; ++i) ask(i);
  };
  if (call.early) fill();
  ptx::grid_dependency_wait();
  load_x<T, 32 * kWarps>(call, boxes, x_shared, pitch);
  if (!call.early) fill();
  ptx::copy_async_wait<Ring::kTma ? 0 : kAsyncSlots>();
  __syncthreads();

  const int token_of_lane = min(lane / 4, call.out.m - 1);
  const int8_t* x_of_lane = x_shared + token_of_lane * pitch + lane % 4 * 32;
  const int share = kOutputs / split, output = rank * share + thread;
  const int token = output / kFeatures, feature_of_tile = output % kFeatures;
  const auto finish = [&](int tile, const Feature& feature, float sum) {
    const int n = tile * kFeatures + feature_of_tile;
    const float v = feature.of(sum), partner = partner_of(call.out, v, 1);
    if (thread < share && token < call.out.m && n < call.out.n) store_one(call.out, token, n, v, partner);
  };
  Feature before;
  int tile = first.tile;
  for (; tile < call.tiles; tile += clusters) {
    Feature feature;
    if (thread < share)
      feature.load(call.out,
                   tile * kFeatures + feature_of_tile);  // before the product, which hides the latency

    float sums[kFeatures / 16][4] = {};
    for (int box = first.box; box < boxes.end; box += kWarps) {
      LaneCodes<kFeatures> codes;
      ring.wait();
      ring.read(codes, lane);
      ask(ring.slot);
      ring.next();
      multiply<T>(sums, codes, x_of_lane + (box - boxes.begin) * (kBoxDepth * 2));
    }
#pragma unroll
    for (int i = 0; i < kFeatures / 16; ++i)
      reinterpret_cast<float4*>(shared.sums[warp])[i * 32 + lane] =
          make_float4(sums[i][0], sums[i][1], sums[i][2], sums[i][3]);
    __syncthreads();
    float sum = 0;
    if (thread < kOutputs) {
#pragma unroll
      for (int i = 0; i < kWarps; ++i) sum += shared.sums[i][place_of_output<kFeatures>(thread)];
    }
    __syncthreads();
    if (thread >= kOutputs) continue;
    if (split == 1) {
      finish(tile, feature, sum);
    } else {
      exchange.send(sum);
      if (tile != first.tile)
        finish(tile - clusters, before, exchange.receive(2, tile + clusters < call.tiles));
      before = feature;
    }
  }
  if (split > 1 && thread < kOutputs) finish(tile - clusters, before, exchange.receive(1, false));
  // NOTE: blocks that split k need no last meeting: each has waited for all that is sent to it.
}

int ceil_div(int64_t a, int64_t b) { return static_cast<int>((a + b - 1) / b); }

cuda::ByteMatrix matrix_of(const ConstTensor& t) {
  const int64_t pitch = t.dim(0) > 1 ? t.stride(0) : round_up(t.dim(1), 16);
  return {t.data(), t.dim(0), t.dim(1), pitch};
}

bool rows_on_16_bytes(const ConstTensor& t) {
  return reinterpret_cast<uintptr_t>(t.data()) % 16 == 0 &&
         (t.dim(0) <= 1 || t.stride(0) * size_of(t.dtype()) % 16 == 0);
}

template <class T, class Ring>
void run(const Context& ctx, const GemmW8A16Args& a, const FewPlan& plan) {
  FewCall call{.map = {},
               .w = static_cast<const int8_t*>(a.w.data()),
               .w_stride = a.w.stride(0),
               .x = a.x.data(),
               .x_stride = a.x.stride(0),
               .out = w8a16_output(a),
               .k = static_cast<int>(a.x.dim(1)),
               .boxes = ceil_div(a.x.dim(1), kBoxDepth),
               .tiles = ceil_div(a.w.dim(0), Ring::kFeatures),
               .slots = plan.slots,
               .early = plan.early && Ring::kTma};
  if constexpr (Ring::kTma) call.map = cuda::tensor_map_of(matrix_of(a.w), Ring::kFeatures);
  cuda::LaunchShape shape{.kernel = "gemm_w8a16_few_tokens",
                          .grid = {},
                          .block = dim3(32 * Ring::kWarps),
                          .shared_bytes = few_shared_bytes(plan, a.x.dim(0), a.x.dim(1)),
                          .shared_percent = 100,
                          .cluster = plan.split,
                          .overlap = true};
  const int cores = cuda::device_facts(cuda::current_device()).cores;
  int clusters = std::max(1, cores / plan.split);
  if (plan.split > 1) {
    const int64_t resident =
        cuda::resident_clusters(reinterpret_cast<const void*>(gemm_w8a16_few_tokens<T, Ring>), shape);
    clusters = static_cast<int>(std::min<int64_t>(clusters, resident));
  }
  shape.grid = dim3(static_cast<unsigned>(std::min(clusters, call.tiles) * plan.split));
  cuda::launch(ctx, shape, gemm_w8a16_few_tokens<T, Ring>, call);
}

template <class T>
void run_source(const Context& ctx, const GemmW8A16Args& a, const FewPlan& plan) {
  switch (plan.source) {
    case FewSource::tma:
      return plan.features == 32 ? run<T, TmaRing<32>>(ctx, a, plan) : run<T, TmaRing<16>>(ctx, a, plan);
    case FewSource::async: return run<T, LaneRing<true>>(ctx, a, plan);
    case FewSource::bytes: return run<T, LaneRing<false>>(ctx, a, plan);
  }
}

FewSource source_for(const GemmW8A16Args& a, const DeviceFacts& facts) {
  if (!rows_on_16_bytes(a.w)) return FewSource::bytes;
  const auto* kernel = reinterpret_cast<const void*>(gemm_w8a16_few_tokens<F16, TmaRing<16>>);
  return facts.compute_capability == 90 && cuda::kernel_facts(kernel, 0).ptx_version >= 90 ? FewSource::tma
                                                                                           : FewSource::async;
}

FewPlan plan_for(const GemmW8A16Args& a, const DeviceFacts& facts) {
  return plan_few(a.x.dim(0), a.x.dim(1), source_for(a, facts), a.w_ready);
}

}  // namespace

bool gemm_w8a16_fits_few(const GemmW8A16Args& a, const DeviceFacts& facts) {
  return facts.compute_capability >= 80 && a.x.dtype() != DType::f32 && a.x.dim(0) <= kFewTokens &&
         a.x.dim(1) > 0 && a.x.dim(1) < INT32_MAX / 2 && a.w.dim(0) < INT32_MAX / 2 &&
         rows_on_16_bytes(a.x) &&
         few_shared_bytes(plan_for(a, facts), a.x.dim(0), a.x.dim(1)) <= facts.shared_bytes_per_block;
}

void gemm_w8a16_few_with_plan(const Context& ctx, const GemmW8A16Args& a, const FewPlan& plan) {
  if (a.y.numel() == 0) return;
  if (a.x.dtype() == DType::f16)
    run_source<F16>(ctx, a, plan);
  else
    run_source<BF16>(ctx, a, plan);
}

void gemm_w8a16_few(const Context& ctx, const GemmW8A16Args& a) {
  gemm_w8a16_few_with_plan(ctx, a, plan_for(a, cuda::device_facts(cuda::current_device())));
}

}  // namespace octavo
