// Thread-to-data: a call is one row of D values; full vectors, then a tail through a zero-padded copy.
#include "ops/kv_append/kv_append_simd.h"

#include "simd/vec.h"

namespace octavo::OCTAVO_ISA {
namespace {

// The narrow stores take kLanes values at y; the tail of a row is staged, so that nothing past the slot is written.
OCTAVO_INLINE void store_f16(void* y, F32 x) {
#if defined(OCTAVO_ISA_avx512)
  _mm256_storeu_si256(static_cast<__m256i*>(y),
                      _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
#else
  _mm_storeu_si128(static_cast<__m128i*>(y),
                   _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
#endif
}

// Round to nearest even on the bits; NaN keeps its upper payload and is quietened (core/dtype.h to_bf16).
OCTAVO_INLINE void store_bf16(void* y, F32 x) {
#if defined(OCTAVO_ISA_avx512)
  const __m512i u = _mm512_castps_si512(x), high = _mm512_srli_epi32(u, 16);
  const __m512i odd = _mm512_and_si512(high, _mm512_set1_epi32(1));
  const __m512i rounded =
      _mm512_srli_epi32(_mm512_add_epi32(u, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff))), 16);
  const __m512i quiet = _mm512_or_si512(high, _mm512_set1_epi32(0x40));
  const __m512i bits = _mm512_mask_blend_epi32(_mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), rounded, quiet);
  _mm256_storeu_si256(static_cast<__m256i*>(y), _mm512_cvtepi32_epi16(bits));
#else
  const __m256i u = _mm256_castps_si256(x), high = _mm256_srli_epi32(u, 16);
  const __m256i odd = _mm256_and_si256(high, _mm256_set1_epi32(1));
  const __m256i rounded =
      _mm256_srli_epi32(_mm256_add_epi32(u, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff))), 16);
  const __m256i quiet = _mm256_or_si256(high, _mm256_set1_epi32(0x40));
  const __m256i bits =
      _mm256_blendv_epi8(rounded, quiet, _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q)));
  const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(bits, bits), 0x08);
  _mm_storeu_si128(static_cast<__m128i*>(y), _mm256_castsi256_si128(packed));
#endif
}

// clamp(rint_half_even(x * inverse), -127, 127). NOTE: x is finite here; rows with NaN or Inf are filled with zeros.
OCTAVO_INLINE void store_codes(void* y, F32 x, F32 inverse) {
  const F32 bound = set1(127.0f);
  const I32 q = to_int(max(sub(zero(), bound), min(bound, round_even(mul(x, inverse)))));
#if defined(OCTAVO_ISA_avx512)
  _mm_storeu_si128(static_cast<__m128i*>(y), _mm512_cvtepi32_epi8(q));
#else
  const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(q), _mm256_extracti128_si256(q, 1));
  _mm_storel_epi64(static_cast<__m128i*>(y), _mm_packs_epi16(words, words));
#endif
}

template <int64_t kBytes, class Store>
OCTAVO_INLINE void each_vector(const AppendRow& row, Store store_vector) {
  auto* y = static_cast<uint8_t*>(row.y);
  int64_t i = 0;
  for (; i + kLanes <= row.width; i += kLanes) store_vector(y + i * kBytes, load(row.x + i));
  if (i == row.width) return;
  uint8_t tail[kLanes * kBytes];
  store_vector(tail, load(row.x + i, first_lanes(row.width - i)));
  for (int64_t b = 0; b < (row.width - i) * kBytes; ++b) y[i * kBytes + b] = tail[b];
}

}  // namespace

void append_f16(const AppendRow& row) {
  each_vector<2>(
      row, [](uint8_t * y, F32 x) __attribute__((always_inline)) { store_f16(y, x); });
}

void append_bf16(const AppendRow& row) {
  each_vector<2>(
      row, [](uint8_t * y, F32 x) __attribute__((always_inline)) { store_bf16(y, x); });
}

float append_amax(const AppendRow& row) {
  F32 amax = zero(), poison = zero();  // poison: NaN in every lane that met a NaN or an Inf
  for (int64_t i = 0; i < row.width; i += kLanes) {
    const F32 x = row.width - i >= kLanes ? load(row.x + i) : load(row.x + i, first_lanes(row.width - i));
    amax =
        max(abs(x), amax);  // NOTE: max gives its second operand where either is NaN, so amax stays a number
    poison = add(poison, sub(x, x));
  }
  return largest(amax) + sum(poison);
}

void append_codes(const AppendRow& row, float inverse) {
  if (inverse == 0.0f) {
    auto* y = static_cast<int8_t*>(row.y);
    for (int64_t i = 0; i < row.width; ++i) y[i] = 0;
    return;
  }
  const F32 factor = set1(inverse);
  each_vector<1>(
      row, [factor](uint8_t * y, F32 x) __attribute__((always_inline)) { store_codes(y, x, factor); });
}

}  // namespace octavo::OCTAVO_ISA
