// Blocked softmax attention, one 64-key leaf at a time (FlashAttention's recurrence, arXiv 2205.14135, with the running
// maximum replaced by a tree of leaves so that the order of all sums depends on absolute key indices only):
//   s = scale q k^T,  m = max s,  p = exp(s - m),  l = sum p,  o = p v
// Lanes run along D. A dot product keeps kLanes partial sums over D and adds them in one fixed tree; p v adds key after
// key. Register blocks of R rows share the loads of K and V; every R gives the same bits.
// Bound: decode by reading K and V once; prefill by the two FMAs a (row, key, element).
#include "ops/attention_f/attention_f_simd.h"

#include "simd/vec.h"

namespace octavo::OCTAVO_ISA {
namespace {

constexpr int64_t kScorePitch = kLeafKeys + 8;  // score_rows stores whole groups of keys
constexpr float kMinusInf = -__builtin_inff();

template <KvElement kElement>
OCTAVO_INLINE F32 load_element(const void* p, int64_t i) {
  if constexpr (kElement == KvElement::f32) return load(static_cast<const float*>(p) + i);
  if constexpr (kElement == KvElement::f16) return from_f16(static_cast<const uint16_t*>(p) + i);
  if constexpr (kElement == KvElement::bf16) return from_bf16(static_cast<const uint16_t*>(p) + i);
  if constexpr (kElement == KvElement::i8) return from_codes(static_cast<const int8_t*>(p) + i);
}

// Fetches row j of a leaf that is read from memory for the first time.
template <KvElement kElement>
OCTAVO_INLINE void prefetch_row(const AttentionLeaf& leaf, const void* base, int64_t j) {
  constexpr int64_t kBytes = kElement == KvElement::f32 ? 4 : kElement == KvElement::i8 ? 1 : 2;
  const auto* row = static_cast<const char*>(base) + j * leaf.token_stride * kBytes;
  for (int64_t b = 0; b < leaf.width * kBytes; b += 64) _mm_prefetch(row + b, _MM_HINT_T0);
}

OCTAVO_INLINE float first_lane(F32 v) {
#if defined(OCTAVO_ISA_avx512)
  return _mm512_cvtss_f32(v);
#else
  return _mm256_cvtss_f32(v);
#endif
}

OCTAVO_INLINE __m256 halves_added(F32 v) {
#if defined(OCTAVO_ISA_avx512)
  return _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
#else
  return v;
#endif
}

// sums[i] = sum of the lanes of acc[i], every i by the same tree.
OCTAVO_INLINE void lane_sums(const F32 (&acc)[8], float (&sums)[8]) {
  const __m256 s01 = _mm256_hadd_ps(halves_added(acc[0]), halves_added(acc[1]));
  const __m256 s23 = _mm256_hadd_ps(halves_added(acc[2]), halves_added(acc[3]));
  const __m256 s45 = _mm256_hadd_ps(halves_added(acc[4]), halves_added(acc[5]));
  const __m256 s67 = _mm256_hadd_ps(halves_added(acc[6]), halves_added(acc[7]));
  const __m256 s0123 = _mm256_hadd_ps(s01, s23), s4567 = _mm256_hadd_ps(s45, s67);
  const __m256 low = _mm256_permute2f128_ps(s0123, s4567, 0x20),
               high = _mm256_permute2f128_ps(s0123, s4567, 0x31);
  _mm256_storeu_ps(sums, _mm256_add_ps(low, high));
}

// scores[r][j] = q[row + r] . k[j] for keys first <= j < end, R rows and 8 / R keys at a time.
template <KvElement kElement, int R>
OCTAVO_INLINE void score_rows(const AttentionLeaf& leaf, int64_t row, int64_t first, int64_t end,
                              float (*scores)[kScorePitch]) {
  constexpr int C = 8 / R;
  const float* q = leaf.q + row * leaf.q_pitch;
  for (int64_t j = first; j < end; j += C) {
    int64_t key[C];
    for (int c = 0; c < C; ++c) key[c] = (j + c < end ? j + c : end - 1) * leaf.token_stride;
    if (row == 0 && leaf.next_k)
      for (int c = 0; c < C; ++c) prefetch_row<kElement>(leaf, leaf.v, j + c);
    F32 acc[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) acc[i] = zero();
    for (int64_t d = 0; d < leaf.width; d += kLanes) {
      F32 k[C];
#pragma GCC unroll 8
      for (int c = 0; c < C; ++c) k[c] = load_element<kElement>(leaf.k, key[c] + d);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        const F32 x = load(q + r * leaf.q_pitch + d);
#pragma GCC unroll 8
        for (int c = 0; c < C; ++c) acc[r * C + c] = fma(x, k[c], acc[r * C + c]);
      }
    }
    float sums[8];
    lane_sums(acc, sums);
    for (int r = 0; r < R; ++r)
      for (int c = 0; c < C; ++c) scores[r][j + c] = sums[r * C + c];
  }
}

// Scores of one row become probabilities relative to the leaf's maximum; writes m, l and `used` of the node.
OCTAVO_INLINE void softmax_row(const AttentionLeaf& leaf, int64_t row, float* s, const float* factor,
                               float* node) {
  const int64_t first = leaf.first[row], end = leaf.end[row];
  node[2] = first < end ? 1.0f : 0.0f;
  if (first >= end) return;
  for (int64_t j = 0; j < kLeafKeys; j += kLanes) store(s + j, mul(load(s + j), load(factor + j)));
  for (int64_t j = 0; j < first; ++j) s[j] = kMinusInf;
  for (int64_t j = end; j < kLeafKeys; ++j) s[j] = kMinusInf;
  F32 top = set1(kMinusInf);
  for (int64_t j = 0; j < kLeafKeys; j += kLanes)
    top = max(load(s + j), top);  // NOTE: a NaN score leaves top alone
  const float m = largest(top);
  const F32 shift = set1(m == kMinusInf ? 0.0f : m);  // all -inf: exp(-inf - 0) = 0, and a NaN stays NaN
  F32 total = zero();
  for (int64_t j = 0; j < kLeafKeys; j += kLanes) {
    const F32 p = exp(sub(load(s + j), shift));
    total = add(total, p);
    store(s + j, leaf.v_scale ? mul(p, load(leaf.v_scale + j)) : p);
  }
  node[0] = m;
  node[1] = sum(total);
}

// o[r][d .. d + N vectors] = sum over keys of p[r][j] v[j], keys in order.
template <KvElement kElement, int R, int N>
OCTAVO_INLINE void weigh_columns(const AttentionLeaf& leaf, int64_t row, int64_t d,
                                 const float (*p)[kScorePitch]) {
  F32 acc[R * N];
#pragma GCC unroll 8
  for (int i = 0; i < R * N; ++i) acc[i] = zero();
  const int64_t end = leaf.end[row];
  for (int64_t j = leaf.first[row]; j < end; ++j) {
    if (row == 0 && d == 0 && leaf.next_k) prefetch_row<kElement>(leaf, leaf.next_k, j);
    F32 v[N];
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) v[n] = load_element<kElement>(leaf.v, j * leaf.token_stride + d + n * kLanes);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const F32 weight = set1(p[r][j]);
#pragma GCC unroll 8
      for (int n = 0; n < N; ++n) acc[r * N + n] = fma(weight, v[n], acc[r * N + n]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    float* o = leaf.nodes + (row + r) * leaf.node_stride + kNodeHeader + d;
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) store(o + n * kLanes, acc[r * N + n]);
  }
}

template <KvElement kElement, int R>
OCTAVO_INLINE void weigh_rows(const AttentionLeaf& leaf, int64_t row, const float (*p)[kScorePitch]) {
  constexpr int N = 8 / R;
  int64_t d = 0;
  for (; d + N * kLanes <= leaf.width; d += N * kLanes) weigh_columns<kElement, R, N>(leaf, row, d, p);
  for (; d < leaf.width; d += kLanes) weigh_columns<kElement, R, 1>(leaf, row, d, p);
}

template <KvElement kElement, int R>
OCTAVO_INLINE void leaf_rows(const AttentionLeaf& leaf, int64_t row, const float* factor) {
  int64_t first = kLeafKeys, end = 0;  // keys that any of the R rows sees
  bool same = true;
  for (int r = 0; r < R; ++r) {
    const int64_t f = leaf.first[row + r], e = leaf.end[row + r];
    same = same && f == leaf.first[row] && e == leaf.end[row];
    if (f >= e) continue;
    first = f < first ? f : first;
    end = e > end ? e : end;
  }
  float scores[R][kScorePitch];
  score_rows<kElement, R>(leaf, row, first, end, scores);
  for (int r = 0; r < R; ++r)
    softmax_row(leaf, row + r, scores[r], factor, leaf.nodes + (row + r) * leaf.node_stride);
  if (first >= end) return;
  if (same) return weigh_rows<kElement, R>(leaf, row, scores);
  // NOTE: rows on the causal diagonal go one by one: 0 * v of a key that a row must not see is NaN where v is.
  for (int r = 0; r < R; ++r)
    if (leaf.first[row + r] < leaf.end[row + r]) weigh_rows<kElement, 1>(leaf, row + r, scores + r);
}

template <KvElement kElement>
void leaf_of(const AttentionLeaf& leaf) {
  float factor[kLeafKeys];  // a score is dot * factor
  for (int64_t j = 0; j < kLeafKeys; j += kLanes)
    store(factor + j, leaf.k_scale ? mul(set1(leaf.scale), load(leaf.k_scale + j)) : set1(leaf.scale));
  int64_t row = 0;
  for (; row + 4 <= leaf.rows; row += 4) leaf_rows<kElement, 4>(leaf, row, factor);
  for (; row + 2 <= leaf.rows; row += 2) leaf_rows<kElement, 2>(leaf, row, factor);
  for (; row < leaf.rows; ++row) leaf_rows<kElement, 1>(leaf, row, factor);
}

template <KvElement kElement>
void tile_of(const AttentionTile& tile) {
  for (int64_t j = tile.first; j < tile.end; ++j) {
    float* to = tile.to + j * tile.pitch;
    const int64_t from = j * tile.token_stride;
    int64_t d = 0;
    for (; d + kLanes <= tile.head_dim; d += kLanes)
      store(to + d, load_element<kElement>(tile.from, from + d));
    if (d < tile.head_dim) {  // the tail is staged: nothing past the row is read
      float staged[kLanes] = {};
      constexpr int64_t kBytes = kElement == KvElement::f32 ? 4 : kElement == KvElement::i8 ? 1 : 2;
      __builtin_memcpy(staged, static_cast<const uint8_t*>(tile.from) + (from + d) * kBytes,
                       static_cast<size_t>((tile.head_dim - d) * kBytes));
      store(to + d, load_element<kElement>(staged, 0));
      d += kLanes;
    }
    for (; d < tile.pitch; d += kLanes) store(to + d, zero());
  }
}

}  // namespace

void attention_leaf(const AttentionLeaf& leaf) {
  switch (leaf.element) {
    case KvElement::f32: return leaf_of<KvElement::f32>(leaf);
    case KvElement::f16: return leaf_of<KvElement::f16>(leaf);
    case KvElement::bf16: return leaf_of<KvElement::bf16>(leaf);
    default: return leaf_of<KvElement::i8>(leaf);
  }
}

void attention_tile(const AttentionTile& tile) {
  switch (tile.element) {
    case KvElement::f32: return tile_of<KvElement::f32>(tile);
    case KvElement::f16: return tile_of<KvElement::f16>(tile);
    case KvElement::bf16: return tile_of<KvElement::bf16>(tile);
    default: return tile_of<KvElement::i8>(tile);
  }
}

// m = max(ml, mr); l and o are scaled by exp(ml - m) and exp(mr - m) and added.
void attention_merge(float* left, const float* right, int64_t width) {
  if (right[2] == 0.0f) return;
  if (left[2] == 0.0f) {
    for (int64_t i = 0; i < kNodeHeader + width; i += kLanes) store(left + i, load(right + i));
    return;
  }
  const float m = left[0] > right[0] ? left[0] : right[0];
  const F32 shift = set1(m == kMinusInf ? 0.0f : m);
  // Both -inf: every p so far is 0 or NaN, and weights of 1 keep it so.
  const F32 wl = m == kMinusInf ? set1(1.0f) : exp(sub(set1(left[0]), shift));
  const F32 wr = m == kMinusInf ? set1(1.0f) : exp(sub(set1(right[0]), shift));
  left[1] = first_lane(fma(wr, set1(right[1]), mul(wl, set1(left[1]))));
  left[0] = m;
  float* o = left + kNodeHeader;
  for (int64_t d = 0; d < width; d += kLanes)
    store(o + d, fma(wr, load(right + kNodeHeader + d), mul(wl, load(o + d))));
}

void attention_finish(float* out, const float* node, int64_t width) {
  const bool empty = node[2] == 0.0f || node[1] == 0.0f;
  const F32 total = set1(node[1]);
  for (int64_t d = 0; d < width; d += kLanes)
    store(out + d, empty ? zero() : div(load(node + kNodeHeader + d), total));
}

}  // namespace octavo::OCTAVO_ISA
