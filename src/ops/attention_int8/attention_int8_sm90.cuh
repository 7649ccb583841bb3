// One key tile of attention_int8 on Hopper, as a consumer warpgroup of 64 rows does it:
//   S = Q K^T (s32)  ->  y, top of the rows  ->  for each 128 keys: P = 255 * 2^(x - top) in u8, packed in the registers that
//   the second product reads, whose P V is on its way while the next 128 are worked on  ->  o takes the tile's s32 sums
// Threads hold S as ptx/wgmma_s8.cuh says: rows g and g + 8, columns 8 j + 2 c and the next, lane = 4 g + c.
#pragma once
#include "cuda/ptx/convert.cuh"
#include "cuda/ptx/mbarrier.cuh"
#include "cuda/ptx/tensor_copy.cuh"
#include "cuda/ptx/warpgroup.cuh"
#include "cuda/ptx/wgmma_u8.cuh"
#include "ops/attention_int8/attention_int8.h"

namespace octavo {

namespace ptx = cuda::ptx;

constexpr int kWarpgroup = 128, kHalf = 128;  // threads; keys of half a tile (or of a whole one)
constexpr int kScaleThreads = 96;             // of the producer's, that bring scales
constexpr int kPageKeys = static_cast<int>(kInt8PageKeys);
constexpr float kLog2OfE = 1.44269504088896341f;
constexpr int64_t kSectionBytes = 24 << 20;
constexpr float kLog2Of255 = 7.99435343685885793f, kLn2 = 0.693147180559945309f;
constexpr float kInfinity = __builtin_huge_valf();
// kDim: bytes of a row of q and k in shared memory. kSharedOutput: o lies there too, where registers do not suffice.
// kByPolynomial: of sixteen exponentials, a bit for each that the special-function unit is spared.
template <int kDim_, int kGroups_, int kStages_, bool kSharedOutput_, uint32_t kByPolynomial_>
struct Config {
  static constexpr int kDim = kDim_, kTile = int{kInt8TileKeys}, kGroups = kGroups_, kStages = kStages_;
  static constexpr bool kSharedOutput = kSharedOutput_;
  static constexpr uint32_t kByPolynomial = kByPolynomial_;
  static constexpr int kRows = 64 * kGroups, kHalves = kTile / kHalf, kThreads = (1 + kGroups) * kWarpgroup;
  static constexpr int kOutputWords = kDim / 8;  // of four elements, of a thread's part of o
  static constexpr int kProducerRegisters = 40,
                       kConsumerRegisters = 232;                // of a thread; at the start each has 168
  static constexpr int kKeysOfBox = kTile < 256 ? kTile : 256;  // of a copy
  static_assert(kTile % kHalf == 0 && kTile % kKeysOfBox == 0);
};

template <class C>
struct Shared {
  alignas(1024) int8_t q[C::kGroups][64 * C::kDim];
  alignas(1024) int8_t k[C::kStages][C::kTile * C::kDim];
  alignas(1024) int8_t v[C::kStages][C::kTile * C::kDim];
  float4 o[C::kSharedOutput ? C::kGroups : 1][C::kOutputWords][C::kSharedOutput ? kWarpgroup : 1];
  alignas(16) float k_scale[C::kStages][C::kTile];  // both as place_of_scale() has it
  alignas(16) float v_scale[C::kStages][C::kDim];
  uint64_t q_full[C::kGroups], q_empty[C::kGroups];
  uint64_t k_full[C::kStages], k_empty[C::kStages], v_full[C::kStages], v_empty[C::kStages],
      scales_full[C::kStages];

  __device__ __forceinline__ void init() {
    constexpr int kWarps = 4;  // of a consumer
    for (int g = 0; g < C::kGroups; ++g)
      ptx::mbarrier_init(&q_full[g], 1), ptx::mbarrier_init(&q_empty[g], kWarps);
    for (int i = 0; i < C::kStages; ++i) {
      ptx::mbarrier_init(&k_full[i], 1), ptx::mbarrier_init(&v_full[i], 1),
          ptx::mbarrier_init(&scales_full[i], kScaleThreads);
      ptx::mbarrier_init(&k_empty[i], C::kGroups * kWarps),
          ptx::mbarrier_init(&v_empty[i], C::kGroups * kWarps);
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
  bool aligned;  // rows of out start on 16 bytes
  int dim;       // channels of out and of the codes; the tiles in shared memory may be wider
  float* lse;    // null: not asked for
  int batch_heads, heads, kv_heads, group, sq, sk, pages;
  bool causal;
  float scale;            // of scores, times log2(e)
  int row_blocks, total;  // of a head, of all heads
  int section;            // causal: heads whose longest rows go first together
  uint32_t zero;          // 0, which the compiler does not know: make_p
};

template <int kStages>
struct Slot {
  int stage = 0;
  uint32_t phase = 0;
  __device__ __forceinline__ void next() {
    if (++stage == kStages) stage = 0, phase ^= 1;
  }
};

// Where tiles begin, in the units of descriptors (16 bytes): a part of a tile is then one addition away.
struct Places {
  uint32_t q, k, v;
};
__device__ __forceinline__ uint32_t place_of(const void* tile) {
  return (ptx::shared_address(tile) & 0x3ffff) >> 4;
}
// The descriptor of the tile at `place`, given that of a tile at 0. Only its low word changes.
__device__ __forceinline__ uint64_t moved_to(uint32_t place, uint64_t at_zero) {
  constexpr uint64_t kLow = 0xffffffff;
  return (at_zero & ~kLow) | (static_cast<uint32_t>(at_zero) + place);
}
template <int kDim>
__device__ __forceinline__ uint64_t rows_descriptor(uint32_t place) {
  return moved_to(place, kDim == 64 ? ptx::narrow_tile_descriptor(0) : ptx::tile_descriptor(0));
}

// s = 64 rows of q times 128 keys; a batch of its own.
template <class C>
__device__ __forceinline__ void multiply_qk(int32_t (&s)[64], uint32_t q, uint32_t k) {
  const uint64_t left = rows_descriptor<C::kDim>(q), right = rows_descriptor<C::kDim>(k);
  ptx::wgmma_begin();
#pragma unroll
  for (int d = 0; d < C::kDim; d += 32) ptx::wgmma_s8(s, ptx::advance(left, d), ptx::advance(right, d), d);
  ptx::wgmma_commit();
}

// sums (+)= P of 128 keys times V; `add` to what earlier keys of the tile gave.
template <class C>
__device__ __forceinline__ void multiply_pv(int32_t (&sums)[C::kDim / 2], const uint32_t (&p)[4][4],
                                            uint32_t v, bool add) {
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    const uint32_t step = v + (k / 2 * C::kDim * 64 + k % 2 * 32) / 16;
    ptx::wgmma_u8s8(sums, p[k], moved_to(step, ptx::narrow_tile_descriptor(0)), add || k > 0);
  }
}

// The rows g and g + 8 of a thread.
struct Rows {
  float scale[2];        // of y: q_scale * scale * log2(e)
  int last[2];           // last key that the row sees
  float top[2], sum[2];  // sum: of this thread's columns
};

// The scales of columns 8 j + 2 c + {0, 1, 8, 9}.
struct FourScales {
  float of[4];
  __device__ __forceinline__ FourScales(const float* scales, int j, int c) {
    const float4 v = reinterpret_cast<const float4*>(scales)[j / 2 * 4 + c];
    of[0] = v.x, of[1] = v.y, of[2] = v.z, of[3] = v.w;
  }
};

// y = float(s) * k_scale in place. top follows the largest of each row of the thread, as bits: floats above 0 order as integers
// do, and NaN lies above them. Below 0 the order is reversed: then largest_of has to look again.
__device__ __forceinline__ void scale_scores(int32_t (&s)[64], const float* k_scale, int c, int (&top)[2]) {
#pragma unroll
  for (int j = 0; j < 16; j += 2) {
    const FourScales scale(k_scale, j, c);
#pragma unroll
    for (int i = 0; i < 8; ++i)
      s[4 * j + i] = __float_as_int(__int2float_rn(s[4 * j + i]) * scale.of[i / 4 * 2 + i % 2]);
#pragma unroll
    for (int i = 0; i < 8; i += 2)
      top[i / 2 % 2] = __vimax3_s32(top[i / 2 % 2], s[4 * j + i], s[4 * j + i + 1]);
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

// 2^x without the special-function unit, off by at most 0.2 %: P has steps of at least 0.4 %. x = y * scale + shift comes as
// (x + 126) / 256 = y * far_scale + far_shift; saturation keeps exponents at -126 and above.
constexpr float kRange = 256.0f;
__device__ __forceinline__ float exp2_by_polynomial(float y, float far_scale, float far_shift) {
  constexpr float kRound = 12582912.0f - 126.0f;  // 1.5 * 2^23 - 126
  const float u = __saturatef(fmaf(y, far_scale, far_shift));
  const float rounded = fmaf(u, kRange, kRound);  // its low bits: the exponent
  const float f = fmaf(u, kRange, kRound - rounded);
  const float mantissa = fmaf(fmaf(f, 0.24f, 0.7034f), f, 1.0f);
  return __int_as_float((__float_as_int(rounded) << 23) + __float_as_int(mantissa));
}

// Sixteen scores of a thread to 2^(y * scale + shift) in place. Gives a 0 that is known when the exponents are.
template <class C>
__device__ __forceinline__ uint32_t exponentials(int32_t (&s)[64], int k, const float (&scale)[2],
                                                 const float (&shift)[2], const float (&far_scale)[2],
                                                 const float (&far_shift)[2], uint32_t zero) {
  float x;
#pragma unroll
  for (int i = 0; i < 16; ++i) {
    const int r = i / 2 % 2;
    const float y = __int_as_float(s[16 * k + i]);
    if (C::kByPolynomial >> i & 1) {
      s[16 * k + i] = __float_as_int(exp2_by_polynomial(y, far_scale[r], far_shift[r]));
    } else {
      x = fmaf(y, scale[r], shift[r]);
      s[16 * k + i] = __float_as_int(ptx::exp2_fast(x));
    }
  }
  return __float_as_uint(x) & zero;
}

// Sixteen of them to codes in u8, the second product's left operand; sum += their sum.
__device__ __forceinline__ void pack_p(const int32_t (&s)[64], int k, uint32_t (&p)[4], uint32_t (&sum)[2],
                                       uint32_t zero) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int row = i % 2, first = 16 * k + i / 2 * 8 + 2 * row;
    const auto e = [&](int at) { return __int_as_float(s[first + at]); };
    p[i] = ptx::pack_unsigned_codes(e(0), e(1), e(4), e(5), zero);
    sum[row] = __dp4a(p[i], 0x01010101u, sum[row]);
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
template <class T>
__device__ __forceinline__ T sum_of_quad(T v) {
  v += __shfl_xor_sync(~0u, v, 1);
  return v + __shfl_xor_sync(~0u, v, 2);
}

// The o of a thread: elements 4 word + 2 r + i as the sums have them.
template <class C>
struct Output {
  float4 in_registers[C::kSharedOutput ? 1 : C::kOutputWords];

  __device__ __forceinline__ float4& word(Shared<C>& shared, int group, int i) {
    if constexpr (C::kSharedOutput)
      return shared.o[group][i][static_cast<int>(threadIdx.x) % kWarpgroup];
    else
      return in_registers[i];
  }
  __device__ __forceinline__ void clear(Shared<C>& shared, int group) {
#pragma unroll
    for (int i = 0; i < C::kOutputWords; ++i) word(shared, group, i) = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
  }

  // o = o * keep_old + float(sums) * (v_scale * take_new).
  __device__ __forceinline__ void add(Shared<C>& shared, int group, const int32_t (&sums)[C::kDim / 2],
                                      const float* v_scale, int c, const float (&keep_old)[2],
                                      const float (&take_new)[2]) {
#pragma unroll
    for (int j = 0; j < C::kOutputWords; j += 2) {
      const FourScales scale(v_scale, j, c);
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int32_t* u = sums + 4 * (j + i);
        const float a = scale.of[2 * i], b = scale.of[2 * i + 1];
        float4 o = word(shared, group, j + i);
        if (C::kSharedOutput) rescale(o, keep_old);
        o.x = fmaf(__int2float_rn(u[0]), a * take_new[0], o.x);
        o.y = fmaf(__int2float_rn(u[1]), b * take_new[0], o.y);
        o.z = fmaf(__int2float_rn(u[2]), a * take_new[1], o.z);
        o.w = fmaf(__int2float_rn(u[3]), b * take_new[1], o.w);
        word(shared, group, j + i) = o;
      }
    }
  }
  // In registers: before the sums are known, and only when the largest score of a row has grown.
  __device__ __forceinline__ void rescale_registers(const float (&keep_old)[2]) {
    if (C::kSharedOutput || !__any_sync(~0u, keep_old[0] != 1.0f || keep_old[1] != 1.0f)) return;
#pragma unroll
    for (float4& o : in_registers) rescale(o, keep_old);
  }
  static __device__ __forceinline__ void rescale(float4& o, const float (&keep_old)[2]) {
    o.x *= keep_old[0], o.y *= keep_old[0], o.z *= keep_old[1], o.w *= keep_old[1];
  }
};

// Consumers take turns with their exponentials, so that one's products, conversions and sums go on beside another's
// exponentials; left alone they run in step and wait for the same unit. Every consumer takes as many turns.
constexpr int kFirstTurn = 1;  // named barriers, one a consumer
template <class C>
__device__ __forceinline__ void wait_for_turn(int group) {
  ptx::named_barrier_sync(kFirstTurn + group, 2 * kWarpgroup);
}
template <class C>
__device__ __forceinline__ void pass_turn(int group) {
  ptx::named_barrier_arrive(kFirstTurn + (group + 1) % C::kGroups, 2 * kWarpgroup);
}

// One key tile, whose codes of K lie in k_slot, those of V and the scales in v_slot.
template <class C>
__device__ __forceinline__ void attend_tile(Shared<C>& shared, int group, int tile, Output<C>& o, Rows& rows,
                                            const Places& places, Slot<C::kStages>& k_slot,
                                            Slot<C::kStages>& v_slot, bool masked, uint32_t zero) {
  const int lane = static_cast<int>(threadIdx.x) % 32, c = lane % 4;
  const int stage = v_slot.stage;
  constexpr uint32_t kWords = C::kTile * C::kDim / 16, kHalfWords = kHalf * C::kDim / 16;
  const uint32_t k = places.k + static_cast<uint32_t>(k_slot.stage) * kWords,
                 v = places.v + static_cast<uint32_t>(stage) * kWords;

  int32_t s[C::kHalves][64];
  ptx::mbarrier_wait(&shared.k_full[k_slot.stage], k_slot.phase);
#pragma unroll
  for (int h = 0; h < C::kHalves; ++h) multiply_qk<C>(s[h], places.q, k + h * kHalfWords);
  ptx::mbarrier_wait(&shared.scales_full[stage], v_slot.phase);
  int bits[2] = {INT32_MIN, INT32_MIN};
#pragma unroll
  for (int h = 0; h < C::kHalves; ++h) {
    if (h < C::kHalves - 1)
      ptx::wgmma_wait<1>();
    else
      ptx::wgmma_wait<0>();
    ptx::keep(s[h]);
    if (h == C::kHalves - 1 && lane == 0) ptx::mbarrier_arrive(&shared.k_empty[k_slot.stage]);
    scale_scores(s[h], shared.k_scale[stage] + h * kHalf, c, bits);
  }
  k_slot.next();
  float top[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) bits[r] = largest_of_quad(bits[r]), top[r] = __int_as_float(bits[r]);
  if (masked) {
#pragma unroll
    for (int h = 0; h < C::kHalves; ++h) mask_scores(s[h], tile * C::kTile + h * kHalf + 2 * c, rows.last);
  }
  if (masked || __any_sync(~0u, min(bits[0], bits[1]) < 0)) {
    top[0] = top[1] = -kInfinity;
#pragma unroll
    for (int h = 0; h < C::kHalves; ++h) largest_of(s[h], top);
#pragma unroll
    for (int r = 0; r < 2; ++r) top[r] = largest_of_quad(top[r]);
  }
  float shift[2], far_scale[2], far_shift[2], keep_old[2], take_new[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const float tile_top = top[r] * rows.scale[r], all_top = ptx::larger(rows.top[r], tile_top);
    // NOTE: a row that has seen nothing yet: 0 stands for -inf in differences, so that they are not NaN.
    const float base = all_top == -kInfinity ? 0.0f : all_top;
    shift[r] = kLog2Of255 - (tile_top == -kInfinity ? 0.0f : tile_top);
    keep_old[r] = ptx::exp2_fast(rows.top[r] - base), take_new[r] = ptx::exp2_fast(tile_top - base);
    rows.top[r] = all_top;
    far_scale[r] = rows.scale[r] * (1.0f / kRange), far_shift[r] = (shift[r] + 126.0f) * (1.0f / kRange);
  }

  uint32_t p[C::kHalves][4][4], sum[2] = {0, 0};
  int32_t sums[C::kDim / 2];
  wait_for_turn<C>(group);
  ptx::mbarrier_wait(&shared.v_full[stage], v_slot.phase);
  // NOTE: sixteen exponentials, then the codes of the sixteen before. `zero` keeps ptxas to that order: left alone it makes each
  // pair of codes wait for the exponentials just started (H200, 4x32x16384x64: 497 instead of 521 TFLOP/s).
  constexpr int kSteps = C::kTile / 32;
#pragma unroll
  for (int step = 0; step <= kSteps; ++step) {
    uint32_t later = 0;
    if (step < kSteps)
      later = exponentials<C>(s[step / 4], step % 4, rows.scale, shift, far_scale, far_shift, zero);
    if (step == kSteps - 1) pass_turn<C>(group);
    if (step == 0) continue;
    const int half = (step - 1) / 4;
    pack_p(s[half], (step - 1) % 4, p[half][(step - 1) % 4], sum, later);
#pragma unroll
    for (int r = 0; r < 2; ++r) shift[r] = __uint_as_float(__float_as_uint(shift[r]) | (sum[r] & zero));
    if (step % 4 == 0) {
      ptx::wgmma_begin();
      multiply_pv<C>(sums, p[half], v + half * kHalfWords, half > 0);
      ptx::wgmma_commit();
    }
  }
#pragma unroll
  for (int r = 0; r < 2; ++r)
    rows.sum[r] = fmaf(__uint2float_rn(sum[r]), take_new[r], rows.sum[r] * keep_old[r]);
  o.rescale_registers(keep_old);
  ptx::wgmma_wait<0>();
  ptx::keep(sums);
  o.add(shared, group, sums, shared.v_scale[stage], c, keep_old, take_new);
#pragma unroll
  for (int h = 0; h < C::kHalves; ++h)
#pragma unroll
    for (int i = 0; i < 4; ++i) ptx::keep(p[h][i]);
  __syncwarp();  // every lane has read the scales
  if (lane == 0) ptx::mbarrier_arrive(&shared.v_empty[stage]);
  v_slot.next();
}

}  // namespace octavo
