// attention_int8 on Hopper. A block is one producer warpgroup (warp 0: copies by TMA, the others: scales) and kGroups consumers of
// 64 query rows each; K and V tiles pass through rings of kStages. Persistent; the copies of the next tile of rows start early.
// A consumer and key tile, in halves of 128 keys:  S = Q K^T (s32, landed already)  ->  y, top of the rows  ->  for each half:
// P = 255 * 2^(x - top) in u8, packed in the registers that the second product reads; P V and then the next tile's Q K^T into
// the same S are on their way while the other half is worked on  ->  o takes the tile's s32 sums.
// Threads hold S as ptx/wgmma_s8.cuh says: rows g and g + 8, columns 8 j + 2 c and the next, lane = 4 g + c.
// Bound by exponentials (16 a clock and multiprocessor) at D = 64, by them and the tensor cores at D = 128.
#include <algorithm>

#include "cuda/device.h"
#include "cuda/launch.h"
#include "cuda/ptx/convert.cuh"
#include "cuda/ptx/grid_dependency.cuh"
#include "cuda/ptx/tensor_copy.cuh"
#include "cuda/ptx/warpgroup.cuh"
#include "cuda/ptx/wgmma_u8.cuh"
#include "cuda/tensor_map.h"
#include "cuda/vec.cuh"
#include "ops/attention_int8/attention_int8_cuda.h"

namespace octavo {
namespace {

namespace ptx = cuda::ptx;

constexpr int kWarpgroup = 128, kHalf = 128;  // threads; keys of half a tile (or of a whole one)
constexpr int kPageKeys = static_cast<int>(kInt8PageKeys);
constexpr float kLog2OfE = 1.44269504088896341f;
constexpr int64_t kSectionBytes = 24 << 20;
constexpr float kLog2Of255 = 7.99435343685885793f, kLn2 = 0.693147180559945309f, kLnOf255 = 5.54126354515842957f;
constexpr float kInfinity = __builtin_huge_valf();

// kDim: bytes of a row of q and k in shared memory. kParts: P V is done in that many parts of the channels, one after the other.
// kAhead: the next tile's Q K^T is on its way while the sums of this one's P V are taken up; costs 64 registers a half.
template <int kDim_, int kTile_, int kGroups_, int kStages_, int kParts_, bool kAhead_, bool kFastMax_ = false>
struct Config {
  static constexpr int kDim = kDim_, kTile = kTile_, kGroups = kGroups_, kStages = kStages_, kParts = kParts_;
  static constexpr bool kAhead = kAhead_, kFastMax = kFastMax_;
  static constexpr int kRows = 64 * kGroups, kHalves = kTile / kHalf, kThreads = (1 + kGroups) * kWarpgroup;
  static constexpr int kPartDim = kDim / kParts;
  static constexpr int kProducerRegisters = kGroups == 2 ? 24 : 32, kConsumerRegisters = kGroups == 2 ? 240 : 160;
  static constexpr int kKeysOfBox = kTile < 256 ? kTile : 256;  // of a copy
  static_assert(kTile % kHalf == 0 && kTile % kKeysOfBox == 0);
};

template <class C>
struct Shared {
  alignas(1024) int8_t q[C::kGroups][64 * C::kDim];
  alignas(1024) int8_t k[C::kStages][C::kTile * C::kDim];
  alignas(1024) int8_t v[C::kStages][C::kTile * C::kDim];
  alignas(16) float k_scale[C::kStages][C::kTile];  // both as place_of_scale() has it
  alignas(16) float v_scale[C::kStages][C::kDim];
  uint64_t q_full[C::kGroups], q_empty[C::kGroups];
  uint64_t k_full[C::kStages], k_empty[C::kStages], v_full[C::kStages], v_empty[C::kStages], scales_full[C::kStages];

  __device__ __forceinline__ void init() {
    constexpr int kWarps = 4;  // of a consumer
    for (int g = 0; g < C::kGroups; ++g) ptx::mbarrier_init(&q_full[g], 1), ptx::mbarrier_init(&q_empty[g], kWarps);
    for (int i = 0; i < C::kStages; ++i) {
      ptx::mbarrier_init(&k_full[i], 1), ptx::mbarrier_init(&v_full[i], 1), ptx::mbarrier_init(&scales_full[i], 3);
      ptx::mbarrier_init(&k_empty[i], C::kGroups * kWarps), ptx::mbarrier_init(&v_empty[i], C::kGroups * kWarps);
    }
  }
};

// What a thread needs of columns 8 j + 2 c, 8 j + 2 c + 1, and of those 8 further, in one word of 16 bytes.
__device__ __forceinline__ int place_of_scale(int column) {
  const int j = column / 8, c = column % 8 / 2;
  return (j / 2 * 4 + c) * 4 + j % 2 * 2 + column % 2;
}

struct Call {
  CUtensorMap q, k, v;
  const float *q_scale, *k_scale, *v_scale;
  int64_t v_scale_batch, v_scale_head, v_scale_tile, v_scale_channel;  // strides
  void* out;
  int64_t out_batch, out_head, out_row;  // strides
  DType out_dtype;
  bool paired;  // every two channels of out lie on twice an element's size
  int dim;      // channels of out and of the codes; the tiles in shared memory may be wider
  float* lse;  // null: not asked for
  int batch_heads, heads, kv_heads, group, sq, sk, pages;
  bool causal;
  float scale;            // of scores, times log2(e)
  int row_blocks, total;  // of a head, of all heads
  int section;            // causal: heads whose longest rows go first together
};

// A block of rows of a head, and how many key tiles its rows need.
struct Work {
  int head, row, tiles;
};

__device__ __forceinline__ int last_key(const Call& call, int row) {
  return call.causal ? min(row + call.sk - call.sq, call.sk - 1) : call.sk - 1;
}
__device__ __forceinline__ int tiles_of(const Call& call, int tile_keys, int row, int rows) {
  if (row >= call.sq) return 0;
  const int last = last_key(call, min(row + rows, call.sq) - 1);
  return last < 0 ? 0 : last / tile_keys + 1;
}

// Blocks take work in rounds, every second round in reverse order, so that long and short rows of causal calls even out.
template <class C>
__device__ __forceinline__ bool find_work(const Call& call, int round, Work& work) {
  const int blocks = static_cast<int>(gridDim.x), block = static_cast<int>(blockIdx.x);
  const int index = round * blocks + (round % 2 ? blocks - 1 - block : block);
  if (round * blocks >= call.total) return false;
  if (index >= call.total) {
    work = {0, 0, -1};
    return true;
  }
  if (call.causal) {
    const int first = index / (call.section * call.row_blocks) * call.section;
    const int heads = min(call.section, call.batch_heads - first), rest = index - first * call.row_blocks;
    work = {first + rest % heads, (call.row_blocks - 1 - rest / heads) * C::kRows, 0};
  } else {
    work = {index / call.row_blocks, index % call.row_blocks * C::kRows, 0};
  }
  work.tiles = tiles_of(call, C::kTile, work.row, C::kRows);
  return true;
}

template <int kStages>
struct Slot {
  int stage = 0;
  uint32_t phase = 0;
  __device__ __forceinline__ void next() {
    if (++stage == kStages) stage = 0, phase ^= 1;
  }
};

// ---- producer

// One thread: q, k and v of all work of this block.
template <class C>
__device__ __forceinline__ void load_codes(Shared<C>& shared, const Call& call) {
  Slot<C::kStages> k_slot, v_slot;
  uint32_t q_phase = 1;
  Work work;
  const auto load_k = [&](int head, int t) {
    uint64_t* full = &shared.k_full[k_slot.stage];
    ptx::mbarrier_wait(&shared.k_empty[k_slot.stage], k_slot.phase ^ 1);
    ptx::mbarrier_arrive_expect(full, C::kTile * C::kDim);
    for (int i = 0; i < C::kTile; i += C::kKeysOfBox)
      ptx::load_box(shared.k[k_slot.stage] + i * C::kDim, &call.k, 0, head * call.sk + t * C::kTile + i, full);
    k_slot.next();
  };
  for (int round = 0; find_work<C>(call, round, work); ++round) {
    if (work.tiles <= 0) continue;
    const int head = work.head / call.group;
    for (int g = 0; g < C::kGroups; ++g) {
      ptx::mbarrier_wait(&shared.q_empty[g], q_phase);
      ptx::mbarrier_arrive_expect(&shared.q_full[g], 64 * C::kDim);
      ptx::load_box(shared.q[g], &call.q, 0, work.head * call.sq + work.row + 64 * g, &shared.q_full[g]);
    }
    q_phase ^= 1;
    load_k(head, 0);
#pragma unroll 1
    for (int t = 0; t < work.tiles; ++t) {
      if (t + 1 < work.tiles) load_k(head, t + 1);
      uint64_t* full = &shared.v_full[v_slot.stage];
      ptx::mbarrier_wait(&shared.v_empty[v_slot.stage], v_slot.phase ^ 1);
      ptx::mbarrier_arrive_expect(full, C::kTile * C::kDim);
      const int page = head * call.pages + t * (C::kTile / kPageKeys);
      for (int i = 0; i < C::kTile / kPageKeys; ++i)
        ptx::load_box(shared.v[v_slot.stage] + i * kPageKeys * C::kDim, &call.v, 0, (page + i) * call.dim, full);
      v_slot.next();
    }
  }
}

// The scales of a tile that a thread of warps 1 to 3 brings; a scale beyond the last key is 0.
template <class C>
struct ScalesOfThread {
  static constexpr int kThreads = 96, kOfK = (C::kTile + kThreads - 1) / kThreads, kOfV = (C::kDim + kThreads - 1) / kThreads;
  float k[kOfK], v[kOfV];

  __device__ __forceinline__ void load(const Call& call, const float* k_scale, const float* v_scale, int tile, int thread) {
#pragma unroll
    for (int i = 0; i < kOfK; ++i) {
      const int in_tile = thread + i * kThreads, key = tile * C::kTile + in_tile;
      k[i] = in_tile < C::kTile && key < call.sk ? k_scale[key] : 0.0f;
    }
#pragma unroll
    for (int i = 0; i < kOfV; ++i) {
      const int d = thread + i * kThreads;
      v[i] = d < call.dim ? v_scale[tile * call.v_scale_tile + d * call.v_scale_channel] : 0.0f;
    }
  }
  __device__ __forceinline__ void store(float* k_scale, float* v_scale, int thread) const {
#pragma unroll
    for (int i = 0; i < kOfK; ++i)
      if (thread + i * kThreads < C::kTile) k_scale[place_of_scale(thread + i * kThreads)] = k[i];
#pragma unroll
    for (int i = 0; i < kOfV; ++i)
      if (thread + i * kThreads < C::kDim) v_scale[place_of_scale(thread + i * kThreads)] = v[i];
  }
};

// NOTE: the loads of the next tile are on their way while this one waits for its place; one tile after the other they would
// take 3,700 clocks each and bound the kernel.
template <class C>
__device__ __forceinline__ void load_scales(Shared<C>& shared, const Call& call, int thread) {
  Slot<C::kStages> slot;
  Work work;
  ScalesOfThread<C> scales;
  for (int round = 0; find_work<C>(call, round, work); ++round) {
    if (work.tiles <= 0) continue;
    const int head = work.head / call.group;
    const float* v_scale =
        call.v_scale + head / call.kv_heads * call.v_scale_batch + head % call.kv_heads * call.v_scale_head;
    const float* k_scale = call.k_scale + static_cast<int64_t>(head) * call.sk;
    scales.load(call, k_scale, v_scale, 0, thread);
#pragma unroll 1
    for (int t = 0; t < work.tiles; ++t, slot.next()) {
      ptx::mbarrier_wait(&shared.v_empty[slot.stage], slot.phase ^ 1);
      scales.store(shared.k_scale[slot.stage], shared.v_scale[slot.stage], thread);
      __syncwarp();
      if (thread % 32 == 0) ptx::mbarrier_arrive(&shared.scales_full[slot.stage]);
      if (t + 1 < work.tiles) scales.load(call, k_scale, v_scale, t + 1, thread);
    }
  }
}

// ---- consumer

template <int kDim>
__device__ __forceinline__ uint64_t rows_descriptor(const int8_t* tile) {
  return kDim == 64 ? ptx::narrow_tile_descriptor(ptx::shared_address(tile))
                    : ptx::tile_descriptor(ptx::shared_address(tile));
}

// s = 64 rows of q times 128 keys; a batch of its own.
template <class C>
__device__ __forceinline__ void multiply_qk(int32_t (&s)[64], const int8_t* q, const int8_t* k) {
  const uint64_t left = rows_descriptor<C::kDim>(q), right = rows_descriptor<C::kDim>(k);
  ptx::wgmma_begin();
#pragma unroll
  for (int d = 0; d < C::kDim; d += 32) ptx::wgmma_s8(s, ptx::advance(left, d), ptx::advance(right, d), d);
  ptx::wgmma_commit();
}

// sums (+)= P of 128 keys times one part of V's channels; `add` to what earlier keys of the tile gave.
template <class C>
__device__ __forceinline__ void multiply_pv(int32_t (&sums)[C::kPartDim / 2], const uint32_t (&p)[4][4], const int8_t* v,
                                            bool add) {
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    const int8_t* step = v + k / 2 * C::kDim * 64 + k % 2 * 32;
    ptx::wgmma_u8s8(sums, p[k], ptx::narrow_tile_descriptor(ptx::shared_address(step)), add || k > 0);
  }
}

// The rows g and g + 8 of a thread.
struct Rows {
  float scale[2];  // of y: q_scale * scale * log2(e)
  int last[2];     // last key that the row sees
  float top[2], sum[2];  // sum: of this thread's columns
};

// y = float(s) * k_scale in place; top follows the largest of each row of the thread, as bits: floats above 0 order as integers
// do, and NaN lies above them. Below 0 the order is reversed: then largest_of has to look again.
__device__ __forceinline__ void scale_scores(int32_t (&s)[64], const float* k_scale, int c, int (&top)[2]) {
  const auto* scales = reinterpret_cast<const float4*>(k_scale) + c;
#pragma unroll
  for (int j = 0; j < 16; j += 2) {
    const float4 of = scales[j / 2 * 4];
    const float factor[4] = {of.x, of.y, of.z, of.w};
#pragma unroll
    for (int i = 0; i < 8; ++i) s[4 * j + i] = __float_as_int(__int2float_rn(s[4 * j + i]) * factor[i / 4 * 2 + i % 2]);
#pragma unroll
    for (int i = 0; i < 8; i += 2)
      top[i / 2 % 2] = __vimax3_s32(top[i / 2 % 2], s[4 * j + i], s[4 * j + i + 1]);
  }
}
__device__ __forceinline__ void scale_scores(int32_t (&s)[64], const float* k_scale, int c, float (&top)[2]) {
  const auto* scales = reinterpret_cast<const float4*>(k_scale) + c;
#pragma unroll
  for (int j = 0; j < 16; j += 2) {
    const float4 of = scales[j / 2 * 4];
    const float factor[4] = {of.x, of.y, of.z, of.w};
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const float y = __int2float_rn(s[4 * j + i]) * factor[i / 4 * 2 + i % 2];
      top[i / 2 % 2] = ptx::larger(top[i / 2 % 2], y);
      s[4 * j + i] = __float_as_int(y);
    }
  }
}
__device__ __forceinline__ void largest_of(const int32_t (&s)[64], float (&top)[2]) {
#pragma unroll
  for (int i = 0; i < 64; ++i) top[i / 2 % 2] = ptx::larger(top[i / 2 % 2], __int_as_float(s[i]));
}

// Scores that a row does not see become -inf.
__device__ __forceinline__ void mask_scores(int32_t (&s)[64], int first_key, const int (&last)[2]) {
#pragma unroll
  for (int i = 0; i < 64; ++i)
    if (first_key + i / 4 * 8 + i % 2 > last[i / 2 % 2]) s[i] = __float_as_int(-kInfinity);
}

// p = round(2^(y * scale + shift)) in u8 as the second product's left operand; sum += their sum.
__device__ __forceinline__ void make_p(const int32_t (&s)[64], uint32_t (&p)[4][4], const float (&scale)[2],
                                       const float (&shift)[2], uint32_t (&sum)[2]) {
#pragma unroll
  for (int k = 0; k < 4; ++k)
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int row = i % 2, first = 16 * k + i / 2 * 8 + 2 * row;
      const auto e = [&](int at) {
        return ptx::exp2_fast(fmaf(__int_as_float(s[at]), scale[row], shift[row]));
      };
      p[k][i] = ptx::pack_unsigned_codes(e(first), e(first + 1), e(first + 4), e(first + 5));
      sum[row] = __dp4a(p[k][i], 0x01010101u, sum[row]);
    }
}

__device__ __forceinline__ float largest_of_quad(float v) {
  v = ptx::larger(v, __shfl_xor_sync(~0u, v, 1));
  return ptx::larger(v, __shfl_xor_sync(~0u, v, 2));
}

__device__ __forceinline__ int largest_of_quad(int v) {
  v = max(v, __shfl_xor_sync(~0u, v, 1));
  return max(v, __shfl_xor_sync(~0u, v, 2));
}
__device__ __forceinline__ float sum_of_quad(float v) {
  v += __shfl_xor_sync(~0u, v, 1);
  return v + __shfl_xor_sync(~0u, v, 2);
}

// One key tile. s holds its s32 scores and, if kNext, those of the next tile afterwards.
template <class C, bool kNext>
__device__ __forceinline__ void attend_tile(Shared<C>& shared, int tile, int32_t (&s)[C::kHalves][64],
                                            float (&o)[C::kParts][C::kPartDim / 2], Rows& rows, const int8_t* q,
                                            Slot<C::kStages>& k_slot, Slot<C::kStages>& v_slot, bool masked) {
  const int lane = static_cast<int>(threadIdx.x) % 32, c = lane % 4;
  const int stage = v_slot.stage, k_stage = k_slot.stage;
  const int8_t *v = shared.v[stage], *k = shared.k[k_stage];

  float top[2] = {-kInfinity, -kInfinity};
  ptx::mbarrier_wait(&shared.scales_full[stage], v_slot.phase);
  bool look_again = masked;
  if constexpr (C::kFastMax) {
    int bits[2] = {INT32_MIN, INT32_MIN};
#pragma unroll
    for (int h = 0; h < C::kHalves; ++h) scale_scores(s[h], shared.k_scale[stage] + h * kHalf, c, bits);
#pragma unroll
    for (int r = 0; r < 2; ++r) bits[r] = largest_of_quad(bits[r]), top[r] = __int_as_float(bits[r]);
    look_again = masked || __any_sync(~0u, min(bits[0], bits[1]) < 0);
  } else {
#pragma unroll
    for (int h = 0; h < C::kHalves; ++h) scale_scores(s[h], shared.k_scale[stage] + h * kHalf, c, top);
  }
  if (masked) {
#pragma unroll
    for (int h = 0; h < C::kHalves; ++h) mask_scores(s[h], tile * C::kTile + h * kHalf + 2 * c, rows.last);
  }
  if (look_again) {
    top[0] = top[1] = -kInfinity;
#pragma unroll
    for (int h = 0; h < C::kHalves; ++h) largest_of(s[h], top);
  }
  float shift[2], keep_old[2], take_new[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const float tile_top = largest_of_quad(top[r]) * rows.scale[r], all_top = ptx::larger(rows.top[r], tile_top);
    // NOTE: a row that has seen nothing yet: 0 stands for -inf in differences, so that they are not NaN.
    const float base = all_top == -kInfinity ? 0.0f : all_top;
    shift[r] = kLog2Of255 - (tile_top == -kInfinity ? 0.0f : tile_top);
    keep_old[r] = ptx::exp2_fast(rows.top[r] - base), take_new[r] = ptx::exp2_fast(tile_top - base);
    rows.top[r] = all_top;
  }

  uint32_t p[C::kHalves][4][4], sum[2] = {0, 0};
  int32_t sums[C::kPartDim / 2];
#pragma unroll
  for (int h = 0; h < C::kHalves; ++h) {
    make_p(s[h], p[h], rows.scale, shift, sum);
    if (h == 0) ptx::mbarrier_wait(&shared.v_full[stage], v_slot.phase);
    ptx::wgmma_begin();
    multiply_pv<C>(sums, p[h], v + h * kHalf * C::kDim, h > 0);
    ptx::wgmma_commit();
    if (kNext && C::kAhead) {
      if (h == 0) ptx::mbarrier_wait(&shared.k_full[k_stage], k_slot.phase);
      multiply_qk<C>(s[h], q, k + h * kHalf * C::kDim);
    }
  }
#pragma unroll
  for (int r = 0; r < 2; ++r)
    rows.sum[r] = fmaf(__uint2float_rn(sum[r]), take_new[r], rows.sum[r] * keep_old[r]);
  if (__any_sync(~0u, keep_old[0] != 1.0f || keep_old[1] != 1.0f)) {
#pragma unroll
    for (int part = 0; part < C::kParts; ++part)
#pragma unroll
      for (int i = 0; i < C::kPartDim / 2; ++i) o[part][i] *= keep_old[i / 2 % 2];
  }
#pragma unroll
  for (int part = 0; part < C::kParts; ++part) {
    if (part > 0) {
      ptx::wgmma_begin();
#pragma unroll
      for (int h = 0; h < C::kHalves; ++h)
        multiply_pv<C>(sums, p[h], v + h * kHalf * C::kDim + part * C::kPartDim * 64, h > 0);
      ptx::wgmma_commit();
    }
    ptx::wgmma_wait<kNext && C::kAhead && C::kParts == 1 ? 1 : 0>();
    ptx::keep(sums);
    const auto* scales = reinterpret_cast<const float4*>(shared.v_scale[stage] + part * C::kPartDim) + c;
#pragma unroll
    for (int j = 0; j < C::kPartDim / 8; j += 2) {
      const float4 of = scales[j / 2 * 4];
      const float factor[4] = {of.x, of.y, of.z, of.w};
#pragma unroll
      for (int i = 0; i < 8; ++i)
        o[part][4 * j + i] = fmaf(__int2float_rn(sums[4 * j + i]),
                                  factor[i / 4 * 2 + i % 2] * take_new[i / 2 % 2], o[part][4 * j + i]);
    }
  }
#pragma unroll
  for (int h = 0; h < C::kHalves; ++h)
#pragma unroll
    for (int i = 0; i < 4; ++i) ptx::keep(p[h][i]);
  if (lane == 0) ptx::mbarrier_arrive(&shared.v_empty[stage]);
  v_slot.next();
  if (kNext) {
    if (!C::kAhead) {
      ptx::mbarrier_wait(&shared.k_full[k_stage], k_slot.phase);
#pragma unroll
      for (int h = 0; h < C::kHalves; ++h) multiply_qk<C>(s[h], q, k + h * kHalf * C::kDim);
    }
    ptx::wgmma_wait<0>();
#pragma unroll
    for (int h = 0; h < C::kHalves; ++h) ptx::keep(s[h]);
    if (lane == 0) ptx::mbarrier_arrive(&shared.k_empty[k_stage]);
    k_slot.next();
  }
}

template <class T>
__device__ __forceinline__ void store_pair(T* to, const float (&pair)[2], bool paired) {
  if constexpr (sizeof(T) == 2) {
    const uint32_t word = cuda::pack_pair(pair[0], pair[1], T{});
    if (paired)
      *reinterpret_cast<uint32_t*>(to) = word;
    else
      to[0].bits = static_cast<uint16_t>(word), to[1].bits = static_cast<uint16_t>(word >> 16);
  } else {
    if (paired)
      *reinterpret_cast<float2*>(to) = make_float2(pair[0], pair[1]);
    else
      to[0] = pair[0], to[1] = pair[1];
  }
}

// out = o / sum, two neighbouring channels at a time.
template <class C, class T>
__device__ __forceinline__ void store_rows(const Call& call, int head, int first_row, const Rows& rows,
                                           const float (&o)[C::kParts][C::kPartDim / 2]) {
  const int c = static_cast<int>(threadIdx.x) % 4, batch = head / call.heads;
  T* out = static_cast<T*>(call.out) + batch * call.out_batch + (head - batch * call.heads) * call.out_head;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int row = first_row + 8 * r;
    if (row >= call.sq) continue;
    const float inverse = rows.sum[r] == 0.0f ? 0.0f : __frcp_rn(rows.sum[r]);
    T* to = out + row * call.out_row + 2 * c;
#pragma unroll
    for (int part = 0; part < C::kParts; ++part)
#pragma unroll
      for (int j = 0; j < C::kPartDim / 8; ++j) {
        const int d = part * C::kPartDim + 8 * j;
        const float pair[2] = {o[part][4 * j + 2 * r] * inverse, o[part][4 * j + 2 * r + 1] * inverse};
        if (d < call.dim) store_pair(to + d, pair, call.paired);
      }
    if (call.lse && c == 0)
      call.lse[static_cast<int64_t>(head) * call.sq + row] = rows.top[r] * kLn2 + (logf(rows.sum[r]) - kLnOf255);
  }
}

// A consumer warpgroup: 64 rows of every block of rows of this block.
template <class C>
__device__ __forceinline__ void attend(Shared<C>& shared, const Call& call, int group) {
  const int thread = static_cast<int>(threadIdx.x) % kWarpgroup, lane = thread % 32, warp = thread / 32;
  Slot<C::kStages> k_slot, v_slot;
  uint32_t q_phase = 0;
  Work work;
  for (int round = 0; find_work<C>(call, round, work); ++round) {
    if (work.tiles < 0) break;
    const int first = work.row + 64 * group, row = first + warp * 16 + lane / 4;
    const int tiles = tiles_of(call, C::kTile, first, 64);
    const int unmasked = max(0, min(last_key(call, first) + 1, call.sk)) / C::kTile;
    Rows rows;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int at = min(row + 8 * r, call.sq - 1);
      rows.scale[r] = call.q_scale[static_cast<int64_t>(work.head) * call.sq + at] * call.scale;
      rows.last[r] = last_key(call, at);
      rows.top[r] = -kInfinity, rows.sum[r] = 0.0f;
    }
    float o[C::kParts][C::kPartDim / 2];
#pragma unroll
    for (int part = 0; part < C::kParts; ++part)
#pragma unroll
      for (int i = 0; i < C::kPartDim / 2; ++i) o[part][i] = 0.0f;

    if (tiles > 0) {
      int32_t s[C::kHalves][64];
      ptx::mbarrier_wait(&shared.q_full[group], q_phase);
      ptx::mbarrier_wait(&shared.k_full[k_slot.stage], k_slot.phase);
#pragma unroll
      for (int h = 0; h < C::kHalves; ++h)
        multiply_qk<C>(s[h], shared.q[group], shared.k[k_slot.stage] + h * kHalf * C::kDim);
      ptx::wgmma_wait<0>();
#pragma unroll
      for (int h = 0; h < C::kHalves; ++h) ptx::keep(s[h]);
      if (lane == 0) ptx::mbarrier_arrive(&shared.k_empty[k_slot.stage]);
      k_slot.next();
#pragma unroll 1
      for (int t = 0; t < tiles - 1; ++t)
        attend_tile<C, true>(shared, t, s, o, rows, shared.q[group], k_slot, v_slot, t >= unmasked);
      attend_tile<C, false>(shared, tiles - 1, s, o, rows, shared.q[group], k_slot, v_slot, tiles > unmasked);
    }
    if (work.tiles > 0) {
      if (tiles == 0) ptx::mbarrier_wait(&shared.q_full[group], q_phase);
      if (lane == 0) ptx::mbarrier_arrive(&shared.q_empty[group]);
      q_phase ^= 1;
    }
#pragma unroll 1
    for (int t = tiles; t < work.tiles; ++t) {  // tiles that only other consumers' rows see
      ptx::mbarrier_wait(&shared.k_full[k_slot.stage], k_slot.phase);
      ptx::mbarrier_wait(&shared.v_full[v_slot.stage], v_slot.phase);
      ptx::mbarrier_wait(&shared.scales_full[v_slot.stage], v_slot.phase);
      if (lane == 0) ptx::mbarrier_arrive(&shared.k_empty[k_slot.stage]);
      if (lane == 0) ptx::mbarrier_arrive(&shared.v_empty[v_slot.stage]);
      k_slot.next(), v_slot.next();
    }
#pragma unroll
    for (int r = 0; r < 2; ++r) rows.sum[r] = sum_of_quad(rows.sum[r]);
    switch (call.out_dtype) {
      case DType::f16: store_rows<C, F16>(call, work.head, row, rows, o); break;
      case DType::bf16: store_rows<C, BF16>(call, work.head, row, rows, o); break;
      default: store_rows<C, float>(call, work.head, row, rows, o);
    }
  }
}

template <class C>
__global__ void __launch_bounds__(C::kThreads, 1) attention_int8_rows(const __grid_constant__ Call call) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ __align__(1024) uint8_t memory[];
  auto& shared = *reinterpret_cast<Shared<C>*>(memory);
  const int group = __shfl_sync(~0u, static_cast<int>(threadIdx.x) / kWarpgroup, 0);
  if (threadIdx.x == 0) {
    ptx::prefetch_tensor_map(&call.q), ptx::prefetch_tensor_map(&call.k), ptx::prefetch_tensor_map(&call.v);
    shared.init();
    ptx::mbarrier_init_fence();
  }
  __syncthreads();
  ptx::grid_dependency_release();
  ptx::grid_dependency_wait();
  if (group == 0) {
    ptx::give_registers_back<C::kProducerRegisters>();
    const int warp = __shfl_sync(~0u, static_cast<int>(threadIdx.x) / 32, 0);
    if (warp == 0 && threadIdx.x == 0) load_codes(shared, call);
    if (warp > 0) load_scales(shared, call, static_cast<int>(threadIdx.x) - 32);
  } else {
    ptx::take_registers<C::kConsumerRegisters>();
    attend(shared, call, group - 1);
  }
#else
  __trap();
#endif
}

// ---- launch

int ceil_div(int64_t a, int64_t b) { return static_cast<int>((a + b - 1) / b); }

template <class C>
void run(const Context& ctx, const AttentionInt8Args& a) {
  static_assert(sizeof(Shared<C>) <= 227 * 1024);
  const int64_t batch = a.q.dim(0), heads = a.q.dim(1), sq = a.q.dim(2), dim = a.q.dim(3), kv_heads = a.k.dim(1),
                sk = a.k.dim(2), pages = a.v.dim(2);
  const auto rows_of = [](const ConstTensor& t, int64_t rows, int64_t width, int box) {
    const cuda::ByteMatrix m{t.data(), rows, width, width};
    return cuda::tensor_map_of(m, box, C::kDim);
  };
  const int row_blocks = ceil_div(sq, C::kRows);
  const auto aligned = [](const Tensor& t) {  // pairs of elements
    return reinterpret_cast<uintptr_t>(t.data()) % (2 * size_of(t.dtype())) == 0 && t.stride(0) % 2 == 0 &&
           t.stride(1) % 2 == 0 && t.stride(2) % 2 == 0;
  };
  const int64_t bytes_of_head = 2 * sk * dim;
  const Call call{.q = rows_of(a.q, batch * heads * sq, dim, 64),
                  .k = rows_of(a.k, batch * kv_heads * sk, dim, C::kKeysOfBox),
                  .v = cuda::tensor_map_of({a.v.data(), batch * kv_heads * pages * dim, 64, 64}, C::kDim,
                                           cuda::kNarrowBoxBytes),
                  .q_scale = a.q_scale.as<float>(),
                  .k_scale = a.k_scale.as<float>(),
                  .v_scale = a.v_scale.as<float>(),
                  .v_scale_batch = a.v_scale.stride(0),
                  .v_scale_head = a.v_scale.stride(1),
                  .v_scale_tile = a.v_scale.stride(2),
                  .v_scale_channel = a.v_scale.stride(3),
                  .out = a.out.data(),
                  .out_batch = a.out.stride(0),
                  .out_head = a.out.stride(1),
                  .out_row = a.out.stride(2),
                  .out_dtype = a.out.dtype(),
                  .paired = aligned(a.out),
                  .dim = static_cast<int>(dim),
                  .lse = a.lse ? a.lse.as<float>() : nullptr,
                  .batch_heads = static_cast<int>(batch * heads),
                  .heads = static_cast<int>(heads),
                  .kv_heads = static_cast<int>(kv_heads),
                  .group = static_cast<int>(heads / kv_heads),
                  .sq = static_cast<int>(sq),
                  .sk = static_cast<int>(sk),
                  .pages = static_cast<int>(pages),
                  .causal = a.causal,
                  .scale = a.scale * kLog2OfE,
                  .row_blocks = row_blocks,
                  .total = static_cast<int>(batch * heads) * row_blocks,
                  // Heads whose codes of K and V fill half of the second-level cache.
                  .section = static_cast<int>(std::max<int64_t>(1, kSectionBytes / std::max<int64_t>(1, bytes_of_head)))};
  const int cores = cuda::device_facts(cuda::current_device()).cores;
  cuda::launch(ctx,
               {.kernel = "attention_int8",
                .grid = dim3(static_cast<unsigned>(std::min(call.total, cores))),
                .block = dim3(C::kThreads),
                .shared_bytes = sizeof(Shared<C>),
                .overlap = true},
               attention_int8_rows<C>, call);
}

using Narrow = Config<64, 256, 2, 3, 1, true>;
using Wide = Config<128, 128, 2, 3, 1, true>;

}  // namespace

bool attention_int8_fits_sm90(const AttentionInt8Args& a, const DeviceFacts& facts) {
  const int64_t dim = a.q.dim(3), row_limit = INT32_MAX / 2;
  if (facts.compute_capability != 90 || dim > 128 || a.q.dim(0) * a.q.dim(1) * a.q.dim(2) >= row_limit ||
      a.k.dim(0) * a.k.dim(1) * a.v.dim(2) * dim >= row_limit)
    return false;
  // NOTE: a build without sm_90a code has kernels that trap; they need no registers.
  return cuda::kernel_facts(reinterpret_cast<const void*>(attention_int8_rows<Narrow>), 0).registers >= 64;
}

void attention_int8_sm90(const Context& ctx, const AttentionInt8Args& a) {
  if (a.q.dim(3) <= 64)
    run<Narrow>(ctx, a);
  else
    run<Wide>(ctx, a);
}

}  // namespace octavo
