// gemm_w8a16 for up to eight tokens: reads w once, as fast as memory gives it.
//   y[m][n] = (sum_k x[m][k] w[n][k]) w_scale[n] + bias[n]
// A tile is 16 features x 8 tokens: mma.sync m16n8k16 with the weights as the left operand, so the cost does not depend on
// the number of tokens. Every warp has a ring of boxes (16 features x 128 k, 2 KB) of its own and takes every eighth box
// of its tile; the eight sums of a tile meet in shared memory, those of a cluster's blocks in distributed shared memory,
// both in a fixed order. Lane (g, c) = (lane / 4, lane % 4) reads 16 codes of rows g and g + 8 at k = 64 step + 16 c; word
// j of them is one product's operand, so its k are 16 c + 4 j + (0..3), and x is read at the same k.
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

constexpr int kThreads = 32 * kFewWarps;
constexpr int kOutputs = kFewFeatures * kFewTokens;  // of a tile

struct FewCall {
  CUtensorMap map;  // of w, for FewSource::tma
  const int8_t* w;
  int64_t w_stride;
  const void* x;  // [m, k] of T, rows on 16 bytes
  int64_t x_stride;
  W8A16Output out;
  int k, boxes, tiles;
  int slots, ahead, release;
  bool early;
};

// Behind it: the rings, then the activations.
struct FewShared {
  alignas(16) float sums[2][kFewWarps][kOutputs];  // of the tile, by turns
  alignas(16) float parts[kOutputs];     // [source rank][output] of this block's share of the outputs
  uint64_t full[kFewWarps][kMostSlots];  // mbarriers
  uint64_t arrived, read;                // of parts
};
static_assert(sizeof(FewShared) <= kFewHeadBytes);

// Places in the warp's sequence of boxes: its share of each tile, tile after tile.
struct Cursor {
  int tile, box;

  __device__ __forceinline__ void next(const Part& boxes, int warp, int tile_step) {
    box += kFewWarps;
    if (box >= boxes.end) box = boxes.begin + warp, tile += tile_step;
  }
};

// 64 codes of a lane: steps 0 and 1 of k, rows g and g + 8 each.
using LaneCodes = uint4[4];

// A warp's ring of boxes by TMA: lane 0 asks, everyone waits.
struct TmaRing {
  int8_t* boxes;   // [slots][kBoxBytes], in the 128-byte swizzle
  uint64_t* full;  // [slots]
  int slots, slot = 0;
  uint32_t phase = 0;

  __device__ __forceinline__ TmaRing(FewShared& shared, int8_t* memory, const FewCall& call, int warp,
                                     int lane)
      : boxes(memory + warp * call.slots * kBoxBytes), full(shared.full[warp]), slots(call.slots) {
    if (lane == 0) {
#pragma unroll 1
      for (int i = 0; i < slots; ++i) ptx::mbarrier_init(&full[i], 1);
    }
  }
  static __device__ __forceinline__ void prefetch(const FewCall& call, const Cursor& at, int lane) {
    if (lane == 0) ptx::prefetch_box(&call.map, at.box * kBoxDepth, at.tile * kFewFeatures);
  }
  __device__ __forceinline__ void ask(const FewCall& call, int to, const Cursor& at, int lane) {
    if (lane != 0) return;
    ptx::mbarrier_arrive_expect(&full[to], kBoxBytes);
    ptx::load_box(boxes + to * kBoxBytes, &call.map, at.box * kBoxDepth, at.tile * kFewFeatures, &full[to]);
  }
  static __device__ __forceinline__ void asked() {}
  __device__ __forceinline__ void wait() { ptx::mbarrier_wait(&full[slot], phase); }
  __device__ __forceinline__ void read(LaneCodes& codes, int lane) const {
    const int row = feature_of_row(lane / 4), part = lane % 4;
    const int8_t* box = boxes + slot * kBoxBytes;
#pragma unroll
    for (int i = 0; i < 4; ++i)
      codes[i] = *reinterpret_cast<const uint4*>(box + (row + i % 2 * 8) * kBoxDepth +
                                                 ((part + i / 2 * 4) ^ (row % 8)) * 16);
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
  int8_t* boxes;  // [slots][part][lane][16]
  int slots, slot = 0;

  __device__ __forceinline__ LaneRing(FewShared&, int8_t* memory, const FewCall& call, int warp, int)
      : boxes(memory + warp * call.slots * kBoxBytes), slots(call.slots) {}
  static __device__ __forceinline__ void prefetch(const FewCall&, const Cursor&, int) {}
  __device__ __forceinline__ void ask(const FewCall& call, int to, const Cursor& at, int lane) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int n = at.tile * kFewFeatures + feature_of_row(lane / 4) + i % 2 * 8;
      const int k = at.box * kBoxDepth + i / 2 * 64 + lane % 4 * 16;
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
  __device__ __forceinline__ void wait() { ptx::copy_async_wait<kAsyncSlots - 2>(); }
  __device__ __forceinline__ void read(LaneCodes& codes, int lane) const {
#pragma unroll
    for (int i = 0; i < 4; ++i)
      codes[i] = *reinterpret_cast<const uint4*>(boxes + slot * kBoxBytes + i * 512 + lane * 16);
  }
  __device__ __forceinline__ void next() {
    if (++slot == slots) slot = 0;
  }
};

// This block's part of k of all tokens to shared memory, zeros up to the end of its last box.
template <class T>
__device__ __forceinline__ void load_x(const FewCall& call, const Part& boxes, int8_t* x_shared, int pitch) {
  const int octets = (boxes.end - boxes.begin) * kBoxDepth / 8;
  for (int i = static_cast<int>(threadIdx.x); i < call.out.m * octets; i += kThreads) {
    const int token = i / octets, octet = i % octets, k = boxes.begin * kBoxDepth + octet * 8;
    const int bytes = 2 * min(8, max(0, call.k - k));
    const T* row = static_cast<const T*>(call.x) + token * call.x_stride;
    ptx::copy_async(x_shared + token * pitch + octet * 16, bytes ? row + k : row, bytes);
  }
  ptx::copy_async_commit();
}

// sums += a box of weights times x: `x` is the lane's token at k = 16 c of the box.
template <class T>
__device__ __forceinline__ void multiply(float (&sums)[2][4], const LaneCodes& codes, const int8_t* x) {
#pragma unroll
  for (int step = 0; step < 2; ++step) {
    const auto* words_of_x = reinterpret_cast<const uint4*>(x + step * 128);
    const uint4 first = words_of_x[0], second = words_of_x[1];
    const uint32_t b[8] = {first.x, first.y, first.z, first.w, second.x, second.y, second.z, second.w};
    const uint4 upper = codes[2 * step], lower = codes[2 * step + 1];
    const uint32_t upper_words[4] = {upper.x, upper.y, upper.z, upper.w},
                   lower_words[4] = {lower.x, lower.y, lower.z, lower.w};
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const CodePairs u = code_pairs(upper_words[j], T{}), l = code_pairs(lower_words[j], T{});
      ptx::mma_f16(sums[j % 2], {u.low, l.low, u.high, l.high}, b[2 * j], b[2 * j + 1], T{});
    }
  }
}

// Sums of the block to the blocks of the cluster that own them, and theirs to us: output o belongs to rank o / share.
// Returns the sum of this thread's output, o = rank * share + thread.
__device__ __forceinline__ float meet(FewShared& shared, float sum, int split, int rank, uint32_t phase,
                                      bool has_next) {
  const int thread = static_cast<int>(threadIdx.x), share = kOutputs / split;
  ptx::mbarrier_wait(&shared.read, phase ^ 1);
  if (thread == 0) ptx::mbarrier_arrive_expect(&shared.arrived, sizeof shared.parts);
  ptx::store_to_peer(reinterpret_cast<uint32_t*>(&shared.parts[rank * share + thread % share]),
                     &shared.arrived, static_cast<uint32_t>(thread / share), __float_as_uint(sum));
  if (thread >= round_up(share, 32)) return 0;
  ptx::mbarrier_wait(&shared.arrived, phase);
  float total = 0;
  if (thread < share)
    for (int source = 0; source < split; ++source) total += shared.parts[source * share + thread];
  __syncwarp();
  if (has_next && thread % 32 < split)
    ptx::mbarrier_arrive_at(&shared.read, static_cast<uint32_t>(thread % 32));
  return total;
}

template <class T, class Ring>
__global__ void __launch_bounds__(kThreads, 2) gemm_w8a16_few_tokens(const __grid_constant__ FewCall call) {
  extern __shared__ __align__(1024) int8_t memory[];
  auto& shared = *reinterpret_cast<FewShared*>(memory);
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32;
  const int warp = __shfl_sync(~0u, thread / 32, 0);
  const int split = static_cast<int>(ptx::cluster_size()), rank = static_cast<int>(ptx::cluster_rank());
  const int clusters = static_cast<int>(ptx::cluster_count());
  const Part boxes = part_of(call.boxes, split, rank);
  const int pitch = few_x_pitch((call.boxes + split - 1) / split);
  int8_t* x_shared = memory + kFewHeadBytes + kFewWarps * call.slots * kBoxBytes;

  Ring ring(shared, memory + kFewHeadBytes, call, warp, lane);
  if (split > 1) {
    if (thread == 0) {
      ptx::mbarrier_init(&shared.arrived, 1);
      ptx::mbarrier_init(&shared.read, static_cast<uint32_t>(split * max(1, kOutputs / split / 32)));
    }
  }
  ptx::mbarrier_init_fence();
  __syncwarp();
  if (split > 1)
    ptx::cluster_arrive(), ptx::cluster_wait();  // nobody writes to a block whose barriers are not there yet

  const Cursor first{static_cast<int>(ptx::cluster_index()), boxes.begin + warp};
  Cursor ahead = first;
  if (first.box < boxes.end)
#pragma unroll 1
    for (int i = 0; i < call.ahead && ahead.tile < call.tiles; ++i, ahead.next(boxes, warp, clusters))
      Ring::prefetch(call, ahead, lane);
  ahead = first;
  if (first.box >= boxes.end) ahead.tile = call.tiles;
  const auto fill = [&] {
#pragma unroll 1
    for (int i = 0; i < call.slots - 1; ++i) {
      if (ahead.tile < call.tiles) ring.ask(call, i, ahead, lane), ahead.next(boxes, warp, clusters);
      Ring::asked();
    }
  };
  if (call.early) fill();
  ptx::grid_dependency_wait();
  load_x<T>(call, boxes, x_shared, pitch);
  if (!call.early) fill();
  ptx::copy_async_wait<std::is_same_v<Ring, TmaRing> ? 0 : kAsyncSlots - 1>();
  __syncthreads();

  const int token_of_lane = min(lane / 4, call.out.m - 1);
  const int8_t* x_of_lane = x_shared + token_of_lane * pitch + lane % 4 * 32;
  const int output = rank * (kOutputs / split) + thread, token = output / kFewFeatures;
  const int feature_of_tile = output % kFewFeatures;
  // Of output `thread` of the block's sums: where mma.sync left it.
  const int place =
      (row_of_feature(thread % 8) * 4 + thread / 16 / 2) * 4 + thread % 16 / 8 * 2 + thread / 16 % 2;
  uint32_t phase = 0;
  int left = call.tiles <= first.tile ? 0 : (call.tiles - first.tile + clusters - 1) / clusters;
  for (int tile = first.tile; tile < call.tiles; tile += clusters, phase ^= 1, --left) {
    if (left <= call.release) ptx::grid_dependency_release();
    const int n = tile * kFewFeatures + feature_of_tile;
    Feature feature;
    if (thread < kOutputs / split) feature.load(call.out, n);  // before the product, which hides the latency

    float sums[2][4] = {};
    for (int box = first.box; box < boxes.end; box += kFewWarps) {
      LaneCodes codes;
      ring.wait();
      const int free = ring.slot == 0 ? ring.slots - 1 : ring.slot - 1;
      ring.read(codes, lane);
      if (ahead.tile < call.tiles) ring.ask(call, free, ahead, lane), ahead.next(boxes, warp, clusters);
      Ring::asked();
      ring.next();
      multiply<T>(sums, codes, x_of_lane + (box - boxes.begin) * (kBoxDepth * 2));
    }
    float(*const of_warps)[kOutputs] = shared.sums[phase];
    reinterpret_cast<float4*>(of_warps[warp])[lane] = make_float4(
        sums[0][0] + sums[1][0], sums[0][1] + sums[1][1], sums[0][2] + sums[1][2], sums[0][3] + sums[1][3]);
    __syncthreads();
    if (thread >= kOutputs) continue;
    float sum = 0;
#pragma unroll
    for (int i = 0; i < kFewWarps; ++i) sum += of_warps[i][place];
    if (split > 1) sum = meet(shared, sum, split, rank, phase, tile + clusters < call.tiles);
    if (thread < kOutputs / split && token < call.out.m && n < call.out.n)
      store_one(call.out, token, n, feature.of(sum));
  }
  // NOTE: blocks that split k need no last meeting: each waited for all that is sent to it, and nobody sends after the
  // last tile.
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
               .tiles = ceil_div(a.w.dim(0), kFewFeatures),
               .slots = plan.slots,
               .ahead = plan.ahead,
               .release = plan.release,
               .early = plan.early};
  if constexpr (std::is_same_v<Ring, TmaRing>) call.map = cuda::tensor_map_of(matrix_of(a.w), kFewFeatures);
  cuda::LaunchShape shape{.kernel = "gemm_w8a16_few_tokens",
                          .grid = {},
                          .block = dim3(kThreads),
                          .shared_bytes = few_shared_bytes(plan, a.x.dim(0), a.x.dim(1)),
                          .shared_percent = 100,
                          .cluster = plan.split,
                          .overlap = true};
  const int cores = cuda::device_facts(cuda::current_device()).cores;
  int clusters = std::max(1, cores * plan.per_core / plan.split);
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
    case FewSource::tma: return run<T, TmaRing>(ctx, a, plan);
    case FewSource::async: return run<T, LaneRing<true>>(ctx, a, plan);
    case FewSource::bytes: return run<T, LaneRing<false>>(ctx, a, plan);
  }
}

FewSource source_for(const GemmW8A16Args& a, const DeviceFacts& facts) {
  if (!rows_on_16_bytes(a.w)) return FewSource::bytes;
  const auto* kernel = reinterpret_cast<const void*>(gemm_w8a16_few_tokens<F16, TmaRing>);
  return facts.compute_capability == 90 && cuda::kernel_facts(kernel, 0).ptx_version >= 90 ? FewSource::tma
                                                                                           : FewSource::async;
}

FewPlan plan_for(const GemmW8A16Args& a, const DeviceFacts& facts) {
  return plan_few(a.x.dim(0), a.w.dim(0), a.x.dim(1), facts.cores, source_for(a, facts));
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
