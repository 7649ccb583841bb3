// Masks and the online softmax on the sums of one product, as wgmma and mma.sync leave them:
//   s[4 j + 2 i + c]: row lane / 4 + 8 i, column 8 j + 2 (lane % 4) + c
// A row belongs to the four lanes of a quad. Nothing here knows what the scores were made of.
#pragma once
#include <cuda_runtime.h>

#include <cmath>
#include <cstdint>

#include "cuda/ptx/convert.cuh"

namespace octavo::cuda {

// Sets the scores of keys outside [first, end) to -inf. first[i] and end[i] of row i count from the tile's first key.
template <int kCount>
__device__ __forceinline__ void mask_scores(float (&s)[kCount], const int (&first)[2], const int (&end)[2]) {
  const int lane_column = 2 * (static_cast<int>(threadIdx.x) % 4);
  const unsigned width[2] = {static_cast<unsigned>(max(end[0] - first[0], 0)),
                             static_cast<unsigned>(max(end[1] - first[1], 0))};
#pragma unroll
  for (int j = 0; j < kCount / 4; ++j)
#pragma unroll
    for (int i = 0; i < 2; ++i)
#pragma unroll
      for (int c = 0; c < 2; ++c)
        if (static_cast<unsigned>(8 * j + c + lane_column - first[i]) >= width[i])
          s[4 * j + 2 * i + c] = -INFINITY;
}

__device__ __forceinline__ float quad_max(float v) {
  v = fmaxf(v, __shfl_xor_sync(~0u, v, 1));
  return fmaxf(v, __shfl_xor_sync(~0u, v, 2));
}
__device__ __forceinline__ float quad_sum(float v) {
  v += __shfl_xor_sync(~0u, v, 1);
  return v + __shfl_xor_sync(~0u, v, 2);
}

// Two rows of a thread. `top` is the score that counts as 0 in the exponent: the maximum so far, or at most kHeadroom
// (in log2) less than it, so that sums need not be rescaled for every small growth. Each row decides for itself.
template <int kHeadroom>
struct OnlineSoftmax {
  float top[2] = {-INFINITY, -INFINITY};
  float sum[2] = {0.0f, 0.0f};  // of this lane's columns

  // s becomes exp2(c (s - top)), c = scale * log2(e) > 0. rescale: what sums over earlier keys are multiplied by.
  template <int kCount>
  __device__ __forceinline__ void update(float (&s)[kCount], float c, float (&rescale)[2]) {
    float shift[2];
    raise(s, c, rescale, shift);
    weigh(s, c, rescale, shift);
  }

  // The exponentials' part of update, with what raise gave.
  template <int kCount>
  __device__ __forceinline__ void weigh(float (&s)[kCount], float c, const float (&rescale)[2],
                                        const float (&shift)[2]) {
#pragma unroll
    for (int j = 0; j < kCount / 4; ++j)
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        float* pair = s + 4 * j + 2 * i;
        pair[0] = ptx::exp2_fast(fmaf(pair[0], c, -shift[i]));
        pair[1] = ptx::exp2_fast(fmaf(pair[1], c, -shift[i]));
      }
    float lane_sum[2][2] = {};
#pragma unroll
    for (int j = 0; j < kCount / 4; ++j)
#pragma unroll
      for (int i = 0; i < 2; ++i) lane_sum[i][0] += s[4 * j + 2 * i], lane_sum[i][1] += s[4 * j + 2 * i + 1];
#pragma unroll
    for (int i = 0; i < 2; ++i) sum[i] = fmaf(sum[i], rescale[i], lane_sum[i][0] + lane_sum[i][1]);
  }

  // The maximum's part of update: top, rescale, and shift = c * top (0 while a row has seen nothing but -inf).
  template <int kCount>
  __device__ __forceinline__ void raise(const float (&s)[kCount], float c, float (&rescale)[2],
                                        float (&shift)[2]) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      float most[2] = {s[2 * i], s[2 * i + 1]};
#pragma unroll
      for (int j = 1; j < kCount / 4; ++j)
        most[0] = fmaxf(most[0], s[4 * j + 2 * i]), most[1] = fmaxf(most[1], s[4 * j + 2 * i + 1]);
      const float highest = fmaxf(top[i], quad_max(fmaxf(most[0], most[1])));
      // NOTE: NaN (-inf less -inf) fails the comparison, as it must.
      const bool stays = (highest - top[i]) * c <= static_cast<float>(kHeadroom);
      const float before = top[i];
      top[i] = stays ? before : highest;
      shift[i] = top[i] == -INFINITY ? 0.0f : __fmul_rn(top[i], c);
      rescale[i] = stays ? 1.0f : ptx::exp2_fast(fmaf(before, c, -shift[i]));
    }
  }

  // Takes in a softmax of other keys of row i, of the same lane. own, theirs: what sums over their keys are multiplied by.
  __device__ __forceinline__ void join(int i, float other_top, float other_sum, float c, float& own,
                                       float& theirs) {
    const float before = top[i];
    top[i] = fmaxf(before, other_top);
    const float shift = top[i] == -INFINITY ? 0.0f : __fmul_rn(top[i], c);
    own = ptx::exp2_fast(fmaf(before, c, -shift)), theirs = ptx::exp2_fast(fmaf(other_top, c, -shift));
    sum[i] = fmaf(other_sum, theirs, sum[i] * own);
  }

  // The whole row's sum (all lanes of the quad call).
  __device__ __forceinline__ float total(int i) const { return quad_sum(sum[i]); }
  // Whether the row saw nothing (or nothing but -inf): else its largest term alone is at least 1. False for NaN.
  __device__ __forceinline__ static bool is_empty(float total_of_row) { return total_of_row < 0.5f; }
  // log of the sum of exp(scale * score); -inf for a row that saw nothing.
  __device__ __forceinline__ float log_sum(int i, float total_of_row, float c) const {
    constexpr float kLn2High = 0.693147182464599609375f, kLn2Low = -1.904654323148236e-09f;
    if (is_empty(total_of_row)) return -INFINITY;
    const float shift = __fmul_rn(top[i], c);  // rounded, as the exponents saw it
    return fmaf(shift, kLn2High, fmaf(shift, kLn2Low, logf(total_of_row)));
  }
};

// Multiplies the rows of an accumulator; skipped by the whole warp when nothing changes (x * 1 = x).
template <int kCount>
__device__ __forceinline__ void rescale_rows(float (&o)[kCount], const float (&rescale)[2]) {
  if (!__any_sync(~0u, rescale[0] != 1.0f || rescale[1] != 1.0f)) return;
#pragma unroll
  for (int j = 0; j < kCount / 4; ++j)
#pragma unroll
    for (int i = 0; i < 2; ++i) o[4 * j + 2 * i] *= rescale[i], o[4 * j + 2 * i + 1] *= rescale[i];
}

}  // namespace octavo::cuda
