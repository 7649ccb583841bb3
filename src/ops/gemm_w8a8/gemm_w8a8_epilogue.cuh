// From s32 sums to y: scales, bias, one rounding, stores. The same three operations in every kernel, so the same bits.
#pragma once
#include <type_traits>

#include "cuda/ptx/warpgroup.cuh"
#include "cuda/vec.cuh"
#include "ops/gemm_w8a8/gemm_w8a8.h"
#include "ops/gemm_w8a8/gemm_w8a8_tiles.h"

namespace octavo {

// The scales and the output of one call; null scales with i32 output.
struct Int8Output {
  const float* x_scale;  // [m]
  const float* w_scale;  // [n]
  const float* bias;     // [n], or null
  void* y;               // [m, n]
  int64_t y_stride;      // elements
  DType y_type;
  int m, n;
  bool aligned;  // every row of y starts on 16 bytes
};

inline Int8Output int8_output(const GemmW8A8Args& a) {
  const int64_t row_bytes = a.y.stride(0) * size_of(a.y.dtype());
  return {.x_scale = static_cast<const float*>(a.x_scale.data()),
          .w_scale = static_cast<const float*>(a.w_scale.data()),
          .bias = static_cast<const float*>(a.bias.data()),
          .y = a.y.data(),
          .y_stride = a.y.stride(0),
          .y_type = a.y.dtype(),
          .m = static_cast<int>(a.x.dim(0)),
          .n = static_cast<int>(a.w.dim(0)),
          .aligned =
              reinterpret_cast<uintptr_t>(a.y.data()) % 16 == 0 && (a.x.dim(0) <= 1 || row_bytes % 16 == 0)};
}

template <class Y>
__device__ __forceinline__ Y* y_at(const Int8Output& out, int row, int column) {
  return static_cast<Y*>(out.y) + row * out.y_stride + column;
}

__device__ __forceinline__ float scaled(int32_t acc, float w_scale, float x_scale, float bias) {
  return __fmaf_rn(__fmul_rn(__int2float_rn(acc), w_scale), x_scale, bias);
}
template <class Y>
__device__ __forceinline__ Y finished(int32_t acc, float w_scale, float x_scale, float bias) {
  if constexpr (std::is_same_v<Y, int32_t>) {
    return acc;
  } else {
    Y y;
    cuda::store_element(&y, scaled(acc, w_scale, x_scale, bias));
    return y;
  }
}

// (scale, bias) of kCount columns from global to shared memory by the kThreads of a warpgroup or two: loaded before the
// product, which hides the latency, and published after it.
template <int kCount, int kThreads>
class ColumnScales {
 public:
  __device__ __forceinline__ ColumnScales(const Int8Output& out, int first, int thread) : thread_(thread) {
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      const int column = first + thread + i * kThreads;
      const bool exists = thread + i * kThreads < kCount && column < out.n && out.w_scale;
      value_[i] = {exists ? out.w_scale[column] : 0.0f, exists && out.bias ? out.bias[column] : 0.0f};
    }
  }
  // All threads; `barrier` is theirs alone.
  __device__ __forceinline__ void publish(float2* shared, int barrier) const {
    cuda::ptx::named_barrier_sync(barrier, kThreads);  // nobody reads those of the tile before any more
#pragma unroll
    for (int i = 0; i < kEach; ++i)
      if (thread_ + i * kThreads < kCount) shared[thread_ + i * kThreads] = value_[i];
    cuda::ptx::named_barrier_sync(barrier, kThreads);
  }

 private:
  static constexpr int kEach = (kCount + kThreads - 1) / kThreads;
  int thread_;
  float2 value_[kEach];
};

// 16 bytes of a row of y, from `column` on.
template <class Y>
__device__ __forceinline__ void store_vector(const Int8Output& out, int row, int column, uint4 vector) {
  constexpr int kElements = 16 / sizeof(Y);
  Y* y = y_at<Y>(out, row, column);
  if (out.aligned && column + kElements <= out.n) {
    cuda::ptx::store(reinterpret_cast<uint4*>(y), vector);
  } else {
    alignas(16) Y v[kElements];
    *reinterpret_cast<uint4*>(v) = vector;
#pragma unroll
    for (int i = 0; i < kElements; ++i)
      if (column + i < out.n) y[i] = v[i];
  }
}

// One output.
__device__ __forceinline__ void store_one(const Int8Output& out, int64_t row, int64_t column, int acc,
                                          float w_scale, float x_scale, float bias) {
  const int64_t at = row * out.y_stride + column;
  switch (out.y_type) {
    case DType::f32: static_cast<float*>(out.y)[at] = finished<float>(acc, w_scale, x_scale, bias); break;
    case DType::f16: static_cast<F16*>(out.y)[at] = finished<F16>(acc, w_scale, x_scale, bias); break;
    case DType::bf16: static_cast<BF16*>(out.y)[at] = finished<BF16>(acc, w_scale, x_scale, bias); break;
    default: static_cast<int32_t*>(out.y)[at] = acc;
  }
}

// A warp's 16 rows x 2 kCount columns of sums in the layout of wgmma (ptx/wgmma_s8.cuh) to y, from (row, column) on.
// x_scale: of rows lane / 4 and lane / 4 + 8; columns: (scale, bias) of the columns, in shared memory.
// They go through the warp's 2 KB of shared memory in chunks of 16 rows x 128 bytes, to be stored in whole rows. (Parts
// of 16 bytes permuted, place_in_rows_of_128.)
template <class Y, int kCount>
__device__ __forceinline__ void store_sums(const Int8Output& out, int row, int column,
                                           const int32_t (&acc)[kCount], const float (&x_scale)[2],
                                           const float2* columns, uint4* staging) {
  constexpr int kColumns = 128 / sizeof(Y), kEights = kColumns / 8;  // of a chunk
  const int lane = static_cast<int>(threadIdx.x) % 32, pair = lane % 4 * 2;
  char* bytes = reinterpret_cast<char*>(staging);
  const auto scaled_pair = [&](int j,
                               int half) {  // columns 8 j + pair and the next, of row lane / 4 + 8 half
    const float4 c = *reinterpret_cast<const float4*>(columns + 8 * j + pair);
    return make_float2(scaled(acc[4 * j + 2 * half], c.x, x_scale[half], c.y),
                       scaled(acc[4 * j + 2 * half + 1], c.z, x_scale[half], c.w));
  };
#pragma unroll
  for (int chunk = 0; chunk < 2 * kCount / kColumns; ++chunk) {
    if (column + kColumns * chunk >= out.n) break;
    const int first = kEights * chunk;
    __syncwarp();  // the chunk before has left the staging memory
    if constexpr (sizeof(Y) == 2) {
#pragma unroll
      for (int j = 0; j < kEights; j += 2) {
        uint32_t words[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const float2 v = scaled_pair(first + j + i / 2, i % 2);
          words[i] = cuda::pack_pair(v.x, v.y, Y{});
        }
        cuda::ptx::store_matrices(bytes + place_in_rows_of_128(lane % 16, j + lane / 16), words);
      }
    } else {
#pragma unroll
      for (int j = 0; j < kEights; ++j)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          int2 v = make_int2(acc[4 * (first + j) + 2 * half], acc[4 * (first + j) + 2 * half + 1]);
          if constexpr (std::is_same_v<Y, float>) {
            const float2 f = scaled_pair(first + j, half);
            v = make_int2(__float_as_int(f.x), __float_as_int(f.y));
          }
          char* at = bytes + place_in_rows_of_128(lane / 4 + 8 * half, 2 * j + pair / 4) + pair % 4 * 4;
          *reinterpret_cast<int2*>(at) = v;
        }
    }
    __syncwarp();
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int r = 4 * i + lane / 8, part = lane % 8;
      const uint4 vector = *reinterpret_cast<const uint4*>(bytes + place_in_rows_of_128(r, part));
      if (row + r < out.m)
        store_vector<Y>(out, row + r, column + kColumns * chunk + part * (16 / static_cast<int>(sizeof(Y))),
                        vector);
    }
  }
}

}  // namespace octavo
