// GELU and SwiGLU's product in fp32, as exact as rounding to T deserves: f32 gets the library's functions, 16-bit data the
// special-function unit. One definition for every op that has one fused in, so that the bits do not depend on where.
#pragma once
#include "cuda/ptx/convert.cuh"

namespace octavo::cuda {

// v / 2 (1 + tanh(sqrt(2 / pi) (v + 0.044715 v^3))), with (1 + tanh(z)) / 2 = 1 / (1 + exp(-2 z)).
// NOTE: -Inf gives NaN in both forms of GELU, as v * 0 does in the formula.
template <class T>
__device__ __forceinline__ float gelu_tanh(float v) {
  constexpr float kTwoRoot2OverPi = 1.5957691216f, kLog2E = 1.4426950409f;  // 2 sqrt(2 / pi)
  const float twice_z = v * kTwoRoot2OverPi * fmaf(0.044715f * v, v, 1.0f);
  if constexpr (sizeof(T) == 4) return __fdividef(v, 1.0f + expf(-twice_z));  // 2 ulp; IEEE division spilled
  return v * ptx::reciprocal_fast(1.0f + ptx::exp2_fast(twice_z * -kLog2E));
}

// v Phi(v). erff alone takes about 27 instructions. So 16-bit data gets Phi(-|v|) = exp(-v^2/2) t P(t) with
// t = 1 / (1 + 0.375 |v|) and P of degree 4 (the form of Abramowitz and Stegun 7.1.26, refitted to relative error 2.7e-5 over
// [0, 13], a nineteenth of fp16's rounding): 4 multiply-adds and two special functions.
template <class T>
__device__ __forceinline__ float gelu_erf(float v) {
  if constexpr (sizeof(T) == 4) return 0.5f * v * (1.0f + erff(v * 0.70710678f));
  constexpr float kRootHalfLog2E = 0.8493218003f;
  const float z = fabsf(v) * kRootHalfLog2E;  // exp(-v^2 / 2) = 2^(-z^2)
  const float t = ptx::reciprocal_fast(fmaf(z, 0.375f / kRootHalfLog2E, 1.0f));
  float p = fmaf(-0.09134646f, t, 0.20184664f);
  p = fmaf(p, t, 0.08235055f);
  p = fmaf(p, t, 0.15811768f);
  p = fmaf(p, t, 0.14901982f);
  const float below = p * ptx::exp2_fast(-z * z) * (t * fabsf(v));  // |v| Phi(-|v|)
  return fmaf(v, v > 0.0f ? 1.0f : 0.0f, -below);                   // v Phi(v) = max(v, 0) - |v| Phi(-|v|)
}

// gate * sigmoid(gate) * up. 16-bit data: the error of the special-function unit is 2^-9 of its rounding.
// NOTE: exp(-gate) may be Inf: gate / Inf is 0, and -Inf / Inf is NaN, as -Inf * sigmoid(-Inf) is.
template <class T>
__device__ __forceinline__ float silu_mul(float gate, float up) {
  if constexpr (sizeof(T) == 4) return gate / (1.0f + expf(-gate)) * up;
  return gate * ptx::reciprocal_fast(1.0f + ptx::exp2_fast(gate * -1.44269504f)) * up;
}

}  // namespace octavo::cuda
