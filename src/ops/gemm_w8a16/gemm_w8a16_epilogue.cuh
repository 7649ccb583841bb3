// From fp32 sums to y: scale and bias of the feature, one rounding, a store.
#pragma once
#include "cuda/vec.cuh"
#include "ops/gemm_w8a16/gemm_w8a16.h"

namespace octavo {

struct W8A16Output {
  const float* w_scale;  // [n]
  const float* bias;     // [n], or null
  void* y;               // [m, n]
  int64_t y_stride;      // elements
  DType y_type;          // f32, f16, bf16
  int m, n;
};

inline W8A16Output w8a16_output(const GemmW8A16Args& a) {
  return {.w_scale = static_cast<const float*>(a.w_scale.data()),
          .bias = static_cast<const float*>(a.bias.data()),
          .y = a.y.data(),
          .y_stride = a.y.stride(0),
          .y_type = a.y.dtype(),
          .m = static_cast<int>(a.x.dim(0)),
          .n = static_cast<int>(a.w.dim(0))};
}

// What a feature's sums become.
struct Feature {
  float scale = 0, bias = 0;

  [[maybe_unused]] __device__ __forceinline__ void load(const W8A16Output& out, int n) {
    scale = n < out.n ? out.w_scale[n] : 0.0f;
    bias = n < out.n && out.bias ? out.bias[n] : 0.0f;
  }
  [[maybe_unused]] __device__ __forceinline__ float of(float sum) const {
    return __fmaf_rn(sum, scale, bias);
  }
};

__device__ __forceinline__ void store_one(const W8A16Output& out, int64_t m, int64_t n, float value) {
  const int64_t at = m * out.y_stride + n;
  switch (out.y_type) {
    case DType::f16: cuda::store_element(static_cast<F16*>(out.y) + at, value); break;
    case DType::bf16: cuda::store_element(static_cast<BF16*>(out.y) + at, value); break;
    default: static_cast<float*>(out.y)[at] = value;
  }
}

}  // namespace octavo
