// attention_int8 on any GPU from Ampere on. A block is four warps of 16 query rows each; a warp holds the scores of its rows and a
// whole key tile in registers (16 x 256), since P is rounded against the largest score of a tile. K and V of a tile lie in
// shared memory, one buffer each: V travels (cp.async) while scores are made, the next tile's K while they are used.
//   S = Q K^T (mma.sync m16n8k32, s8 x s8)  ->  y, top of the rows  ->  P in u8, which the accumulators' layout makes the left
//   operand of the second product as it is (int8_key_slot)  ->  P V (u8 x s8)  ->  o takes the tile's s32 sums
// Threads hold S as mma_s8 leaves it: lane = 4 g + c has rows g and g + 8, columns 8 j + 2 c and the next.
#include <algorithm>
#include <cfloat>

#include "cuda/attention_output.cuh"
#include "cuda/launch.h"
#include "cuda/ptx/grid_dependency.cuh"
#include "ops/attention_int8/attention_int8_cuda.h"
#include "ops/attention_int8/attention_int8_sm80.cuh"

namespace octavo {
namespace {

constexpr float kLog2OfE = 1.44269504088896341f, kLog2Of255 = 7.99435343685885793f,
                kLn2 = 0.693147180559945309f, kInfinity = __builtin_huge_valf();
// Scores start from the bits of 1.5 * 2^23, so that these bits are the float 1.5 * 2^23 + s (|s| <= 2^22 for D <= 256).
// NOTE: below sm_86 a conversion from an integer takes the unit of the exponentials.
constexpr float kIntegerBase = 12582912.0f;
constexpr int32_t kIntegerBaseBits = 0x4B400000;
constexpr int64_t kSectionBytes = 24 << 20;

// ---- a key tile

// The rows g and g + 8 of a thread.
struct Rows {
  float scale[2];        // of y: q_scale * scale * log2(e)
  float top[2], sum[2];  // sum: of this thread's columns
};

// A scale of 0 counts as the smallest normal number: masked scores are -inf, and -inf * 0 is NaN. Its scores stay below 1e-30,
// which a row of one key would show as its LSE.
__device__ __forceinline__ float not_zero(float scale) { return scale == 0.0f ? FLT_MIN : scale; }
__device__ __forceinline__ float log_of_top(float top) { return fabsf(top) < 1e-30f ? 0.0f : top * kLn2; }

// s = 16 rows of q times kKeys keys of the tile, on top of kIntegerBaseBits.
template <class C>
__device__ __forceinline__ void multiply_qk(const Places<C>& at, uint32_t first_key, int32_t* s) {
  const uint32_t lane = thread_index() % 32;
  constexpr uint32_t kQ = offsetof(PortableShared<C>, q), kK = offsetof(PortableShared<C>, k);
#pragma unroll
  for (int step = 0; step < C::kSteps; ++step) {
    uint32_t a[4];
    ptx::load_matrices(a, at.shared + kQ + place_in_row<C::kDim>(lane % 16, lane / 16 + 2 * step) +
                              first_row_of_warp() * C::kDim);
    const uint32_t rows = (at.k ^ 32 * step) + kK + first_key * C::kDim;
#pragma unroll
    for (int j = 0; j < C::kKeys / 16; ++j) {
      uint32_t b[4];  // keys 0-7: bytes 0-15, 16-31 of the step; keys 8-15: the same
      ptx::load_matrices(b, rows + 16 * j * C::kDim);
      if (step == 0) {
        ptx::mma_s8_from(s + 8 * j, a, b[0], b[1], kIntegerBaseBits);
        ptx::mma_s8_from(s + 8 * j + 4, a, b[2], b[3], kIntegerBaseBits);
      } else {
        ptx::mma_s8(s + 8 * j, a, b[0], b[1]);
        ptx::mma_s8(s + 8 * j + 4, a, b[2], b[3]);
      }
    }
  }
}

// s, kKeys keys of it, becomes y = float(s) * k_scale, as bits. `scales`: address of the keys' scales.
template <int kKeys>
__device__ __forceinline__ void scale_scores(int32_t* s, uint32_t scales, float (&top)[2]) {
#pragma unroll
  for (int j = 0; j < kKeys / 8; j += 2) {
    const FourScales scale(scales + 32 * j);
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const float y = __fmul_rn(__int_as_float(s[4 * j + i]) - kIntegerBase, scale.of[i / 4 * 2 + i % 2]);
      top[i / 2 % 2] = ptx::larger(top[i / 2 % 2], y);
      s[4 * j + i] = __float_as_int(y);
    }
  }
}

// Scores that a row does not see become -inf; top: the largest of the others.
__device__ __forceinline__ void mask_scores(int32_t (&s)[kTile / 2], const PortableCall& call, int row,
                                            int first_key, float (&top)[2]) {
  const int last[2] = {last_key(call, row) - first_key, last_key(call, row + 8) - first_key};
  top[0] = top[1] = -kInfinity;
#pragma unroll
  for (int i = 0; i < kTile / 2; ++i) {
    if (i / 4 * 8 + i % 2 > last[i / 2 % 2]) s[i] = __float_as_int(-kInfinity);
    top[i / 2 % 2] = ptx::larger(top[i / 2 % 2], __int_as_float(s[i]));
  }
}

__device__ __forceinline__ float largest_of_quad(float v) {
  v = ptx::larger(v, __shfl_xor_sync(~0u, v, 1));
  return ptx::larger(v, __shfl_xor_sync(~0u, v, 2));
}
__device__ __forceinline__ float sum_of_quad(float v) {
  v += __shfl_xor_sync(~0u, v, 1);
  return v + __shfl_xor_sync(~0u, v, 2);
}

// What the tile's largest scores make of the rows' sums so far (keep_old), of the tile's (take_new), and of its scores:
// P = 2^(y * scale + shift).
struct TileFactors {
  float shift[2], keep_old[2], take_new[2];

  __device__ __forceinline__ TileFactors(Rows& rows, const float (&top)[2]) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const float tile_top = __fmul_rn(top[r], rows.scale[r]), all_top = ptx::larger(rows.top[r], tile_top);
      // NOTE: a row that has seen nothing yet: 0 stands for -inf in differences, so that they are not NaN.
      const float base = all_top == -kInfinity ? 0.0f : all_top;
      const bool empty = tile_top == -kInfinity;
      shift[r] = __fsub_rn(kLog2Of255, empty ? 0.0f : tile_top);
      keep_old[r] = ptx::exp2_fast(rows.top[r] - base), take_new[r] = ptx::exp2_fast(tile_top - base);
      rows.top[r] = all_top;
    }
  }
};

// 32 keys' scores to P, the left operand of the second product; sum += its row sums.
__device__ __forceinline__ void make_p(const int32_t* s, const Rows& rows, const TileFactors& tile,
                                       uint32_t (&p)[4], uint32_t (&sum)[2]) {
  float e[16];
#pragma unroll
  for (int i = 0; i < 16; ++i)
    e[i] = ptx::exp2_fast(fmaf(__int_as_float(s[i]), rows.scale[i / 2 % 2], tile.shift[i / 2 % 2]));
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int r = i % 2, first = i / 2 * 8 + 2 * r;
    p[i] = ptx::pack_unsigned_codes(e[first], e[first + 1], e[first + 4], e[first + 5]);
    sum[r] = __dp4a(p[i], 0x01010101u, sum[r]);
  }
}

// sums (+)= p of 32 keys times kColumns channels of V from `v` on: [channel][64], half `half` of a page.
template <class C>
__device__ __forceinline__ void multiply_pv(const uint32_t (&p)[4], const Places<C>& at, uint32_t v, int half,
                                            bool first, int32_t (&sums)[C::kColumns / 2]) {
  const uint32_t rows = (at.v ^ 32 * half) + offsetof(PortableShared<C>, v) + v;
#pragma unroll
  for (int d = 0; d < C::kColumns; d += 16) {
    uint32_t b[4];  // channels 0-7: keys 0-15, 16-31 of the half; channels 8-15: the same
    ptx::load_matrices(b, rows + d * 64);
    if (first) {
      ptx::mma_u8s8_from(sums + d / 2, p, b[0], b[1], 0);
      ptx::mma_u8s8_from(sums + d / 2 + 4, p, b[2], b[3], 0);
    } else {
      ptx::mma_u8s8(sums + d / 2, p, b[0], b[1]);
      ptx::mma_u8s8(sums + d / 2 + 4, p, b[2], b[3]);
    }
  }
}

// o = o * keep_old; by the whole warp, and only when the largest score of a row has grown.
template <int kCount>
__device__ __forceinline__ void rescale_output(float (&o)[kCount], const float (&keep_old)[2]) {
  if (!__any_sync(~0u, keep_old[0] != 1.0f || keep_old[1] != 1.0f)) return;
#pragma unroll
  for (int i = 0; i < kCount; ++i) o[i] *= keep_old[i / 2 % 2];
}

// o += float(sums) * (v_scale * take_new), kColumns channels.
template <class C>
__device__ __forceinline__ void add_sums(const int32_t (&sums)[C::kColumns / 2], uint32_t v_scale,
                                         const float (&take_new)[2], float* o) {
#pragma unroll
  for (int j = 0; j < C::kColumns / 8; j += 2) {
    const FourScales scale(v_scale + j * 32);
#pragma unroll
    for (int i = 0; i < 8; ++i)
      o[4 * j + i] = fmaf(__int2float_rn(sums[4 * j + i]),
                          __fmul_rn(scale.of[i / 4 * 2 + i % 2], take_new[i / 2 % 2]), o[4 * j + i]);
  }
}

// The scores of a tile as y, and the largest of each row.
template <class C>
__device__ __forceinline__ void score_tile(const PortableShared<C>& shared, const Places<C>& at,
                                           const PortableCall& call, int tile, int32_t (&s)[kTile / 2],
                                           float (&top)[2]) {
  const int c = thread_index() % 4;
  top[0] = top[1] = -kInfinity;
  multiply_qk<C>(at, 0, s);
#pragma unroll
  for (int key = C::kKeys; key <= kTile; key += C::kKeys) {
    if (key < kTile) multiply_qk<C>(at, key, s + key / 2);
    const int before = key - C::kKeys;
    scale_scores<C::kKeys>(s + before / 2, at.scales + offsetof(PortableShared<C>, k_scale) + before * 4,
                           top);
  }
  const int row = shared.work.row + first_row_of_warp();
  if (last_key(call, row) < tile * kTile + kTile - 1)
    mask_scores(s, call, row + thread_index() % 32 / 4, tile * kTile + 2 * c, top);
  top[0] = largest_of_quad(top[0]), top[1] = largest_of_quad(top[1]);
}

// Takes the tile's values, weighed by its scores, into o. Products of the first kColumns channels run beside the exponentials.
template <class C>
__device__ __forceinline__ void weigh_tile(const Places<C>& at, const int32_t (&s)[kTile / 2],
                                           const float (&top)[2], Rows& rows, float (&o)[C::kDim / 2]) {
  constexpr int kSteps = kTile / 32;
  constexpr uint32_t kVScale = offsetof(PortableShared<C>, v_scale);
  const TileFactors tile(rows, top);
  rescale_output(o, tile.keep_old);
  uint32_t p[kSteps][4], sum[2] = {0, 0};
  int32_t sums[C::kColumns / 2];
  const auto multiply = [&](int step, int column) {
    multiply_pv<C>(p[step], at, (step / 2 * C::kDim + column) * kPageKeys, step % 2, step == 0, sums);
  };
#pragma unroll
  for (int step = 0; step < kSteps; ++step) {
    make_p(s + 16 * step, rows, tile, p[step], sum);
    multiply(step, 0);
  }
  add_sums<C>(sums, at.scales + kVScale, tile.take_new, o);
  const float p_sum[2] = {__uint2float_rn(sum[0]), __uint2float_rn(sum[1])};
  // NOTE: ptxas moves products of further channels up, to where scores still lie in the registers that they need, and spills.
  if (C::kColumns < C::kDim) ptx::finish_before(p_sum[0]), ptx::finish_before(p_sum[1]);
#pragma unroll
  for (int column = C::kColumns; column < C::kDim; column += C::kColumns) {
#pragma unroll
    for (int step = 0; step < kSteps; ++step) multiply(step, column);
    add_sums<C>(sums, at.scales + kVScale + column * 4, tile.take_new, o + column / 2);
  }
#pragma unroll
  for (int r = 0; r < 2; ++r)
    rows.sum[r] = fmaf(p_sum[r], tile.take_new[r], __fmul_rn(rows.sum[r], tile.keep_old[r]));
}

// ---- output

template <class T>
__device__ __forceinline__ void store_element(T* to, float value) {
  if constexpr (sizeof(T) == 2)
    to->bits = static_cast<uint16_t>(cuda::pack_pair(value, 0.0f, T{}));
  else
    *to = value;
}

// out = o / sum. `sum` is that of the whole row.
template <class C, class T>
__device__ __forceinline__ void store_output(const PortableCall& call, int head, int row,
                                             const float (&sum)[2], const float (&o)[C::kDim / 2]) {
  const int c = thread_index() % 4, batch = head / call.heads;
  T* out = static_cast<T*>(call.out) + batch * call.out_batch + (head - batch * call.heads) * call.out_head;
  float inverse[2];
  T* rows[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    inverse[r] = sum[r] == 0.0f ? 0.0f : __frcp_rn(sum[r]);
    rows[r] = row + 8 * r < call.sq ? out + (row + 8 * r) * call.out_row : nullptr;
  }
  if constexpr (sizeof(T) == 2)
    if (call.aligned) return cuda::store_rows<T>(o, inverse, rows, call.dim);
#pragma unroll
  for (int i = 0; i < C::kDim / 2; ++i) {
    const int d = i / 4 * 8 + 2 * c + i % 2, r = i / 2 % 2;
    if (rows[r] && d < call.dim) store_element(rows[r] + d, o[i] * inverse[r]);
  }
}

// ---- the block

// Causal: the longest rows of a section of heads, whose K and V the second-level cache holds, come first.
template <class C>
__device__ __forceinline__ BlockWork find_work(const PortableCall& call) {
  const int index = static_cast<int>(blockIdx.x);
  BlockWork work{index / call.row_blocks, index % call.row_blocks * C::kRows, 0};
  if (call.causal) {
    const int first = index / (call.section * call.row_blocks) * call.section;
    const int heads = min(call.section, call.batch_heads - first), rest = index - first * call.row_blocks;
    work.head = first + rest % heads, work.row = (call.row_blocks - 1 - rest / heads) * C::kRows;
  }
  work.tiles = tiles_of(call, work.row + C::kRows);
  return work;
}
__device__ __forceinline__ HeadOperands find_operands(const PortableCall& call, int query_head) {
  const int head = query_head / call.group;
  return {
      call.k + static_cast<int64_t>(head) * call.sk * call.dim,
      call.v + static_cast<int64_t>(head) * call.pages * call.dim * kPageKeys,
      call.k_scale + static_cast<int64_t>(head) * call.sk,
      call.v_scale + head / call.kv_heads * call.v_scale_batch + head % call.kv_heads * call.v_scale_head};
}

template <class C>
__global__ void __launch_bounds__(C::kThreads, C::kResident)
    attention_int8_mma(const __grid_constant__ PortableCall call) {
  extern __shared__ __align__(128) uint8_t memory[];
  auto& shared = *reinterpret_cast<PortableShared<C>*>(memory);
  ptx::grid_dependency_release();
  ptx::grid_dependency_wait();
  if (threadIdx.x == 0) {
    shared.work = find_work<C>(call);
    shared.operands = find_operands(call, shared.work.head);
  }
  __syncthreads();
  const auto row_of_all = [&](int row) { return static_cast<int64_t>(shared.work.head) * call.sq + row; };
  const Places<C> at(shared);
  Rows rows;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int index =
        min(shared.work.row + first_row_of_warp() + thread_index() % 32 / 4 + 8 * r, call.sq - 1);
    rows.scale[r] = not_zero(call.q_scale[row_of_all(index)] * call.scale);
    rows.top[r] = -kInfinity, rows.sum[r] = 0.0f;
  }
  if (thread_index() < C::kDim) {
    const bool exists = static_cast<int>(thread_index()) < call.dim;
    shared.v_scale_from[thread_index()] =
        exists ? shared.operands.v_scale + thread_index() * call.v_scale_channel : nullptr;
    if (!exists) shared.v_scale[place_of_scale(thread_index())] = 0.0f;
  }
  float o[C::kDim / 2] = {};

  if (shared.work.tiles > 0) {
    load_rows<C, C::kRows>(shared.q, call.q + row_of_all(0) * call.dim, call, shared.work.row, call.sq);
    load_k(shared, call, 0);
  }
  ptx::copy_async_commit();
#pragma unroll 1
  for (int t = 0; t < shared.work.tiles; ++t) {
    ptx::copy_async_wait<0>();
    __syncthreads();  // K of this tile is here, V of the one before is not read any more
    load_v(shared, call, t);
    ptx::copy_async_commit();
    int32_t s[kTile / 2];
    float top[2];
    score_tile<C>(shared, at, call, t, s, top);
    ptx::copy_async_wait<0>();
    __syncthreads();  // V is here, K is not read any more
    if (t + 1 < shared.work.tiles) load_k(shared, call, t + 1);
    ptx::copy_async_commit();
    weigh_tile<C>(at, s, top, rows, o);
  }

  const int row = shared.work.row + first_row_of_warp() + thread_index() % 32 / 4;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    rows.sum[r] = sum_of_quad(rows.sum[r]);
    if (call.lse && thread_index() % 4 == 0 && row + 8 * r < call.sq)
      call.lse[row_of_all(row + 8 * r)] = log_of_top(rows.top[r]) + logf(rows.sum[r] / 255.0f);
  }
  switch (call.out_dtype) {
    case DType::f16: store_output<C, F16>(call, shared.work.head, row, rows.sum, o); break;
    case DType::bf16: store_output<C, BF16>(call, shared.work.head, row, rows.sum, o); break;
    default: store_output<C, float>(call, shared.work.head, row, rows.sum, o);
  }
}

// ---- launch

template <class C>
void run(const Context& ctx, const AttentionInt8Args& a) {
  const int64_t batch = a.q.dim(0), heads = a.q.dim(1), sq = a.q.dim(2), dim = a.q.dim(3),
                kv_heads = a.k.dim(1), sk = a.k.dim(2);
  const int64_t row_blocks = (sq + C::kRows - 1) / C::kRows;
  const auto on_16_bytes = [&](int64_t elements) { return elements * size_of(a.out.dtype()) % 16 == 0; };
  const PortableCall call{.q = a.q.as<int8_t>(),
                          .k = a.k.as<int8_t>(),
                          .v = a.v.as<int8_t>(),
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
                          .aligned = reinterpret_cast<uintptr_t>(a.out.data()) % 16 == 0 &&
                                     on_16_bytes(a.out.stride(0)) && on_16_bytes(a.out.stride(1)) &&
                                     on_16_bytes(a.out.stride(2)),
                          .dim = static_cast<int>(dim),
                          .lse = a.lse ? a.lse.as<float>() : nullptr,
                          .batch_heads = static_cast<int>(batch * heads),
                          .heads = static_cast<int>(heads),
                          .kv_heads = static_cast<int>(kv_heads),
                          .group = static_cast<int>(heads / kv_heads),
                          .sq = static_cast<int>(sq),
                          .sk = static_cast<int>(sk),
                          .pages = static_cast<int>(a.v.dim(2)),
                          .causal = a.causal,
                          .scale = a.scale * kLog2OfE,
                          .row_blocks = static_cast<int>(row_blocks),
                          .section = static_cast<int>(std::clamp<int64_t>(
                              kSectionBytes / std::max<int64_t>(1, 2 * sk * dim), 1, batch * heads))};
  cuda::launch(ctx,
               {.kernel = "attention_int8_mma",
                .grid = dim3(static_cast<unsigned>(batch * heads * row_blocks)),
                .block = dim3(C::kThreads),
                .shared_bytes = sizeof(PortableShared<C>),
                .overlap = true},
               attention_int8_mma<C>, call);
}

bool on_bytes(const ConstTensor& t, uintptr_t bytes) {
  return reinterpret_cast<uintptr_t>(t.data()) % bytes == 0;
}

}  // namespace

bool attention_int8_fits_sm80(const AttentionInt8Args& a, const DeviceFacts& facts) {
  return facts.compute_capability >= 80 && a.q.dim(3) <= 128 && on_bytes(a.q, 4) && on_bytes(a.k, 16) &&
         on_bytes(a.v, 16) && a.k.dim(2) < INT32_MAX / 2 && a.q.dim(2) < INT32_MAX / 2 &&
         a.q.dim(0) * a.q.dim(1) * ((a.q.dim(2) + 63) / 64) < INT32_MAX;
}

void attention_int8_sm80(const Context& ctx, const AttentionInt8Args& a) {
  if (a.out.numel() == 0) return;
  if (a.q.dim(3) <= 64) return run<PortableConfig<64, 4, 2, 64, 64>>(ctx, a);
  run<PortableConfig<128, 4, 2, 256, 16>>(ctx, a);
}

}  // namespace octavo
