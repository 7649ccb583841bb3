// Conversions and other arithmetic that C++ has no name for.
#pragma once
#include <cstdint>

namespace octavo::cuda::ptx {

// Four values of at most 127.5, each rounded to the nearest even integer, a in the lowest byte.
// NOTE: from sm_89 on the six conversions become two instructions. Before, a conversion to an integer takes the
// special-function unit, an eighth of the rate, so there the sum with 1.5 * 2^23 rounds; the bits are the same.
__device__ __forceinline__ uint32_t pack_codes(float a, float b, float c, float d) {
#if __CUDA_ARCH__ >= 890
  const auto rounded = [](float v) {
    int i;
    asm("cvt.rni.s32.f32 %0, %1;" : "=r"(i) : "f"(v));
    return i;
  };
  const auto pair_before = [](int high, int low, uint32_t rest) {
    uint32_t packed;
    asm("cvt.pack.sat.s8.s32.b32 %0, %1, %2, %3;" : "=r"(packed) : "r"(high), "r"(low), "r"(rest));
    return packed;
  };
  return pair_before(rounded(b), rounded(a), pair_before(rounded(d), rounded(c), 0));
#else
  constexpr float kRound = 12582912.0f;
  const auto bits = [](float v) { return __float_as_uint(__fadd_rn(v, kRound)); };
  return __byte_perm(__byte_perm(bits(a), bits(b), 0x0040), __byte_perm(bits(c), bits(d), 0x0040), 0x5410);
#endif
}

// Four values of at least 0, rounded to the nearest even integer of at most 255, a in the lowest byte.
// `zero` is 0: codes that must not be made before something else is known take a 0 computed from that.
// NOTE: NaN gives 0, below sm_89 255. There the product with 2^-149 rounds: the bits of a denormal are the integer.
__device__ __forceinline__ uint32_t pack_unsigned_codes(float a, float b, float c, float d,
                                                        uint32_t zero = 0) {
  const auto rounded = [](float v) {
#if __CUDA_ARCH__ >= 890
    int i;
    asm("cvt.rni.s32.f32 %0, %1;" : "=r"(i) : "f"(v));
    return i;
#else
    return __float_as_int(__fmul_rn(v, 0x1p-149f));
#endif
  };
  const auto pair_before = [](int high, int low, uint32_t rest) {
    uint32_t packed;
    asm("cvt.pack.sat.u8.s32.b32 %0, %1, %2, %3;" : "=r"(packed) : "r"(high), "r"(low), "r"(rest));
    return packed;
  };
  return pair_before(rounded(b), rounded(a), pair_before(rounded(d), rounded(c), zero));
}

// The larger of two values; NaN counts as largest.
__device__ __forceinline__ float larger(float a, float b) {
  float m;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(m) : "f"(a), "f"(b));
  return m;
}

// The larger of a and |b|; NaN counts as largest.
__device__ __forceinline__ float largest_magnitude(float a, float b) {
  float m;
  asm("{.reg .f32 t; abs.f32 t, %2; max.NaN.f32 %0, %1, t;}" : "=f"(m) : "f"(a), "f"(b));
  return m;
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
