// INT8 dot products of one instruction set, as gemm_w8a8_simd.cpp uses them. Exact for every code, -128 included.
//
//   AVX2      codes are widened to s16; vpmaddwd adds 2 products into an s32 lane. NOTE: vpmaddubsw would take 8-bit
//             codes, but its s16 sums saturate. In blocks one multiplication makes two products (Winograd, 1968):
//               (x0 + w1)(x1 + w0) = x0 w0 + x1 w1 + x0 x1 + w1 w0
//             whose last two terms are a sum for each row of x and one for each row of w, subtracted at the end. Zen 3
//             multiplies on two of its four vector pipes and adds on all: 62 operations a cycle instead of 47.
//   AVX-512   vpdpbusd adds 4 products of u8 and s8 into an s32 lane without saturation; x + 128 is the u8 operand and
//             128 * sum_k w[n][k] is subtracted at the end. NOTE: sums of x + 128 may leave s32; arithmetic modulo
//             2^32 makes the difference right whenever the true sum fits, which K <= 131,071 ensures.
#pragma once
#include "ops/gemm_w8a8/gemm_w8a8_simd.h"
#include "simd/vec.h"

namespace octavo::OCTAVO_ISA {

OCTAVO_INLINE __m128i load_16_codes(const int8_t* p) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
}

#if defined(OCTAVO_ISA_avx512)

using XCode = uint8_t;  // x + 128
using WCode = int8_t;
inline constexpr int kGroup = 4;     // products added into one s32 lane at once
inline constexpr int kOffset = 128;  // of XCode
inline constexpr int kOffsetLog2 = 7;
// 24 accumulators, 4 vectors of w, 1 of x: of 32 registers.
inline constexpr int kTileRows = 6, kTileVectors = 4;
inline constexpr int kStepGroups = 1;      // operands of a step of a tile: 4 codes of k in each lane
inline constexpr int64_t kPackCodes = 64;  // of kPackRows rows of x, packed at once
inline constexpr int kPackRows = 1;
inline constexpr int64_t kPanelCodes = 64;  // of kLanes rows of w, packed at once
inline constexpr int64_t kBlockRows = 96, kBlockCols = kInt8TaskCols, kBlockDepth = 512;
inline constexpr int kStreamRows = 4;

OCTAVO_INLINE I32 zero_int() { return _mm512_setzero_si512(); }
OCTAVO_INLINE I32 load_int(const void* p) { return _mm512_loadu_si512(p); }
OCTAVO_INLINE void store_int(void* p, I32 v) { _mm512_storeu_si512(p, v); }
OCTAVO_INLINE I32 repeat_group(const XCode* p) {
  return _mm512_set1_epi32(_mm_cvtsi128_si32(_mm_loadu_si32(p)));
}
OCTAVO_INLINE I32 dot(I32 acc, I32 x, I32 w) { return _mm512_dpbusd_epi32(acc, x, w); }
OCTAVO_INLINE I32 sum_codes(I32 acc, I32 w) { return _mm512_dpbusd_epi32(acc, _mm512_set1_epi8(1), w); }
OCTAVO_INLINE I32 w_surplus(I32 sum, const I32 (&w)[kStepGroups]) { return sum_codes(sum, w[0]); }
OCTAVO_INLINE I32 without_surplus(I32 acc, int32_t, I32 of_w) {
  return _mm512_sub_epi32(acc, _mm512_slli_epi32(of_w, kOffsetLog2));
}
OCTAVO_INLINE I32 load_int(const int32_t* p, Mask m) { return _mm512_maskz_loadu_epi32(m, p); }
OCTAVO_INLINE void store_int(int32_t* p, I32 v, Mask m) { _mm512_mask_storeu_epi32(p, m, v); }
OCTAVO_INLINE F32 to_floats(I32 v) { return _mm512_cvtepi32_ps(v); }

// Codes of a row as an operand of dot; the second form reads `count` codes and pads with zeros.
inline constexpr int kOperandCodes = 64;
OCTAVO_INLINE __mmask64 first_codes(int64_t count) { return count >= 64 ? ~0ull : (1ull << count) - 1; }
OCTAVO_INLINE I32 w_operand(const int8_t* p) { return _mm512_loadu_si512(p); }
OCTAVO_INLINE I32 w_operand(const int8_t* p, int64_t count) {
  return _mm512_maskz_loadu_epi8(first_codes(count), p);
}
OCTAVO_INLINE I32 x_operand(const int8_t* p) {
  return _mm512_xor_si512(_mm512_loadu_si512(p), _mm512_set1_epi8(-128));
}
OCTAVO_INLINE I32 x_operand(const int8_t* p, int64_t count) {
  return _mm512_xor_si512(_mm512_maskz_loadu_epi8(first_codes(count), p), _mm512_set1_epi8(-128));
}

OCTAVO_INLINE __m256i fold(I32 v) {
  return _mm256_add_epi32(_mm512_castsi512_si256(v), _mm512_extracti64x4_epi64(v, 1));
}

OCTAVO_INLINE void pack_x(XCode* to, const int8_t* const (&x)[1], I32 (&)[1]) {
  store_int(to, x_operand(x[0]));
}
// Row r of x as packed from row `first` on: step `step`, operand g.
constexpr int64_t packed_x(int64_t first, int r, int64_t step, int, int64_t depth) {
  return (first + r) * depth + 4 * step;
}

// rows[i] lane j -> rows[j] lane i, for 16 vectors of 16 lanes.
OCTAVO_INLINE void transpose(I32 (&rows)[16]) {
  I32 t[16];
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {  // 4 x 4 lanes inside every 128-bit part
    const I32 a = _mm512_unpacklo_epi32(rows[i], rows[i + 1]),
              b = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
    const I32 c = _mm512_unpacklo_epi32(rows[i + 2], rows[i + 3]),
              d = _mm512_unpackhi_epi32(rows[i + 2], rows[i + 3]);
    t[i] = _mm512_unpacklo_epi64(a, c), t[i + 1] = _mm512_unpackhi_epi64(a, c);
    t[i + 2] = _mm512_unpacklo_epi64(b, d), t[i + 3] = _mm512_unpackhi_epi64(b, d);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {  // 4 x 4 parts; t[4 r + i] part p holds rows 4 r .. 4 r + 3 of lane 4 p + i
    const I32 a = _mm512_shuffle_i32x4(t[i], t[4 + i], 0x88),
              b = _mm512_shuffle_i32x4(t[8 + i], t[12 + i], 0x88);
    const I32 c = _mm512_shuffle_i32x4(t[i], t[4 + i], 0xdd),
              d = _mm512_shuffle_i32x4(t[8 + i], t[12 + i], 0xdd);
    rows[i] = _mm512_shuffle_i32x4(a, b, 0x88), rows[8 + i] = _mm512_shuffle_i32x4(a, b, 0xdd);
    rows[4 + i] = _mm512_shuffle_i32x4(c, d, 0x88), rows[12 + i] = _mm512_shuffle_i32x4(c, d, 0xdd);
  }
}

// Vector i: codes 4 i .. 4 i + 3 of each of kLanes rows.
OCTAVO_INLINE void pack_w(const int8_t* w, int64_t stride, I32 (&packed)[16]) {
  for (int j = 0; j < 16; ++j) packed[j] = w_operand(w + j * stride);
  transpose(packed);
}

#else

using XCode = int16_t;
using WCode = int16_t;
inline constexpr int kGroup = 2;
inline constexpr int kOffset = 0;
// 8 accumulators, 4 vectors of x, 1 of w, 3 sums: all 16 registers.
inline constexpr int kTileRows = 2, kTileVectors = 4;
inline constexpr int kStepGroups = 2;  // the even codes and the odd ones, as pairs of s16
inline constexpr int64_t kPackCodes = 32, kPanelCodes = 16;
inline constexpr int kPackRows = 4;
inline constexpr int64_t kBlockRows = 256, kBlockCols = 512, kBlockDepth = 256;
inline constexpr int kStreamRows = 2;

OCTAVO_INLINE I32 zero_int() { return _mm256_setzero_si256(); }
OCTAVO_INLINE I32 load_int(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
OCTAVO_INLINE void store_int(void* p, I32 v) { _mm256_storeu_si256(static_cast<__m256i*>(p), v); }
OCTAVO_INLINE I32 repeat_group(const XCode* p) { return _mm256_broadcastd_epi32(_mm_loadu_si32(p)); }
OCTAVO_INLINE I32 dot(I32 acc, I32 x, I32 w) { return _mm256_add_epi32(acc, _mm256_madd_epi16(x, w)); }
OCTAVO_INLINE I32 sum_codes(I32 acc, I32) { return acc; }  // no offset, so no sum is needed
OCTAVO_INLINE I32 load_int(const int32_t* p, Mask m) { return _mm256_maskload_epi32(p, m); }
OCTAVO_INLINE void store_int(int32_t* p, I32 v, Mask m) { _mm256_maskstore_epi32(p, m, v); }
OCTAVO_INLINE F32 to_floats(I32 v) { return _mm256_cvtepi32_ps(v); }
OCTAVO_INLINE I32 w_surplus(I32 sum, const I32 (&w)[kStepGroups]) {
  return _mm256_add_epi32(sum, _mm256_madd_epi16(w[0], w[1]));
}
OCTAVO_INLINE I32 without_surplus(I32 acc, int32_t of_x, I32 of_w) {
  return _mm256_sub_epi32(acc, _mm256_add_epi32(of_w, _mm256_set1_epi32(of_x)));
}

inline constexpr int kOperandCodes = 16;
OCTAVO_INLINE __m128i load_16_codes(const int8_t* p, int64_t count) {
  alignas(16) int8_t padded[16] = {};
  for (int64_t i = 0; i < count; ++i) padded[i] = p[i];
  return load_16_codes(padded);
}
OCTAVO_INLINE I32 w_operand(const int8_t* p) { return _mm256_cvtepi8_epi16(load_16_codes(p)); }
OCTAVO_INLINE I32 w_operand(const int8_t* p, int64_t count) {
  return _mm256_cvtepi8_epi16(load_16_codes(p, count));
}
OCTAVO_INLINE I32 x_operand(const int8_t* p) { return w_operand(p); }
OCTAVO_INLINE I32 x_operand(const int8_t* p, int64_t count) { return w_operand(p, count); }

OCTAVO_INLINE __m256i fold(I32 v) { return v; }

OCTAVO_INLINE I32 even_codes(I32 v) { return _mm256_srai_epi16(_mm256_slli_epi16(v, 8), 8); }
OCTAVO_INLINE I32 odd_codes(I32 v) { return _mm256_srai_epi16(v, 8); }

// 4 rows together: 4 codes of each, the even two before the odd two; then the next 4 codes.
OCTAVO_INLINE void pack_x(XCode* to, const int8_t* const (&x)[4], I32 (&surplus)[4]) {
  I32 low[4], high[4];  // codes 0 .. 7 and 16 .. 23 of each row; 8 .. 15 and 24 .. 31
#pragma GCC unroll 4
  for (int r = 0; r < 4; ++r) {
    const I32 codes = load_int(x[r]), even = even_codes(codes), odd = odd_codes(codes);
    low[r] = _mm256_unpacklo_epi32(even, odd), high[r] = _mm256_unpackhi_epi32(even, odd);
    surplus[r] = _mm256_add_epi32(surplus[r], _mm256_madd_epi16(even, odd));
  }
  const auto store_steps = [&](const I32(&rows)[4], int first) __attribute__((always_inline)) {
    const I32 a = _mm256_unpacklo_epi64(rows[0], rows[1]), b = _mm256_unpacklo_epi64(rows[2], rows[3]);
    const I32 c = _mm256_unpackhi_epi64(rows[0], rows[1]), e = _mm256_unpackhi_epi64(rows[2], rows[3]);
    store_int(to + 16 * first, _mm256_permute2x128_si256(a, b, 0x20));
    store_int(to + 16 * (first + 1), _mm256_permute2x128_si256(c, e, 0x20));
    store_int(to + 16 * (first + 4), _mm256_permute2x128_si256(a, b, 0x31));
    store_int(to + 16 * (first + 5), _mm256_permute2x128_si256(c, e, 0x31));
  };
  store_steps(low, 0), store_steps(high, 2);
}
constexpr int64_t packed_x(int64_t first, int r, int64_t step, int g, int64_t depth) {
  const int64_t row = first + r, in_pack = row % kPackRows;
  return (row - in_pack) * depth + 16 * step + 4 * in_pack + 2 * g;
}

// Vectors 2 i and 2 i + 1: the even and the odd ones of codes 4 i .. 4 i + 3 of each of kLanes rows.
OCTAVO_INLINE void pack_w(const int8_t* w, int64_t stride, I32 (&packed)[8]) {
  I32 rows[4], quads[4];
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j)
    rows[j] = _mm256_inserti128_si256(_mm256_castsi128_si256(load_16_codes(w + j * stride)),
                                      load_16_codes(w + (4 + j) * stride), 1);
  const I32 a = _mm256_unpacklo_epi32(rows[0], rows[1]), b = _mm256_unpackhi_epi32(rows[0], rows[1]);
  const I32 c = _mm256_unpacklo_epi32(rows[2], rows[3]), e = _mm256_unpackhi_epi32(rows[2], rows[3]);
  quads[0] = _mm256_unpacklo_epi64(a, c), quads[1] = _mm256_unpackhi_epi64(a, c);
  quads[2] = _mm256_unpacklo_epi64(b, e), quads[3] = _mm256_unpackhi_epi64(b, e);
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) packed[2 * i] = even_codes(quads[i]), packed[2 * i + 1] = odd_codes(quads[i]);
}

#endif

// Accumulators of inner loops. NOTE: g++ 12 keeps the two-register form of I32 (64-bit lanes) and of the s32 lanes that
// dot works on apart, and copies and spills between them in every step; with s32 lanes throughout it does not.
typedef int32_t Sums __attribute__((vector_size(sizeof(I32))));
OCTAVO_INLINE Sums dot(Sums acc, I32 x, I32 w) { return (Sums)dot((I32)acc, x, w); }

// What a tile adds for 4 codes of one row of x and one vector of columns of w: `w_last` is the last group of them, and
// `w_first` where the first lies. NOTE: as an operand in memory it costs no instruction, and instructions are what is
// scarce where a second thread shares the core: 40 a step instead of 44.
OCTAVO_INLINE Sums multiply_step(Sums acc, const I32 (&x)[kStepGroups], I32 w_last, const void* w_first) {
#if defined(OCTAVO_ISA_avx512)
  static_cast<void>(w_first);  // the same group
  return dot(acc, x[0], w_last);
#else
  return dot(acc, _mm256_add_epi16(x[0], w_last), _mm256_add_epi16(x[1], load_int(w_first)));
#endif
}

// The sums of the lanes of four vectors.
OCTAVO_INLINE __m128i add_lanes(Sums a, Sums b, Sums c, Sums d) {
  const __m256i quads = _mm256_hadd_epi32(_mm256_hadd_epi32(fold((I32)a), fold((I32)b)),
                                          _mm256_hadd_epi32(fold((I32)c), fold((I32)d)));
  return _mm_add_epi32(_mm256_castsi256_si128(quads), _mm256_extracti128_si256(quads, 1));
}

}  // namespace octavo::OCTAVO_ISA
