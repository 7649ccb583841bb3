// Sine and cosine over vectors, absolute error below 7e-8 for |x| <= 2^17; the caller checks the range.
#pragma once
#include "simd/vec.h"

namespace octavo::OCTAVO_ISA {

inline constexpr float kLargestAngle = 0x1p17f;

struct SinCos {
  F32 sin, cos;
};

OCTAVO_INLINE SinCos sin_cos(F32 x) {
  // x = quarter * pi/2 + r + low with |r| <= pi/4. The first step is exact: quarter * 1.5707964f and x are multiples of
  // 2^-23 and their difference is below 1; the others subtract what pi/2 has beyond 24 bits, and `low` is what the
  // rounding of r lost.
  const F32 quarter = round_even(mul(x, set1(0.63661977f)));
  const F32 coarse = fma(quarter, set1(-1.57079637f), x);
  const F32 r = fma(quarter, set1(4.37113883e-8f), coarse);
  const F32 low = fma(quarter, set1(1.71512489e-15f), fma(quarter, set1(4.37113883e-8f), sub(coarse, r)));
  const F32 r2 = mul(r, r), half = mul(set1(0.5f), r2), whole = sub(set1(1.0f), half);
  F32 s = fma(r2, set1(-1.9515295891e-4f), set1(8.3321608736e-3f));
  s = fma(r2, s, set1(-1.6666654611e-1f));
  s = add(r, fma(mul(r, r2), s, mul(low, whole)));
  F32 c = fma(r2, set1(2.443315711809948e-5f), set1(-1.388731625493765e-3f));
  c = fma(r2, c, set1(4.166664568298827e-2f));
  const F32 lost = sub(sub(set1(1.0f), whole), half);  // of 1 - r^2/2
  c = add(whole, fma(mul(r2, r2), c, sub(lost, mul(r, low))));
  // Odd quarters swap sine and cosine; bit 1 of the quarter negates sine, of quarter + 1 cosine. The sign bit of a lane
  // is where both decisions are moved to.
#if defined(OCTAVO_ISA_avx512)
  const __m512i n = to_int(quarter), sign = _mm512_set1_epi32(static_cast<int>(0x80000000u));
  const auto as_float = [](__m512i v) { return _mm512_castsi512_ps(v); };
  const auto flip = [&](F32 v, __m512i k) {
    return _mm512_xor_ps(v, as_float(_mm512_and_si512(_mm512_slli_epi32(k, 30), sign)));
  };
  const F32 odd = as_float(_mm512_slli_epi32(n, 31));
  return {flip(select_negative(odd, c, s), n),
          flip(select_negative(odd, s, c), _mm512_add_epi32(n, _mm512_set1_epi32(1)))};
#else
  const __m256i n = to_int(quarter), sign = _mm256_set1_epi32(static_cast<int>(0x80000000u));
  const auto as_float = [](__m256i v) { return _mm256_castsi256_ps(v); };
  const auto flip = [&](F32 v, __m256i k) {
    return _mm256_xor_ps(v, as_float(_mm256_and_si256(_mm256_slli_epi32(k, 30), sign)));
  };
  const F32 odd = as_float(_mm256_slli_epi32(n, 31));
  return {flip(select_negative(odd, c, s), n),
          flip(select_negative(odd, s, c), _mm256_add_epi32(n, _mm256_set1_epi32(1)))};
#endif
}

}  // namespace octavo::OCTAVO_ISA
