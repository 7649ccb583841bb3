// A block of query rows walks the keys in tiles of 256; of a tile, K and V are packed once for all rows, then 16 rows at a
// time take it: scores, their largest, codes of P, sums of P V, all in the first-level cache.
//   K, V   [vector of 8 or 16 keys / channels][4 codes of D / keys][lane]; the pages of V are what this packing wants: rows of
//          keys for each channel. Four slots of a page are keys 2 i, 2 i + 1, 8 + 2 i, 9 + 2 i, and P is stored so.
//   q, P   [row][code]
// Both products, exact:
//   AVX2      codes in s16, two products from one multiplication (Winograd, 1968; see gemm_w8a8_dot.h):
//               (x0 + w1)(x1 + w0) = x0 w0 + x1 w1 + x0 x1 + w1 w0
//             The last two terms, summed for each row of x and of w, are what the sums start from, negated.
//   AVX-512   vpdpbusd, u8 x s8: P as it is, q as q + 128, so that scores start from -128 sum_d k[d].
// Sums are modulo 2^32, and the true ones fit.
#include "ops/attention_int8/attention_int8_simd.h"

#include "simd/vec.h"

namespace octavo::OCTAVO_ISA {
namespace {

constexpr int64_t kTileKeys = 256, kPageKeys = 64, kMostDim = 256;
constexpr int kRows = 4;            // of a register block
constexpr int64_t kGroupRows = 16;  // that take a tile together
constexpr float kMinusInf = -__builtin_inff();
constexpr float kLog2Of255 = 7.99435343685885793f, kLn2 = 0.693147180559945309f;

OCTAVO_INLINE __m128i load_16_codes(const int8_t* p) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
}

#if defined(OCTAVO_ISA_avx512)

using XCode = uint8_t;  // q + 128, P
using WCode = int8_t;
constexpr int kParts = 1;    // vectors that hold 4 codes of each lane
constexpr int kVectors = 4;  // of a register block: 16 sums, 4 of w, 1 of x

OCTAVO_INLINE I32 zero_int() { return _mm512_setzero_si512(); }
OCTAVO_INLINE I32 load_int(const void* p) { return _mm512_loadu_si512(p); }
OCTAVO_INLINE void store_int(void* p, I32 v) { _mm512_storeu_si512(p, v); }
OCTAVO_INLINE I32 set_int(int32_t v) { return _mm512_set1_epi32(v); }
OCTAVO_INLINE I32 add_int(I32 a, I32 b) { return _mm512_add_epi32(a, b); }
OCTAVO_INLINE I32 sub_int(I32 a, I32 b) { return _mm512_sub_epi32(a, b); }
OCTAVO_INLINE F32 to_floats(I32 v) { return _mm512_cvtepi32_ps(v); }

struct XStep {
  I32 codes;
};
OCTAVO_INLINE XStep repeat_step(const XCode* p) { return {_mm512_broadcastd_epi32(_mm_loadu_si32(p))}; }
OCTAVO_INLINE I32 multiply_step(I32 acc, const XStep& x, const I32 (&w)[kParts]) {
  return _mm512_dpbusd_epi32(acc, x.codes, w[0]);
}
OCTAVO_INLINE I32 add_surplus(I32 sum, const I32 (&w)[kParts]) {
  return _mm512_dpbusd_epi32(sum, _mm512_set1_epi8(1), w[0]);
}
OCTAVO_INLINE I32 start_of_scores(I32 surplus) { return sub_int(zero_int(), _mm512_slli_epi32(surplus, 7)); }
OCTAVO_INLINE I32 start_of_sums(I32) { return zero_int(); }

// 16 codes at `at` of each of 16 rows: 4 steps.
OCTAVO_INLINE void transpose_codes(const int8_t* rows, int64_t pitch, I32 (&steps)[4][kParts]) {
  I32 part[4];  // rows i, 4 + i, 8 + i, 12 + i
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    part[i] = _mm512_castsi128_si512(load_16_codes(rows + i * pitch));
    part[i] = _mm512_inserti32x4(part[i], load_16_codes(rows + (4 + i) * pitch), 1);
    part[i] = _mm512_inserti32x4(part[i], load_16_codes(rows + (8 + i) * pitch), 2);
    part[i] = _mm512_inserti32x4(part[i], load_16_codes(rows + (12 + i) * pitch), 3);
  }
  const I32 a = _mm512_unpacklo_epi32(part[0], part[1]), b = _mm512_unpackhi_epi32(part[0], part[1]);
  const I32 c = _mm512_unpacklo_epi32(part[2], part[3]), d = _mm512_unpackhi_epi32(part[2], part[3]);
  steps[0][0] = _mm512_unpacklo_epi64(a, c), steps[1][0] = _mm512_unpackhi_epi64(a, c);
  steps[2][0] = _mm512_unpacklo_epi64(b, d), steps[3][0] = _mm512_unpackhi_epi64(b, d);
}

// 16 codes of a row of q; adds to its surplus.
OCTAVO_INLINE void pack_q_codes(XCode* to, const int8_t* codes, __m128i&) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm_xor_si128(load_16_codes(codes), _mm_set1_epi8(-128)));
}

// p * 2^whole, where `shifted` is whole + 1.5 * 2^23.
OCTAVO_INLINE F32 times_power_of_2(F32 p, F32 shifted) {
  return _mm512_castsi512_ps(
      _mm512_add_epi32(_mm512_castps_si512(p), _mm512_slli_epi32(_mm512_castps_si512(shifted), 23)));
}

struct PSums {
  I32 codes = zero_int();
};
OCTAVO_INLINE int32_t total_of(const PSums& s) { return _mm512_reduce_add_epi32(s.codes); }
OCTAVO_INLINE int32_t surplus_of(const PSums&) { return 0; }

// Codes of 16 keys, in the order of the slots.
OCTAVO_INLINE void store_p(XCode* to, const I32 (&codes)[1], PSums& sums) {
  sums.codes = add_int(sums.codes, codes[0]);
  const __m128i slots = _mm_setr_epi8(0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm_shuffle_epi8(_mm512_cvtepi32_epi8(codes[0]), slots));
}

OCTAVO_INLINE void store_f16(uint16_t* y, F32 x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(y),
                      _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
OCTAVO_INLINE void store_bf16(uint16_t* y, F32 x) {
  const I32 u = _mm512_castps_si512(x), high = _mm512_srli_epi32(u, 16);
  const I32 odd = _mm512_and_si512(high, set_int(1));
  const I32 rounded = _mm512_srli_epi32(add_int(u, add_int(odd, set_int(0x7fff))), 16);
  const I32 bits = _mm512_mask_or_epi32(rounded, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), high, set_int(0x40));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(y), _mm512_cvtepi32_epi16(bits));
}

#else

using XCode = int16_t;  // of 4 codes: 0, 2, 1, 3
using WCode = int16_t;
constexpr int kParts = 2;    // codes 0 and 2 of each lane; codes 1 and 3
constexpr int kVectors = 2;  // of a register block: 8 sums, 4 of w, 2 of x, 2 to work with

OCTAVO_INLINE I32 zero_int() { return _mm256_setzero_si256(); }
OCTAVO_INLINE I32 load_int(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
OCTAVO_INLINE void store_int(void* p, I32 v) { _mm256_storeu_si256(static_cast<__m256i*>(p), v); }
OCTAVO_INLINE I32 set_int(int32_t v) { return _mm256_set1_epi32(v); }
OCTAVO_INLINE I32 add_int(I32 a, I32 b) { return _mm256_add_epi32(a, b); }
OCTAVO_INLINE I32 sub_int(I32 a, I32 b) { return _mm256_sub_epi32(a, b); }
OCTAVO_INLINE F32 to_floats(I32 v) { return _mm256_cvtepi32_ps(v); }

struct XStep {
  I32 even, odd;
};
OCTAVO_INLINE XStep repeat_step(const XCode* p) {
  return {_mm256_broadcastd_epi32(_mm_loadu_si32(p)), _mm256_broadcastd_epi32(_mm_loadu_si32(p + 2))};
}
OCTAVO_INLINE I32 multiply_step(I32 acc, const XStep& x, const I32 (&w)[kParts]) {
  return add_int(acc, _mm256_madd_epi16(_mm256_add_epi16(x.even, w[1]), _mm256_add_epi16(x.odd, w[0])));
}
OCTAVO_INLINE I32 add_surplus(I32 sum, const I32 (&w)[kParts]) {
  return add_int(sum, _mm256_madd_epi16(w[0], w[1]));
}
OCTAVO_INLINE I32 start_of_scores(I32 surplus) { return sub_int(zero_int(), surplus); }
OCTAVO_INLINE I32 start_of_sums(I32 surplus) { return sub_int(zero_int(), surplus); }

OCTAVO_INLINE I32 even_codes(I32 v) { return _mm256_srai_epi16(_mm256_slli_epi16(v, 8), 8); }
OCTAVO_INLINE I32 odd_codes(I32 v) { return _mm256_srai_epi16(v, 8); }

// 16 codes of each of 8 rows: 4 steps.
OCTAVO_INLINE void transpose_codes(const int8_t* rows, int64_t pitch, I32 (&steps)[4][kParts]) {
  I32 part[4], quads[4];  // rows i and 4 + i
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i)
    part[i] = _mm256_inserti128_si256(_mm256_castsi128_si256(load_16_codes(rows + i * pitch)),
                                      load_16_codes(rows + (4 + i) * pitch), 1);
  const I32 a = _mm256_unpacklo_epi32(part[0], part[1]), b = _mm256_unpackhi_epi32(part[0], part[1]);
  const I32 c = _mm256_unpacklo_epi32(part[2], part[3]), d = _mm256_unpackhi_epi32(part[2], part[3]);
  quads[0] = _mm256_unpacklo_epi64(a, c), quads[1] = _mm256_unpackhi_epi64(a, c);
  quads[2] = _mm256_unpacklo_epi64(b, d), quads[3] = _mm256_unpackhi_epi64(b, d);
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) steps[i][0] = even_codes(quads[i]), steps[i][1] = odd_codes(quads[i]);
}

OCTAVO_INLINE void pack_q_codes(XCode* to, const int8_t* codes, __m128i& surplus) {
  const __m128i v = load_16_codes(codes), odd = _mm_srai_epi16(v, 8);
  const __m128i even = _mm_srai_epi16(_mm_slli_epi16(v, 8), 8);
  surplus = _mm_add_epi32(surplus, _mm_madd_epi16(even, odd));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm_unpacklo_epi32(even, odd));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to + 8), _mm_unpackhi_epi32(even, odd));
}

OCTAVO_INLINE F32 times_power_of_2(F32 p, F32 shifted) {
  return _mm256_castsi256_ps(
      _mm256_add_epi32(_mm256_castps_si256(p), _mm256_slli_epi32(_mm256_castps_si256(shifted), 23)));
}

struct PSums {
  I32 codes = zero_int(), surplus = zero_int();  // codes: 16 sums of up to 16 codes
};
OCTAVO_INLINE int32_t add_lanes(__m128i s) {
  s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1)));
}
OCTAVO_INLINE int32_t add_lanes(I32 v) {
  return add_lanes(_mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1)));
}
OCTAVO_INLINE int32_t total_of(const PSums& s) {
  return add_lanes(_mm256_madd_epi16(s.codes, _mm256_set1_epi16(1)));
}
OCTAVO_INLINE int32_t surplus_of(const PSums& s) { return add_lanes(s.surplus); }

// Codes of 16 keys: lane j holds keys j and 8 + j, so lanes 2 i and 2 i + 1 are the four slots of step i.
OCTAVO_INLINE void store_p(XCode* to, const I32 (&codes)[2], PSums& sums) {
  const I32 pairs = _mm256_or_si256(codes[0], _mm256_slli_epi32(codes[1], 16));
  sums.codes = _mm256_add_epi16(sums.codes, pairs);
  sums.surplus = add_int(sums.surplus, _mm256_madd_epi16(pairs, _mm256_srli_epi64(pairs, 32)));
  store_int(to, pairs);
}

OCTAVO_INLINE void store_f16(uint16_t* y, F32 x) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(y),
                   _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
OCTAVO_INLINE void store_bf16(uint16_t* y, F32 x) {
  const I32 u = _mm256_castps_si256(x), high = _mm256_srli_epi32(u, 16);
  const I32 odd = _mm256_and_si256(high, set_int(1));
  const I32 rounded = _mm256_srli_epi32(add_int(u, add_int(odd, set_int(0x7fff))), 16);
  const I32 quiet = _mm256_or_si256(high, set_int(0x40));
  const I32 bits = _mm256_blendv_epi8(rounded, quiet, _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q)));
  const I32 packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(bits, bits), 0x08);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(y), _mm256_castsi256_si128(packed));
}

#endif

constexpr int64_t kStepCodes = 4 * kLanes;  // of w, 64 bytes
constexpr int kVectorsOf16 = 16 / kLanes;

struct Scratch {
  alignas(64) WCode k[kTileKeys * kMostDim];
  alignas(64) WCode v[kMostDim * kTileKeys];
  alignas(64) XCode q[kInt8BlockElements];
  alignas(64) float o[kInt8BlockElements];
  alignas(64) float y[kGroupRows][kTileKeys];
  alignas(64) XCode p[kGroupRows][kTileKeys];
  alignas(64) int8_t last_keys[kLanes * kMostDim];
  alignas(64) int32_t k_start[kTileKeys], v_start[kTileKeys / 16][kMostDim];
  alignas(64) float k_scale[kTileKeys], v_scale[kMostDim];
  int32_t q_start[kInt8BlockRows];
  alignas(64) float top[kInt8BlockRows], sum[kInt8BlockRows];
};

// Keys [first, first + keys) for the rows of a block.
struct Tile {
  int64_t index, first, keys;
  bool finite;  // all scales of K
};

constexpr int64_t up_to_16(int64_t n) { return (n + 15) / 16 * 16; }

// NOTE: g++ 12 copies and spills sums of I32 (64-bit lanes) in every step; as vectors of s32 it does not (gemm_w8a8).
typedef int32_t Sums __attribute__((vector_size(sizeof(I32))));

// acc[r][v] += x[r] . w[v] over 4 `steps` codes.
template <int kCount>
OCTAVO_INLINE void multiply(Sums (&acc)[kRows][kCount], const XCode* x, int64_t x_pitch, const WCode* w,
                            int64_t w_pitch, int64_t steps) {
  for (; steps > 0; --steps, x += 4, w += kStepCodes) {
    I32 now[kCount][kParts];
#pragma GCC unroll 4
    for (int v = 0; v < kCount; ++v)
#pragma GCC unroll 2
      for (int part = 0; part < kParts; ++part)
        now[v][part] = load_int(w + v * w_pitch + part * (kStepCodes / kParts));
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      const XStep row = repeat_step(x + r * x_pitch);
#pragma GCC unroll 4
      for (int v = 0; v < kCount; ++v) acc[r][v] = (Sums)multiply_step((I32)acc[r][v], row, now[v]);
    }
  }
}

template <int kCount>
OCTAVO_INLINE void start_sums(Sums (&acc)[kRows][kCount], const int32_t* of_rows, const int32_t* of_vectors) {
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < kCount; ++v)
      acc[r][v] = (Sums)add_int(load_int(of_vectors + v * kLanes), set_int(of_rows[r]));
}

template <int kCount>
struct Count {};
// body(Count<n>, v) for register blocks of n vectors at v.
template <class Body>
OCTAVO_INLINE void for_vectors(int64_t vectors, const Body& body) {
  int64_t v = 0;
  for (; v + kVectors <= vectors; v += kVectors) body(Count<kVectors>{}, v);
  for (; v < vectors; ++v) body(Count<1>{}, v);
}

// ---- packing

// `codes` codes, a multiple of 16, of kLanes rows; returns the surplus.
OCTAVO_INLINE I32 pack_rows(WCode* to, const int8_t* rows, int64_t pitch, int64_t codes, I32 surplus) {
  for (int64_t at = 0; at < codes; at += 16) {
    I32 steps[4][kParts];
    transpose_codes(rows + at, pitch, steps);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i, to += kStepCodes) {
      surplus = add_surplus(surplus, steps[i]);
#pragma GCC unroll 2
      for (int part = 0; part < kParts; ++part) store_int(to + part * (kStepCodes / kParts), steps[i][part]);
    }
  }
  return surplus;
}

void pack_q(const Int8AttentionRows& a, Scratch& s) {
  for (int64_t r = 0; r < a.rows; ++r) {
    __m128i surplus = _mm_setzero_si128();
    for (int64_t d = 0; d < a.dim; d += 16) pack_q_codes(s.q + r * a.dim + d, a.q + r * a.dim + d, surplus);
    surplus = _mm_add_epi32(surplus, _mm_shuffle_epi32(surplus, 0x4e));
    surplus = _mm_add_epi32(surplus, _mm_shuffle_epi32(surplus, 0xb1));
    s.q_start[r] = -_mm_cvtsi128_si32(surplus);
  }
  for (int64_t r = a.rows; r % kRows != 0; ++r) {  // rows that only fill a register block
    for (int64_t d = 0; d < a.dim; ++d) s.q[r * a.dim + d] = 0;
    s.q_start[r] = 0;
  }
}

void pack_k(const Int8AttentionRows& a, Scratch& s, Tile& tile) {
  const int8_t* k = a.k + tile.first * a.dim;
  for (int64_t j = 0; j < up_to_16(tile.keys); j += kLanes) {
    const int8_t* rows = k + j * a.dim;
    if (j + kLanes > tile.keys) {  // nothing behind the last key is read
      for (int64_t i = 0; i < kLanes * a.dim; ++i) s.last_keys[i] = 0;
      if (j < tile.keys) __builtin_memcpy(s.last_keys, rows, static_cast<size_t>((tile.keys - j) * a.dim));
      rows = s.last_keys;
    }
    const I32 surplus = pack_rows(s.k + j * a.dim, rows, a.dim, a.dim, zero_int());
    store_int(s.k_start + j, start_of_scores(surplus));
  }
  tile.finite = true;
  for (int64_t j = 0; j < up_to_16(tile.keys); ++j) {
    s.k_scale[j] = j < tile.keys ? a.k_scale[tile.first + j] : 0.0f;
    tile.finite = tile.finite && s.k_scale[j] - s.k_scale[j] == 0.0f;
  }
}

// NOTE: a surplus for every 16 keys: the rows of a group may see a part of the tile.
void pack_v(const Int8AttentionRows& a, Scratch& s, const Tile& tile) {
  const int8_t* v = a.v + tile.first * a.dim;
  for (int64_t d = 0; d < a.dim; d += kLanes) {
    I32 surplus = zero_int();
    for (int64_t j = 0; j < tile.keys; j += 16) {
      const int8_t* rows = v + (j / kPageKeys * a.dim + d) * kPageKeys + j % kPageKeys;
      surplus = pack_rows(s.v + d * kTileKeys + j * kLanes, rows, kPageKeys, 16, surplus);
      store_int(s.v_start[j / 16] + d, start_of_sums(surplus));
    }
  }
  for (int64_t d = 0; d < a.dim; ++d)
    s.v_scale[d] = a.v_scale[tile.index * a.v_scale_tile + d * a.v_scale_channel];
}

// ---- a tile for up to 16 rows

struct Group {
  int64_t row, rows;         // of the block
  int64_t keys;              // of the tile that some row sees, up to whole 16
  int64_t sees[kGroupRows];  // of the tile
  int32_t p_start[kGroupRows];
  alignas(64) float keep[kGroupRows],
      take[kGroupRows];  // factors of what was summed before, and of this tile
};

// y = q . k * k_scale
OCTAVO_INLINE void score(const Int8AttentionRows& a, Scratch& s, const Group& g) {
  for_vectors(
      g.keys / kLanes, [&]<int kCount>(Count<kCount>, int64_t vector) __attribute__((always_inline)) {
        const int64_t key = vector * kLanes;
        for (int64_t r = 0; r < g.rows; r += kRows) {
          Sums acc[kRows][kCount];
          start_sums(acc, s.q_start + g.row + r, s.k_start + key);
          multiply(acc, s.q + (g.row + r) * a.dim, a.dim, s.k + key * a.dim, kLanes * a.dim, a.dim / 4);
#pragma GCC unroll 4
          for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 4
            for (int v = 0; v < kCount; ++v)
              store(s.y[r + i] + key + v * kLanes,
                    mul(to_floats((I32)acc[i][v]), load(s.k_scale + key + v * kLanes)));
        }
      });
}

// The largest of y[0 .. keys), keys a multiple of 16.
OCTAVO_INLINE float largest_score(const float* y, int64_t keys) {
  F32 even = set1(kMinusInf), odd = even;
  for (int64_t j = 0; j < keys; j += 16) {
    even = max(even, load(y + j));
    odd = max(odd, load(y + j + 16 - kLanes));
  }
  return largest(max(even, odd));
}

OCTAVO_INLINE float nan_or(float top, const float* y, int64_t keys) {
  for (int64_t j = 0; j < keys; ++j)
    if (y[j] != y[j]) return y[j];
  return top;
}

// round(255 * 2^(y * scale - top)), shift = log2(255) - top; NaN gives 0. 2^f by a polynomial, off by at most 1.1e-7.
OCTAVO_INLINE I32 codes_of(F32 y, F32 scale, F32 shift) {
  const F32 x = min(max(fma(y, scale, shift), set1(-2.0f)), set1(kLog2Of255));  // 2^-2 rounds to 0
  const F32 shifter = set1(0x1.8p23f), shifted = add(x, shifter), f = sub(x, sub(shifted, shifter));
  F32 p = set1(1.33908634e-3f);
  p = fma(p, f, set1(9.67603192e-3f));
  p = fma(p, f, set1(5.55035711e-2f));
  p = fma(p, f, set1(2.40221075e-1f));
  p = fma(p, f, set1(6.93147188e-1f));
  p = fma(p, f, set1(1.00000008f));
  return to_int(times_power_of_2(p, shifted));
}

OCTAVO_INLINE PSums write_p(XCode* p, const float* y, int64_t keys, float scale, float shift) {
  PSums sums;
  const F32 scales = set1(scale), shifts = set1(shift);
  for (int64_t j = 0; j < keys; j += 16) {
    I32 codes[kVectorsOf16];
#pragma GCC unroll 2
    for (int i = 0; i < kVectorsOf16; ++i) codes[i] = codes_of(load(y + j + i * kLanes), scales, shifts);
    store_p(p + j, codes, sums);
  }
  return sums;
}

OCTAVO_INLINE float larger(float a, float b) { return a != a || b <= a ? a : b; }

// Codes of P, and what the tile changes: top, sum and the two factors.
OCTAVO_INLINE void soften(const Int8AttentionRows& a, Scratch& s, const Tile& tile, Group& g) {
  float total[kGroupRows];
  for (int64_t r = 0; r < g.rows; ++r) {
    float* y = s.y[r];
    for (int64_t j = g.sees[r]; j < g.keys; ++j) y[j] = kMinusInf;
    const float scale = a.q_scale[g.row + r] * a.scale;
    float tile_top = largest_score(y, g.keys);
    if (!tile.finite) tile_top = nan_or(tile_top, y, g.sees[r]);
    tile_top *= scale;
    const float before = s.top[g.row + r], top = larger(before, tile_top);
    const float base = top == kMinusInf ? 0.0f : top;
    const PSums sums =
        write_p(s.p[r], y, g.keys, scale, kLog2Of255 - (tile_top == kMinusInf ? 0.0f : tile_top));
    g.p_start[r] = -surplus_of(sums);
    total[r] = static_cast<float>(total_of(sums));
    g.keep[r] = before - base, g.take[r] = tile_top - base;
    if (g.sees[r] > 0) s.top[g.row + r] = top;
  }
  for (int64_t r = g.rows; r < kGroupRows; ++r) g.keep[r] = g.take[r] = 0, g.p_start[r] = 0;
  for (int64_t r = 0; r < kGroupRows; r += kLanes) {
    store(g.keep + r, exp(mul(load(g.keep + r), set1(kLn2))));
    store(g.take + r, exp(mul(load(g.take + r), set1(kLn2))));
  }
  for (int64_t r = 0; r < g.rows; ++r)
    if (g.sees[r] > 0) s.sum[g.row + r] = __builtin_fmaf(total[r], g.take[r], s.sum[g.row + r] * g.keep[r]);
}

// o = o * keep + p . v * (v_scale * take)
OCTAVO_INLINE void weigh(const Int8AttentionRows& a, Scratch& s, const Group& g) {
  for_vectors(
      a.dim / kLanes, [&]<int kCount>(Count<kCount>, int64_t vector) __attribute__((always_inline)) {
        const int64_t d = vector * kLanes;
        for (int64_t r = 0; r < g.rows; r += kRows) {
          Sums acc[kRows][kCount];
          start_sums(acc, g.p_start + r, s.v_start[g.keys / 16 - 1] + d);
          multiply(acc, s.p[r], kTileKeys, s.v + d * kTileKeys, kLanes * kTileKeys, g.keys / 4);
#pragma GCC unroll 4
          for (int i = 0; i < kRows; ++i) {
            // NOTE: not by factors of 0: a NaN scale of V must not reach rows that see nothing of the tile.
            if (r + i >= g.rows || g.sees[r + i] == 0) continue;
            float* o = s.o + (g.row + r + i) * a.dim + d;
            const F32 keep = set1(g.keep[r + i]), take = set1(g.take[r + i]);
#pragma GCC unroll 4
            for (int v = 0; v < kCount; ++v)
              store(o + v * kLanes,
                    fma(to_floats((I32)acc[i][v]), mul(load(s.v_scale + d + v * kLanes), take),
                        mul(load(o + v * kLanes), keep)));
          }
        }
      });
}

void attend_group(const Int8AttentionRows& a, Scratch& s, const Tile& tile, int64_t row) {
  Group g;
  g.row = row, g.rows = a.rows - row < kGroupRows ? a.rows - row : kGroupRows, g.keys = 0;
  for (int64_t r = 0; r < g.rows; ++r) {
    const int64_t sees = a.ends[row + r] - tile.first;
    g.sees[r] = sees < 0 ? 0 : sees < tile.keys ? sees : tile.keys;
    if (g.sees[r] > g.keys) g.keys = g.sees[r];
  }
  if (g.keys == 0) return;
  g.keys = up_to_16(g.keys);
  score(a, s, g);
  soften(a, s, tile, g);
  weigh(a, s, g);
}

void store_rows(const Int8AttentionRows& a, const Scratch& s) {
  for (int64_t r = 0; r < a.rows; ++r) {
    a.top[r] = s.top[r], a.sum[r] = s.sum[r];
    const F32 inverse = set1(s.sum[r] == 0 ? 0.0f : 1.0f / s.sum[r]);
    for (int64_t d = 0; d < a.dim; d += kLanes) {
      const F32 value = mul(load(s.o + r * a.dim + d), inverse);
      const int64_t at = a.out_at[r] + d;
      switch (a.element) {
        case Int8Element::f16: store_f16(static_cast<uint16_t*>(a.out) + at, value); break;
        case Int8Element::bf16: store_bf16(static_cast<uint16_t*>(a.out) + at, value); break;
        case Int8Element::f32: store(static_cast<float*>(a.out) + at, value); break;
      }
    }
  }
}

}  // namespace

void attend_rows(const Int8AttentionRows& a) {
  Scratch s;
  int64_t end = 0;
  for (int64_t r = 0; r < a.rows; ++r) {
    s.top[r] = kMinusInf, s.sum[r] = 0;
    if (a.ends[r] > end) end = a.ends[r];
  }
  for (int64_t i = 0; i < a.rows * a.dim; ++i) s.o[i] = 0;
  for (int64_t r = 0; r < kGroupRows; ++r)
    for (int64_t j = 0; j < kTileKeys; ++j) s.p[r][j] = 0;  // of rows that only fill a register block
  pack_q(a, s);
  for (Tile tile{}; tile.first < end; ++tile.index, tile.first += kTileKeys) {
    tile.keys = end - tile.first < kTileKeys ? end - tile.first : kTileKeys;
    pack_k(a, s, tile);
    pack_v(a, s, tile);
    for (int64_t row = 0; row < a.rows; row += kGroupRows) attend_group(a, s, tile, row);
  }
  store_rows(a, s);
}

}  // namespace octavo::OCTAVO_ISA
