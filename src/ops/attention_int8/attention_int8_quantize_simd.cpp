// Rows of q and k: a row's largest value, then its codes. A tile of v: largest values with a lane for each channel, then 16
// keys at a time: codes of four keys as the bytes of a lane, in the order of the slots, and 4 x 4 such lanes transposed.
// Bound: reading the floats.
#include "ops/attention_int8/attention_int8_quantize_simd.h"

#include "simd/quantize.h"
#include "simd/vec.h"

namespace octavo::OCTAVO_ISA {
namespace {

constexpr int64_t kPageKeys = 64, kMostDim = 256;

template <Int8Element kElement>
OCTAVO_INLINE F32 load_element(const void* p, int64_t i) {
  if constexpr (kElement == Int8Element::f32) return load(static_cast<const float*>(p) + i);
  if constexpr (kElement == Int8Element::f16) return from_f16(static_cast<const uint16_t*>(p) + i);
  if constexpr (kElement == Int8Element::bf16) return from_bf16(static_cast<const uint16_t*>(p) + i);
}

#if defined(OCTAVO_ISA_avx512)
OCTAVO_INLINE Mask not_zero(F32 v) { return _mm512_cmp_ps_mask(v, zero(), _CMP_NEQ_OQ); }
// Byte b of a lane: the code of c[b].
OCTAVO_INLINE I32 bytes_of(const I32 (&c)[4]) {
  const I32 byte = _mm512_set1_epi32(0xff);
  const I32 low =
      _mm512_or_si512(_mm512_and_si512(c[0], byte), _mm512_slli_epi32(_mm512_and_si512(c[1], byte), 8));
  const I32 high = _mm512_or_si512(_mm512_and_si512(c[2], byte), _mm512_slli_epi32(c[3], 8));
  return _mm512_or_si512(low, _mm512_slli_epi32(high, 16));
}
// Lane j of steps[i] becomes lane i of the 16 bytes at `to` + j * kPageKeys.
OCTAVO_INLINE void store_columns(int8_t* to, const I32 (&steps)[4]) {
  const I32 a = _mm512_unpacklo_epi32(steps[0], steps[1]), b = _mm512_unpackhi_epi32(steps[0], steps[1]);
  const I32 c = _mm512_unpacklo_epi32(steps[2], steps[3]), d = _mm512_unpackhi_epi32(steps[2], steps[3]);
  const I32 column[4] = {_mm512_unpacklo_epi64(a, c), _mm512_unpackhi_epi64(a, c),
                         _mm512_unpacklo_epi64(b, d),
                         _mm512_unpackhi_epi64(b, d)};  // channels i, 4 + i, 8 + i, 12 + i
  const auto put = [&](int64_t channel, __m128i v) __attribute__((always_inline)) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to + channel * kPageKeys), v);
  };
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    put(i, _mm512_castsi512_si128(column[i])), put(4 + i, _mm512_extracti32x4_epi32(column[i], 1));
    put(8 + i, _mm512_extracti32x4_epi32(column[i], 2)), put(12 + i, _mm512_extracti32x4_epi32(column[i], 3));
  }
}
#else
OCTAVO_INLINE Mask not_zero(F32 v) { return _mm256_castps_si256(_mm256_cmp_ps(v, zero(), _CMP_NEQ_OQ)); }
OCTAVO_INLINE I32 bytes_of(const I32 (&c)[4]) {
  const I32 byte = _mm256_set1_epi32(0xff);
  const I32 low =
      _mm256_or_si256(_mm256_and_si256(c[0], byte), _mm256_slli_epi32(_mm256_and_si256(c[1], byte), 8));
  const I32 high = _mm256_or_si256(_mm256_and_si256(c[2], byte), _mm256_slli_epi32(c[3], 8));
  return _mm256_or_si256(low, _mm256_slli_epi32(high, 16));
}
OCTAVO_INLINE void store_columns(int8_t* to, const I32 (&steps)[4]) {
  const I32 a = _mm256_unpacklo_epi32(steps[0], steps[1]), b = _mm256_unpackhi_epi32(steps[0], steps[1]);
  const I32 c = _mm256_unpacklo_epi32(steps[2], steps[3]), d = _mm256_unpackhi_epi32(steps[2], steps[3]);
  const I32 column[4] = {_mm256_unpacklo_epi64(a, c), _mm256_unpackhi_epi64(a, c),
                         _mm256_unpacklo_epi64(b, d), _mm256_unpackhi_epi64(b, d)};  // channels i and 4 + i
  const auto put = [&](int64_t channel, __m128i v) __attribute__((always_inline)) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to + channel * kPageKeys), v);
  };
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i)
    put(i, _mm256_castsi256_si128(column[i])), put(4 + i, _mm256_extracti128_si256(column[i], 1));
}
#endif

template <Int8Element kElement>
OCTAVO_INLINE void code_rows(const Int8RowsToCode& a) {
  for (int64_t r = 0; r < a.rows; ++r) {
    const int64_t from = r * a.pitch;
    F32 amax = zero();
    for (int64_t d = 0; d < a.dim; d += kLanes)
      amax = max_magnitude(amax, load_element<kElement>(a.from, from + d));
    const Coding coding = coding_of(largest_magnitude(amax));
    a.scale[r] = coding.scale;
    write_codes(
        a.codes + r * a.dim, a.dim, coding.inverse, [&](int64_t d, int64_t) __attribute__((always_inline)) {
          return load_element<kElement>(a.from, from + d);
        });
  }
}

// Slots of the 16 keys from `key` on for the channels at d.
template <Int8Element kElement>
OCTAVO_INLINE void code_16_keys(const Int8TileToCode& a, int64_t key, int64_t d, F32 inverse) {
  const Mask coded = not_zero(inverse);  // 0 where the channel is 0 or holds NaN or Inf: 0 * NaN is no code
  const auto code = [&](int64_t j) __attribute__((always_inline)) {
    if (j >= a.keys) return zero_codes();
    return to_int(keep(mul(load_element<kElement>(a.from, j * a.pitch + d), inverse), coded));
  };
  I32 steps[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const int64_t j = key + 2 * i;
    const I32 codes[4] = {code(j), code(j + 1), code(j + 8), code(j + 9)};
    steps[i] = bytes_of(codes);
  }
  store_columns(a.pages + (key / kPageKeys * a.dim + d) * kPageKeys + key % kPageKeys, steps);
}

template <Int8Element kElement>
OCTAVO_INLINE void code_tile(const Int8TileToCode& a) {
  alignas(64) float amax[kMostDim], inverse[kMostDim];
  for (int64_t d = 0; d < a.dim; d += kLanes) store(amax + d, zero());
  for (int64_t j = 0; j < a.keys; ++j)
    for (int64_t d = 0; d < a.dim; d += kLanes)
      store(amax + d, max_magnitude(load(amax + d), load_element<kElement>(a.from, j * a.pitch + d)));
  for (int64_t d = 0; d < a.dim; ++d) {
    const Coding coding = coding_of(amax[d]);
    a.scale[d] = coding.scale, inverse[d] = coding.inverse;
  }
  const int64_t slots = (a.keys + kPageKeys - 1) / kPageKeys * kPageKeys;
  for (int64_t key = 0; key < slots; key += 16)
    for (int64_t d = 0; d < a.dim; d += kLanes) code_16_keys<kElement>(a, key, d, load(inverse + d));
}

}  // namespace

void code_int8_rows(const Int8RowsToCode& a) {
  switch (a.element) {
    case Int8Element::f16: return code_rows<Int8Element::f16>(a);
    case Int8Element::bf16: return code_rows<Int8Element::bf16>(a);
    default: return code_rows<Int8Element::f32>(a);
  }
}

void code_int8_tile(const Int8TileToCode& a) {
  switch (a.element) {
    case Int8Element::f16: return code_tile<Int8Element::f16>(a);
    case Int8Element::bf16: return code_tile<Int8Element::bf16>(a);
    default: return code_tile<Int8Element::f32>(a);
  }
}

}  // namespace octavo::OCTAVO_ISA
