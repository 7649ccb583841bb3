// The quantiser of core/quantizer.h over vectors: the same bits. For files that are compiled once per
// instruction set (see simd/vec.h for why nothing of core/quantizer.h is called here).
#pragma once
#include "simd/vec.h"

namespace octavo::OCTAVO_ISA {

// Largest magnitude as bit patterns: NaN above Inf above every number, so that neither is lost.
#if defined(OCTAVO_ISA_avx512)
OCTAVO_INLINE F32 max_magnitude(F32 amax, F32 v) {
  return _mm512_castsi512_ps(_mm512_max_epi32(_mm512_castps_si512(amax), _mm512_castps_si512(abs(v))));
}
OCTAVO_INLINE float largest_magnitude(F32 amax) {
  const int bits = _mm512_reduce_max_epi32(_mm512_castps_si512(amax));
  return _mm_cvtss_f32(_mm_castsi128_ps(_mm_cvtsi32_si128(bits)));
}
OCTAVO_INLINE I32 zero_codes() { return _mm512_setzero_si512(); }
OCTAVO_INLINE I32 add_codes(I32 a, I32 b) { return _mm512_add_epi32(a, b); }
OCTAVO_INLINE int32_t sum_codes(I32 v) { return _mm512_reduce_add_epi32(v); }
OCTAVO_INLINE void store_codes(int8_t* p, I32 v) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(v));
}
OCTAVO_INLINE void store_codes(int8_t* p, I32 v, int64_t n) {
  _mm_mask_storeu_epi8(p, first_lanes(n), _mm512_cvtepi32_epi8(v));
}
#else
OCTAVO_INLINE F32 max_magnitude(F32 amax, F32 v) {
  return _mm256_castsi256_ps(_mm256_max_epi32(_mm256_castps_si256(amax), _mm256_castps_si256(abs(v))));
}
OCTAVO_INLINE float largest_magnitude(F32 amax) {
  const __m256i v = _mm256_castps_si256(amax);
  __m128i m = _mm_max_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0x4e));
  m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0xb1));
  return _mm_cvtss_f32(_mm_castsi128_ps(m));
}
OCTAVO_INLINE I32 zero_codes() { return _mm256_setzero_si256(); }
OCTAVO_INLINE I32 add_codes(I32 a, I32 b) { return _mm256_add_epi32(a, b); }
OCTAVO_INLINE int32_t sum_codes(I32 v) {
  __m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1)));
}
OCTAVO_INLINE __m128i narrow_codes(I32 v) {  // 8 bytes
  const __m128i half = _mm_packs_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  return _mm_packs_epi16(half, half);
}
OCTAVO_INLINE void store_codes(int8_t* p, I32 v) {
  _mm_storel_epi64(reinterpret_cast<__m128i*>(p), narrow_codes(v));
}
OCTAVO_INLINE void store_codes(int8_t* p, I32 v, int64_t n) {
  int64_t bytes = _mm_cvtsi128_si64(narrow_codes(v));
  for (int64_t i = 0; i < n; ++i, bytes >>= 8) p[i] = static_cast<int8_t>(bytes);
}
#endif

// row_coding() of core/quantizer.h.
struct Coding {
  float scale, inverse;
};
OCTAVO_INLINE Coding coding_of(float amax) {
  if (!(amax <= 3.402823466e38f)) return {__builtin_nanf(""), 0.0f};
  if (amax < 0x1p-120f) return {1.0f, 0.0f};
  return {amax / 127.0f, 127.0f / amax};
}

// Codes of one row whose values `value(i, n)` gives for the n lanes at i (lanes from n on are not stored, and
// must be 0 when the sum is used). Returns the sum of the codes. NOTE: |x * (127 / amax)| < 127.001 after
// three roundings, so the clamp of the definition never acts and is not here.
template <class Value>
OCTAVO_INLINE int32_t write_codes(int8_t* codes, int64_t width, float inverse, const Value& value) {
  if (inverse == 0.0f) {  // zero rows, and rows with NaN or Inf
    for (int64_t i = 0; i < width; ++i) codes[i] = 0;
    return 0;
  }
  const F32 factor = set1(inverse);
  I32 total = zero_codes();
  int64_t i = 0;
  for (; i + kLanes <= width; i += kLanes) {
    const I32 code = to_int(mul(value(i, kLanes), factor));
    total = add_codes(total, code);
    store_codes(codes + i, code);
  }
  if (i < width) {
    const I32 code = to_int(mul(value(i, width - i), factor));
    total = add_codes(total, code);
    store_codes(codes + i, code, width - i);
  }
  return sum_codes(total);
}

// Quantises one row of values that are dear to compute: the first kKept are kept on the stack between the two passes.
template <class Value>
OCTAVO_INLINE void quantize_computed(int8_t* codes, float* scale, int64_t width, const Value& value) {
  constexpr int64_t kKept = 16384;  // 64 KiB
  alignas(64) float kept[kKept];
  F32 amax = zero();
  for_lanes(
      width, [&](int64_t i, int64_t n) __attribute__((always_inline)) {
        const F32 v = value(i, n);
        if (i < kKept) store(kept + i, v);
        amax = max_magnitude(amax, v);
      });
  const Coding coding = coding_of(largest_magnitude(amax));
  *scale = coding.scale;
  write_codes(
      codes, width, coding.inverse, [&](int64_t i, int64_t n) __attribute__((always_inline)) {
        return i < kKept ? load(kept + i) : value(i, n);
      });
}

}  // namespace octavo::OCTAVO_ISA
