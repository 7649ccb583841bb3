// Rows of an accumulator (laid out as in attention_softmax.cuh) to global memory in 16-bit floats, 16 bytes a lane: the
// quad that owns a row transposes its words in registers, so that no shared memory is needed.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/ptx/global_memory.cuh"
#include "cuda/vec.cuh"

namespace octavo::cuda {

// Lane c of a quad gives word w[i] of column block i and gets the four words of block c: a 4 x 4 transposition.
__device__ __forceinline__ uint4 transpose_quad(const uint32_t (&w)[4]) {
  const int lane = static_cast<int>(threadIdx.x) % 4;
  const bool odd = lane & 1, high = lane & 2;
  uint32_t t[4];
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const uint32_t got = __shfl_xor_sync(~0u, odd ? w[2 * i] : w[2 * i + 1], 1);
    t[2 * i] = odd ? got : w[2 * i], t[2 * i + 1] = odd ? w[2 * i + 1] : got;
  }
  uint32_t r[4];
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const uint32_t got = __shfl_xor_sync(~0u, high ? t[i] : t[2 + i], 2);
    r[i] = high ? got : t[i], r[2 + i] = high ? t[2 + i] : got;
  }
  return make_uint4(r[0], r[1], r[2], r[3]);
}

// out[i]: row lane / 4 + 8 i of the warp, 16-byte aligned, null: not stored. kCount / 2 columns, a multiple of 32; only those
// below `width` (a multiple of 8) are stored.
template <class T, int kCount>
__device__ __forceinline__ void store_rows(const float (&o)[kCount], const float (&factor)[2],
                                           T* const (&out)[2], int width = kCount / 2) {
  const int lane = static_cast<int>(threadIdx.x) % 4;
#pragma unroll
  for (int i = 0; i < 2; ++i)
#pragma unroll
    for (int block = 0; block < kCount / 4; block += 4) {
      uint32_t words[4];
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const float* pair = o + 4 * (block + j) + 2 * i;
        words[j] = pack_pair(pair[0] * factor[i], pair[1] * factor[i], T{});
      }
      const uint4 octet = transpose_quad(words);
      const int column = 8 * (block + lane);
      if (out[i] && column < width) ptx::store(reinterpret_cast<uint4*>(out[i] + column), octet);
    }
}

}  // namespace octavo::cuda
