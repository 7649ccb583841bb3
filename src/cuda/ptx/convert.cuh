// Conversions that C++ has no name for.
#pragma once
#include <cstdint>

namespace octavo::cuda::ptx {

// Four values, each rounded to the nearest even integer and saturated to [-128, 127], a in the lowest byte; NaN gives 0.
__device__ __forceinline__ uint32_t pack_codes(float a, float b, float c, float d) {
  uint32_t high, all;
  asm("cvt.pack.sat.s8.s32.b32 %0, %1, %2, 0;" : "=r"(high) : "r"(__float2int_rn(d)), "r"(__float2int_rn(c)));
  asm("cvt.pack.sat.s8.s32.b32 %0, %1, %2, %3;" : "=r"(all) : "r"(__float2int_rn(b)), "r"(__float2int_rn(a)), "r"(high));
  return all;
}

// 2^x and 1/x by the special-function unit: relative error about 2^-22.
__device__ __forceinline__ float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
__device__ __forceinline__ float reciprocal_fast(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

}  // namespace octavo::cuda::ptx
