// Conversions that C++ has no name for.
#pragma once
#include <cstdint>

namespace octavo::cuda::ptx {

// Four values of at most 2^21, each rounded to the nearest even integer, its low byte, a in the lowest byte. The sum with
// 1.5 * 2^23 rounds: conversions to integers would take the special-function unit, an eighth of the rate.
__device__ __forceinline__ uint32_t pack_codes(float a, float b, float c, float d) {
  constexpr float kRound = 12582912.0f;
  const auto bits = [](float v) { return __float_as_uint(__fadd_rn(v, kRound)); };
  return __byte_perm(__byte_perm(bits(a), bits(b), 0x0040), __byte_perm(bits(c), bits(d), 0x0040), 0x5410);
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
