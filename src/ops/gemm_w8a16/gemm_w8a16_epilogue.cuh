// From fp32 sums to y: scale and bias of the feature, SiLU-mul, residual, one rounding, a store.
#pragma once
#include "cuda/ptx/convert.cuh"
#include "cuda/vec.cuh"
#include "ops/gemm_w8a16/gemm_w8a16.h"

namespace octavo {

struct W8A16Output {
  const float* w_scale;  // [n]
  const float* bias;     // [n], or null
  void* y;               // [m, columns]
  int64_t y_stride;      // elements
  DType y_type;          // f32, f16, bf16; the residual's too
  const void* residual;  // [m, columns], or null
  int64_t residual_stride;
  bool silu_mul;  // features are gate 0, up 0, gate 1, ..
  int m, n;       // n: features
  int columns;    // of y
};

inline W8A16Output w8a16_output(const GemmW8A16Args& a) {
  return {.w_scale = static_cast<const float*>(a.w_scale.data()),
          .bias = static_cast<const float*>(a.bias.data()),
          .y = a.y.data(),
          .y_stride = a.y.stride(0),
          .y_type = a.y.dtype(),
          .residual = a.residual.data(),
          .residual_stride = a.residual ? a.residual.stride(0) : 0,
          .silu_mul = a.silu_mul,
          .m = static_cast<int>(a.x.dim(0)),
          .n = static_cast<int>(a.w.dim(0)),
          .columns = static_cast<int>(a.y.dim(1))};
}

// What a feature's sums become.
struct Feature {
  float scale = 0, bias = 0;

  [[maybe_unused]] __device__ __forceinline__ void load(const W8A16Output& out, int64_t n) {
    scale = n < out.n ? out.w_scale[n] : 0.0f;
    bias = n < out.n && out.bias ? out.bias[n] : 0.0f;
  }
  [[maybe_unused]] __device__ __forceinline__ float of(float sum) const {
    return __fmaf_rn(sum, scale, bias);
  }
};

__device__ __forceinline__ float silu_mul(float gate, float up) {
  return gate * cuda::ptx::reciprocal_fast(1.0f + cuda::ptx::exp2_fast(gate * -1.44269504f)) * up;
}

__device__ __forceinline__ float load_any(const void* p, DType type, int64_t at) {
  if (type == DType::f16) return cuda::load_element(static_cast<const F16*>(p) + at);
  if (type == DType::bf16) return cuda::load_element(static_cast<const BF16*>(p) + at);
  return static_cast<const float*>(p)[at];
}

// Value `v` of token m and feature n, scaled; `partner` is feature n ^ 1's, for silu_mul.
__device__ __forceinline__ void store_one(const W8A16Output& out, int64_t m, int64_t n, float v,
                                          float partner) {
  if (out.silu_mul) {
    if (n % 2) return;
    v = silu_mul(v, partner), n /= 2;
  }
  if (out.residual) v += load_any(out.residual, out.y_type, m * out.residual_stride + n);
  const int64_t at = m * out.y_stride + n;
  switch (out.y_type) {
    case DType::f16: cuda::store_element(static_cast<F16*>(out.y) + at, v); break;
    case DType::bf16: cuda::store_element(static_cast<BF16*>(out.y) + at, v); break;
    default: static_cast<float*>(out.y)[at] = v;
  }
}

// The value of feature n ^ 1, `lanes` lanes away.
__device__ __forceinline__ float partner_of(const W8A16Output& out, float v, int lanes) {
  return out.silu_mul ? __shfl_xor_sync(~0u, v, lanes) : 0.0f;
}

}  // namespace octavo
