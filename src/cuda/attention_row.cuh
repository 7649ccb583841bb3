// One row of attention by one warp, key after key in fp32, of any element types: the plain kernel of every shape that the
// tensor-core kernels do not take, and their way out for rows that met Inf or NaN in V. Only keys that the row sees are read.
#pragma once
#include <cuda_runtime.h>

#include <cmath>
#include <cstdint>

#include "core/kv_view.h"
#include "cuda/attention_work.cuh"
#include "cuda/ptx/convert.cuh"

namespace octavo::cuda {

inline constexpr int kMostRowDim = 512;  // D

struct RowOperands {
  DType q_dtype;
  const void* q;  // [T, Hq, D]; also of out
  int64_t q_token, q_head;
  KvView kv;
  int head_dim;
  float scale;
  void* out;
  int64_t out_token, out_head;
  float* lse;  // null: none
  int64_t lse_token, lse_head;
};

__device__ __forceinline__ float element_of(DType dtype, const void* p, int64_t i) {
  switch (dtype) {
    case DType::f32: return static_cast<const float*>(p)[i];
    case DType::f16: return to_float(static_cast<const F16*>(p)[i]);
    case DType::bf16: return to_float(static_cast<const BF16*>(p)[i]);
    default: return static_cast<float>(static_cast<const int8_t*>(p)[i]);
  }
}

// Query `token` of the tile's sequence, head `head`. The whole warp calls.
template <int kPerLane = kMostRowDim / 32>
__device__ __forceinline__ void attend_row(const RowOperands& r, const AttentionSizes& sizes,
                                           const AttentionTile& tile, int token, int head) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int64_t row = tile.first_token + token;
  const KeyRange keys = keys_of_token(sizes, tile, token);
  const bool codes = r.kv.dtype == DType::i8;
  float q[kPerLane], o[kPerLane], top = -INFINITY, sum = 0.0f;
#pragma unroll
  for (int i = 0; i < kPerLane; ++i) {
    const int d = lane + 32 * i;
    q[i] = d < r.head_dim ? element_of(r.q_dtype, r.q, row * r.q_token + head * r.q_head + d) : 0.0f,
    o[i] = 0.0f;
  }
#pragma unroll 1
  for (int j = keys.first; j < keys.end; ++j) {
    const int64_t at = r.kv.offset(tile.sequence, tile.kv_head, j);
    const int64_t scale_at = codes ? r.kv.scale_offset(tile.sequence, tile.kv_head, j) : 0;
    float dot = 0.0f;
#pragma unroll
    for (int i = 0; i < kPerLane; ++i)
      if (const int d = lane + 32 * i; d < r.head_dim)
        dot = fmaf(q[i], element_of(r.kv.dtype, r.kv.k, at + d), dot);
#pragma unroll
    for (int other = 16; other; other /= 2) dot += __shfl_xor_sync(~0u, dot, other);
    const float score = dot * r.scale * (codes ? r.kv.k_scale[scale_at] : 1.0f);
    const float before = top;
    top = fmaxf(top, score);  // ignores NaN
    const float shift = top == -INFINITY ? 0.0f : top;
    // NOTE: a row that has seen nothing but -inf so far has no sums to rescale.
    const float rescale = before == -INFINITY ? 1.0f : expf(before - shift);
    const float p = expf(score - shift), weight = p * (codes ? r.kv.v_scale[scale_at] : 1.0f);
    sum = fmaf(sum, rescale, p);
#pragma unroll
    for (int i = 0; i < kPerLane; ++i)
      if (const int d = lane + 32 * i; d < r.head_dim)
        o[i] = fmaf(weight, element_of(r.kv.dtype, r.kv.v, at + d), o[i] * rescale);
  }
#pragma unroll
  for (int i = 0; i < kPerLane; ++i) {
    const int d = lane + 32 * i;
    if (d >= r.head_dim) continue;
    const float value = sum == 0.0f ? 0.0f : o[i] * ptx::reciprocal_fast(sum);
    const int64_t to = row * r.out_token + head * r.out_head + d;
    switch (r.q_dtype) {
      case DType::f32: static_cast<float*>(r.out)[to] = value; break;
      case DType::f16: static_cast<F16*>(r.out)[to] = to_f16(value); break;
      default: static_cast<BF16*>(r.out)[to] = to_bf16(value);
    }
  }
  if (r.lse && lane == 0)
    r.lse[row * r.lse_token + head * r.lse_head] =
        sum == 0.0f ? -INFINITY : (top == -INFINITY ? 0.0f : top) + logf(sum);
}

// Whether row i of a thread's accumulator (attention_softmax.cuh) holds Inf or NaN in this lane.
template <int kCount>
__device__ __forceinline__ bool row_is_not_finite(const float (&o)[kCount], int i) {
  float zeros = 0.0f;
#pragma unroll
  for (int j = 0; j < kCount / 4; ++j)
    zeros = fmaf(o[4 * j + 2 * i], 0.0f, fmaf(o[4 * j + 2 * i + 1], 0.0f, zeros));
  return zeros != 0.0f;  // NaN
}

// Rows row .. row + 15 of the sequence, those that some lane of their quad asks for. The whole warp calls.
template <int kPerLane>
__device__ __forceinline__ void attend_rows(const RowOperands& r, const AttentionSizes& sizes,
                                            const AttentionTile& tile, int row, const bool (&asked)[2]) {
  const unsigned votes[2] = {__ballot_sync(~0u, asked[0]), __ballot_sync(~0u, asked[1])};
  if ((votes[0] | votes[1]) == 0) return;
#pragma unroll 1
  for (int i = 0; i < 16; ++i)
    if (((i < 8 ? votes[0] : votes[1]) >> (i % 8 * 4) & 15u) != 0)
      attend_row<kPerLane>(r, sizes, tile, (row + i) >> sizes.pack_shift,
                           tile.head + ((row + i) & ((1 << sizes.pack_shift) - 1)));
}

}  // namespace octavo::cuda
