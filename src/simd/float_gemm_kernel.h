// Float activations times weights of any type, converted in registers: one kernel body for gemm_f and gemm_w8a16.
//
// Every output is one dot product over k, kept as kLanes partial sums: lane j adds the products of k = j, j + kLanes, ...
// in ascending order, and add_lanes folds them in one fixed order. Tiles, blocks and threads only choose which outputs
// are computed together, so a row's bits depend neither on M nor on the number of threads.
//
// Two schedules:
//   few rows    weights are streamed once from memory and converted in registers: bound by the memory's read rate
//   many rows   a block of weights is converted once into L1 and meets a block of rows from L2: bound by FMA
#pragma once
#include "core/dtype.h"
#include "simd/float_gemm.h"
#include "simd/vec.h"

namespace octavo::OCTAVO_ISA {

// kLanes weights as floats.
OCTAVO_INLINE F32 load_weights(const int8_t* p) { return from_codes(p); }
OCTAVO_INLINE F32 load_weights(const float* p) { return load(p); }
OCTAVO_INLINE F32 load_weights(const F16* p) { return from_f16(&p->bits); }
OCTAVO_INLINE F32 load_weights(const BF16* p) { return from_bf16(&p->bits); }

// The first `count` < kLanes weights, then zeros; reads nothing behind them.
template <class Weight>
OCTAVO_INLINE F32 load_weights(const Weight* p, int64_t count) {
  Weight padded[kLanes] = {};
  for (int64_t i = 0; i < count; ++i) padded[i] = p[i];
  return load_weights(padded);
}

// The sums of the lanes of four vectors, in the order that every output of these ops uses.
OCTAVO_INLINE __m128 add_lanes(F32 a, F32 b, F32 c, F32 d) {
#if defined(OCTAVO_ISA_avx512)
  const auto fold = [](F32 v) __attribute__((always_inline)) {
    return _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
  };
  const __m256 a8 = fold(a), b8 = fold(b), c8 = fold(c), d8 = fold(d);
#else
  const __m256 a8 = a, b8 = b, c8 = c, d8 = d;
#endif
  const __m256 quads = _mm256_hadd_ps(_mm256_hadd_ps(a8, b8), _mm256_hadd_ps(c8, d8));
  return _mm_add_ps(_mm256_castps256_ps128(quads), _mm256_extractf128_ps(quads, 1));
}

// y[0..count) of one row from the four sums: scaled, biased, rounded once.
OCTAVO_INLINE void store_outputs(const FloatGemm& g, int64_t m, int64_t n, __m128 sums, int count) {
  alignas(16) float scale[4] = {1, 1, 1, 1}, bias[4] = {}, out[4];
  for (int j = 0; j < count; ++j) {
    if (g.w_scale) scale[j] = g.w_scale[n + j];
    if (g.bias) bias[j] = g.bias[n + j];
  }
  _mm_store_ps(out, _mm_fmadd_ps(sums, _mm_load_ps(scale), _mm_load_ps(bias)));
  for (int j = 0; j < count; ++j) g.y[m * g.y_stride + n + j] = out[j];
}

// Rows of x and of w that share a tile of accumulators: as many as the registers hold.
#if defined(OCTAVO_ISA_avx512)
inline constexpr int kTileRows = 6;
#else
inline constexpr int kTileRows = 3;
#endif
inline constexpr int kTileCols = 4;

template <int kRows, int kCols>
OCTAVO_INLINE void clear(F32 (&acc)[kRows][kCols]) {
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < kCols; ++j) acc[i][j] = zero();
}

template <int kRows, int kCols>
OCTAVO_INLINE void multiply_add(F32 (&acc)[kRows][kCols], const F32 (&x)[kRows], F32 w, int j) {
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i) acc[i][j] = fma(x[i], w, acc[i][j]);
}

template <int kRows, int kCols>
OCTAVO_INLINE void finish(const F32 (&acc)[kRows][kCols], const FloatGemm& g, int64_t m, int64_t n) {
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i) {
    F32 four[4];
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) four[j] = j < kCols ? acc[i][j < kCols ? j : 0] : zero();
    store_outputs(g, m + i, n, add_lanes(four[0], four[1], four[2], four[3]), kCols);
  }
}

// ---- few rows: w from memory, once

inline constexpr int64_t kLineBytes = 64;

// kRows x kCols outputs from (m, n) on. NOTE: it asks for the next kCols rows of w, in the order in which they lie in
// memory: the processor's own prefetchers do less well on kCols short streams (page of gemm_w8a16).
template <int kRows, int kCols, class Weight>
OCTAVO_INLINE void stream_tile(const FloatGemm& g, int64_t m, int64_t n) {
  constexpr int64_t kLineElems = kLineBytes / static_cast<int64_t>(sizeof(Weight));
  constexpr int64_t kChunk = kLineElems > kLanes ? kLineElems : kLanes;
  const float* x = g.x + m * g.x_stride;
  const Weight* w = static_cast<const Weight*>(g.w) + n * g.w_stride;
  const Weight* next = w + kCols * g.w_stride;
  F32 acc[kRows][kCols];
  clear(acc);
  const auto step = [&](int64_t k) __attribute__((always_inline)) {
    F32 x_now[kRows];
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i) x_now[i] = load(x + i * g.x_stride + k);
#pragma GCC unroll 4
    for (int j = 0; j < kCols; ++j) multiply_add(acc, x_now, load_weights(w + j * g.w_stride + k), j);
  };
  int64_t k = 0;
  for (; k + kChunk <= g.k; k += kChunk) {
#pragma GCC unroll 4
    for (int j = 0; j < kCols; ++j)
      _mm_prefetch(reinterpret_cast<const char*>(next + kCols * k + j * kLineElems), _MM_HINT_T0);
#pragma GCC unroll 8
    for (int64_t inside = 0; inside < kChunk; inside += kLanes) step(k + inside);
  }
  for (; k + kLanes <= g.k; k += kLanes) step(k);
  if (k < g.k) {
    const Mask tail = first_lanes(g.k - k);
    F32 x_now[kRows];
    for (int i = 0; i < kRows; ++i) x_now[i] = load(x + i * g.x_stride + k, tail);
    for (int j = 0; j < kCols; ++j)
      multiply_add(acc, x_now, load_weights(w + j * g.w_stride + k, g.k - k), j);
  }
  finish(acc, g, m, n);
}

template <int kCols, class Weight>
OCTAVO_INLINE void stream_rows(const FloatGemm& g, int64_t n) {
  int64_t m = 0;
  // The second tile of rows finds these rows of w in the cache.
  for (; g.m - m > 4 || g.m - m == 3; m += 3) stream_tile<3, kCols, Weight>(g, m, n);
  for (; g.m - m >= 2; m += 2) stream_tile<2, kCols, Weight>(g, m, n);
  if (m < g.m) stream_tile<1, kCols, Weight>(g, m, n);
}

template <class Weight>
OCTAVO_INLINE void stream_columns(const FloatGemm& g, int64_t n_begin, int64_t n_end) {
  int64_t n = n_begin;
  for (; n + kTileCols <= n_end; n += kTileCols) stream_rows<kTileCols, Weight>(g, n);
  for (; n < n_end; ++n) stream_rows<1, Weight>(g, n);
}

// ---- many rows: blocks in the caches

inline constexpr int64_t kBlockRows = 48;    // of x, in L2; a multiple of kTileRows
inline constexpr int64_t kBlockCols = 16;    // of w, as floats in L1
inline constexpr int64_t kBlockDepth = 256;  // of k

struct FloatBlock {
  alignas(64) float w[kBlockCols][kBlockDepth];               // zero behind the last k
  alignas(64) float partial[kBlockRows][kBlockCols][kLanes];  // accumulators between two blocks of k
};

// Rows n .. n + cols of w, k in [k_begin, k_begin + depth), as floats; zeros up to whole vectors and whole tiles.
template <class Weight>
OCTAVO_INLINE void convert_block(FloatBlock& block, const FloatGemm& g, int64_t n, int64_t cols,
                                 int64_t k_begin, int64_t depth) {
  for (int64_t j = 0; j < cols; ++j) {
    const Weight* w = static_cast<const Weight*>(g.w) + (n + j) * g.w_stride + k_begin;
    int64_t k = 0;
    for (; k + kLanes <= depth; k += kLanes) store(&block.w[j][k], load_weights(w + k));
    if (k < depth) store(&block.w[j][k], load_weights(w + k, depth - k));
  }
}

template <int kRows, int kCols>
OCTAVO_INLINE void block_tile(FloatBlock& block, const FloatGemm& g, int64_t m_first, int64_t i_first,
                              int64_t n_first, int64_t j_first, int64_t k_begin, int64_t depth) {
  const float* x = g.x + (m_first + i_first) * g.x_stride + k_begin;
  F32 acc[kRows][kCols];
  clear(acc);
  if (k_begin > 0)
    for (int i = 0; i < kRows; ++i)
      for (int j = 0; j < kCols; ++j) acc[i][j] = load(block.partial[i_first + i][j_first + j]);
  int64_t k = 0;
  for (; k + kLanes <= depth; k += kLanes) {
    F32 x_now[kRows];
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i) x_now[i] = load(x + i * g.x_stride + k);
#pragma GCC unroll 4
    for (int j = 0; j < kCols; ++j) multiply_add(acc, x_now, load(&block.w[j_first + j][k]), j);
  }
  if (k < depth) {
    const Mask tail = first_lanes(depth - k);
    F32 x_now[kRows];
    for (int i = 0; i < kRows; ++i) x_now[i] = load(x + i * g.x_stride + k, tail);
    for (int j = 0; j < kCols; ++j) multiply_add(acc, x_now, load(&block.w[j_first + j][k]), j);
  }
  if (k_begin + depth == g.k) return finish(acc, g, m_first + i_first, n_first + j_first);
  for (int i = 0; i < kRows; ++i)
    for (int j = 0; j < kCols; ++j) store(block.partial[i_first + i][j_first + j], acc[i][j]);
}

template <int kRows>
OCTAVO_INLINE void block_rows(FloatBlock& block, const FloatGemm& g, int64_t m, int64_t i, int64_t n,
                              int64_t cols, int64_t k_begin, int64_t depth) {
  int64_t j = 0;
  for (; j + kTileCols <= cols; j += kTileCols)
    block_tile<kRows, kTileCols>(block, g, m, i, n, j, k_begin, depth);
  for (; j < cols; ++j) block_tile<kRows, 1>(block, g, m, i, n, j, k_begin, depth);
}

template <class Weight>
OCTAVO_INLINE void block_columns(const FloatGemm& g, int64_t n_begin, int64_t n_end) {
  FloatBlock block;
  for (int64_t m = 0; m < g.m; m += kBlockRows) {
    const int64_t rows = g.m - m < kBlockRows ? g.m - m : kBlockRows;
    for (int64_t n = n_begin; n < n_end; n += kBlockCols) {
      const int64_t cols = n_end - n < kBlockCols ? n_end - n : kBlockCols;
      for (int64_t k = 0; k < g.k; k += kBlockDepth) {
        const int64_t depth = g.k - k < kBlockDepth ? g.k - k : kBlockDepth;
        convert_block<Weight>(block, g, n, cols, k, depth);
        int64_t i = 0;
        for (; i + kTileRows <= rows; i += kTileRows)
          block_rows<kTileRows>(block, g, m, i, n, cols, k, depth);
        for (; i < rows; ++i) block_rows<1>(block, g, m, i, n, cols, k, depth);
      }
    }
  }
}

// Up to this many rows the weights' way from memory costs more than converting them once for each tile of rows.
inline constexpr int64_t kFewRows = 8;

// Outputs [0, g.m) x [n_begin, n_end).
template <class Weight>
OCTAVO_INLINE void float_gemm_columns(const FloatGemm& g, int64_t n_begin, int64_t n_end) {
  if (g.m <= kFewRows || g.k == 0)
    stream_columns<Weight>(g, n_begin, n_end);
  else
    block_columns<Weight>(g, n_begin, n_end);
}

}  // namespace octavo::OCTAVO_ISA
