// Vectors of floats for one instruction set. A file that includes this is compiled once per set (CMake defines
// OCTAVO_ISA_avx2 or OCTAVO_ISA_avx512 and the flags); everything here and in such files lives in namespace
// octavo::OCTAVO_ISA, is forced inline, and uses no other inline function: else the linker could keep an AVX-512 copy of
// a shared inline function, and AVX2 machines would crash. tools/check_symbols.py verifies that with nm.
#pragma once
#include <immintrin.h>

#include <cstdint>

#if defined(OCTAVO_ISA_avx512)
#define OCTAVO_ISA avx512
#elif defined(OCTAVO_ISA_avx2)
#define OCTAVO_ISA avx2
#else
#error "simd/vec.h is for files that CMake compiles once per instruction set"
#endif
#define OCTAVO_INLINE static inline __attribute__((always_inline))

namespace octavo::OCTAVO_ISA {

#if defined(OCTAVO_ISA_avx512)

inline constexpr int kLanes = 16;
using F32 = __m512;
using I32 = __m512i;
using Mask = __mmask16;

OCTAVO_INLINE F32 set1(float x) { return _mm512_set1_ps(x); }
OCTAVO_INLINE F32 zero() { return _mm512_setzero_ps(); }
OCTAVO_INLINE Mask first_lanes(int64_t n) { return static_cast<Mask>(n >= kLanes ? 0xffff : (1u << n) - 1); }
OCTAVO_INLINE F32 load(const float* p) { return _mm512_loadu_ps(p); }
OCTAVO_INLINE F32 load(const float* p, Mask m) { return _mm512_maskz_loadu_ps(m, p); }
OCTAVO_INLINE void store(float* p, F32 v) { _mm512_storeu_ps(p, v); }
OCTAVO_INLINE void store(float* p, F32 v, Mask m) { _mm512_mask_storeu_ps(p, m, v); }
OCTAVO_INLINE F32 add(F32 a, F32 b) { return _mm512_add_ps(a, b); }
OCTAVO_INLINE F32 sub(F32 a, F32 b) { return _mm512_sub_ps(a, b); }
OCTAVO_INLINE F32 mul(F32 a, F32 b) { return _mm512_mul_ps(a, b); }
OCTAVO_INLINE F32 div(F32 a, F32 b) { return _mm512_div_ps(a, b); }
OCTAVO_INLINE F32 fma(F32 a, F32 b, F32 c) { return _mm512_fmadd_ps(a, b, c); }  // a*b + c
OCTAVO_INLINE F32 max(F32 a, F32 b) { return _mm512_max_ps(a, b); }              // b where either is NaN
OCTAVO_INLINE F32 min(F32 a, F32 b) { return _mm512_min_ps(a, b); }
OCTAVO_INLINE F32 abs(F32 a) { return _mm512_abs_ps(a); }
OCTAVO_INLINE F32 round_even(F32 a) {
  return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
OCTAVO_INLINE F32 from_codes(const int8_t* p) {
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}
OCTAVO_INLINE F32 from_f16(const uint16_t* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
OCTAVO_INLINE F32 from_bf16(const uint16_t* p) {
  return _mm512_castsi512_ps(
      _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))), 16));
}
OCTAVO_INLINE float sum(F32 v) { return _mm512_reduce_add_ps(v); }
OCTAVO_INLINE float largest(F32 v) { return _mm512_reduce_max_ps(v); }
OCTAVO_INLINE I32 to_int(F32 v) { return _mm512_cvtps_epi32(v); }
OCTAVO_INLINE F32 scale_by_power_of_2(F32 v, F32 whole) { return _mm512_scalef_ps(v, whole); }  // v * 2^whole
OCTAVO_INLINE F32 select_negative(F32 test, F32 yes, F32 no) {  // by test's sign bit
  return _mm512_mask_blend_ps(_mm512_movepi32_mask(_mm512_castps_si512(test)), no, yes);
}
OCTAVO_INLINE F32 keep(F32 v, Mask m) { return _mm512_maskz_mov_ps(m, v); }  // 0 in the other lanes
OCTAVO_INLINE F32 sqrt(F32 v) { return _mm512_sqrt_ps(v); }
OCTAVO_INLINE F32 swap_pairs(F32 v) { return _mm512_permute_ps(v, 0xb1); }  // lanes 1 0 3 2 ...
// True when any lane of a is unordered with itself or infinite.
OCTAVO_INLINE bool any_not_finite(F32 v) { return _mm512_fpclass_ps_mask(v, 0x99) != 0; }

#else

inline constexpr int kLanes = 8;
using F32 = __m256;
using I32 = __m256i;
using Mask = __m256i;

OCTAVO_INLINE F32 set1(float x) { return _mm256_set1_ps(x); }
OCTAVO_INLINE F32 zero() { return _mm256_setzero_ps(); }
OCTAVO_INLINE Mask first_lanes(int64_t n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n > kLanes ? kLanes : n)),
                            _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
OCTAVO_INLINE F32 load(const float* p) { return _mm256_loadu_ps(p); }
OCTAVO_INLINE F32 load(const float* p, Mask m) { return _mm256_maskload_ps(p, m); }
OCTAVO_INLINE void store(float* p, F32 v) { _mm256_storeu_ps(p, v); }
OCTAVO_INLINE void store(float* p, F32 v, Mask m) { _mm256_maskstore_ps(p, m, v); }
OCTAVO_INLINE F32 add(F32 a, F32 b) { return _mm256_add_ps(a, b); }
OCTAVO_INLINE F32 sub(F32 a, F32 b) { return _mm256_sub_ps(a, b); }
OCTAVO_INLINE F32 mul(F32 a, F32 b) { return _mm256_mul_ps(a, b); }
OCTAVO_INLINE F32 div(F32 a, F32 b) { return _mm256_div_ps(a, b); }
OCTAVO_INLINE F32 fma(F32 a, F32 b, F32 c) { return _mm256_fmadd_ps(a, b, c); }  // a*b + c
OCTAVO_INLINE F32 max(F32 a, F32 b) { return _mm256_max_ps(a, b); }              // b where either is NaN
OCTAVO_INLINE F32 min(F32 a, F32 b) { return _mm256_min_ps(a, b); }
OCTAVO_INLINE F32 abs(F32 a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
OCTAVO_INLINE F32 round_even(F32 a) {
  return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
OCTAVO_INLINE F32 from_codes(const int8_t* p) {
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
}
OCTAVO_INLINE F32 from_f16(const uint16_t* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
OCTAVO_INLINE F32 from_bf16(const uint16_t* p) {
  return _mm256_castsi256_ps(
      _mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))), 16));
}
OCTAVO_INLINE float sum(F32 v) {
  const __m128 half = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  const __m128 pair = _mm_add_ps(half, _mm_movehl_ps(half, half));
  return _mm_cvtss_f32(_mm_add_ss(pair, _mm_movehdup_ps(pair)));
}
OCTAVO_INLINE float largest(F32 v) {
  const __m128 half = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  const __m128 pair = _mm_max_ps(half, _mm_movehl_ps(half, half));
  return _mm_cvtss_f32(_mm_max_ss(pair, _mm_movehdup_ps(pair)));
}
OCTAVO_INLINE I32 to_int(F32 v) { return _mm256_cvtps_epi32(v); }
OCTAVO_INLINE F32 scale_by_power_of_2(F32 v, F32 whole) {  // v * 2^whole, -126 <= whole <= 127
  const __m256i exponent =
      _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(whole), _mm256_set1_epi32(127)), 23);
  return _mm256_mul_ps(v, _mm256_castsi256_ps(exponent));
}
OCTAVO_INLINE F32 select_negative(F32 test, F32 yes, F32 no) {
  return _mm256_blendv_ps(no, yes, test);
}  // by test's sign bit
OCTAVO_INLINE F32 keep(F32 v, Mask m) {
  return _mm256_and_ps(v, _mm256_castsi256_ps(m));
}  // 0 in the other lanes
OCTAVO_INLINE F32 sqrt(F32 v) { return _mm256_sqrt_ps(v); }
OCTAVO_INLINE F32 swap_pairs(F32 v) { return _mm256_permute_ps(v, 0xb1); }  // lanes 1 0 3 2 ...
OCTAVO_INLINE bool any_not_finite(F32 v) {
  const F32 difference = _mm256_sub_ps(v, v);  // NaN for NaN and Inf
  return _mm256_movemask_ps(_mm256_cmp_ps(difference, difference, _CMP_UNORD_Q)) != 0;
}

#endif

// NOTE: vector stores may alias anything, so a kernel that reads its argument struct through a reference reads it again
// after every store. Inner functions take such structs by value.

// A row in whole vectors and one rest: body(i, n) for the n <= kLanes elements at i. NOTE: masked moves are slow on Zen, so
// whole vectors must not use them: load_lanes and store_lanes choose by n, which is a constant where body is inlined.
template <class Body>
OCTAVO_INLINE void for_lanes(int64_t width, const Body& body) {
  int64_t i = 0;
  for (; i + kLanes <= width; i += kLanes) body(i, int64_t{kLanes});
  if (i < width) body(i, width - i);
}
OCTAVO_INLINE F32 load_lanes(const float* p, int64_t n) {
  return n >= kLanes ? load(p) : load(p, first_lanes(n));
}
OCTAVO_INLINE void store_lanes(float* p, F32 v, int64_t n) {
  n >= kLanes ? store(p, v) : store(p, v, first_lanes(n));
}

// e^x within 2 ulp for x in [-87, 88]; below -87 it gives 0 (softmax needs that), above 88 it saturates; NaN gives NaN.
OCTAVO_INLINE F32 exp(F32 x) {
  const F32 clamped = max(set1(-87.3f), min(set1(88.0f), x));
  const F32 whole = round_even(mul(clamped, set1(1.44269504f)));
  F32 r = fma(whole, set1(-0.693359375f), clamped);
  r = fma(whole, set1(2.12194440e-4f), r);
  F32 p = set1(1.9875691500e-4f);
  p = fma(p, r, set1(1.3981999507e-3f));
  p = fma(p, r, set1(8.3334519073e-3f));
  p = fma(p, r, set1(4.1665795894e-2f));
  p = fma(p, r, set1(1.6666665459e-1f));
  p = fma(p, r, set1(5.0000001201e-1f));
  p = add(fma(mul(p, r), r, r), set1(1.0f));
  const F32 result = scale_by_power_of_2(p, whole);
#if defined(OCTAVO_ISA_avx512)
  return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(x, set1(-87.3f), _CMP_LT_OQ), result, zero());
#else
  return _mm256_andnot_ps(_mm256_cmp_ps(x, set1(-87.3f), _CMP_LT_OQ), result);
#endif
}

}  // namespace octavo::OCTAVO_ISA
