// Exact INT8 products, written once over gemm_w8a8_dot.h. Any order of the s32 sums gives the same bits, so tiles and
// blocks are free to serve speed alone.
//
//   few rows    dot products along k straight from memory: each weight is read once; bound by the read rate
//   many rows   a block of x (L2) meets a panel of w (L1), laid out so that a vector holds kLanes columns and each lane
//               kGroup consecutive k: kTileRows x kTileVectors accumulators live in registers; bound by the dot unit
#include "ops/gemm_w8a8/gemm_w8a8_simd.h"

#include "ops/gemm_w8a8/gemm_w8a8_dot.h"

namespace octavo::OCTAVO_ISA {
namespace {

// ---- few rows

// y of row m, columns n .. n + count (at most 4), from their sums.
OCTAVO_INLINE void store_outputs(const Int8Gemm& g, int64_t m, int64_t n, __m128i acc, int count) {
  alignas(16) float w_scale[4] = {}, bias[4] = {}, y[4];
  alignas(16) int32_t sums[4];
  if (g.y_acc) {
    _mm_store_si128(reinterpret_cast<__m128i*>(sums), acc);
    for (int j = 0; j < count; ++j) g.y_acc[m * g.y_stride + n + j] = sums[j];
    return;
  }
  for (int j = 0; j < count; ++j) {
    w_scale[j] = g.w_scale[n + j];
    if (g.bias) bias[j] = g.bias[n + j];
  }
  const __m128 scaled = _mm_mul_ps(_mm_cvtepi32_ps(acc), _mm_load_ps(w_scale));
  _mm_store_ps(y, _mm_fmadd_ps(scaled, _mm_set1_ps(g.x_scale[m]), _mm_load_ps(bias)));
  for (int j = 0; j < count; ++j) g.y[m * g.y_stride + n + j] = y[j];
}

// kRows x kCols outputs from (m, n) on. NOTE: it asks for the next kCols rows of w, in the order in which they lie in
// memory: the processor's own prefetchers do less well on kCols short streams.
template <int kRows, int kCols>
OCTAVO_INLINE void stream_tile(const Int8Gemm& g, int64_t m, int64_t n) {
  constexpr int64_t kLineCodes = 64;
  const int8_t* x = g.x + m * g.x_stride;
  const int8_t* w = g.w + n * g.w_stride;
  const int8_t* next = w + kCols * g.w_stride;
  Sums acc[kRows][4], sum[4];
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    sum[j] = (Sums)zero_int();
#pragma GCC unroll 4
    for (int i = 0; i < kRows; ++i) acc[i][j] = (Sums)zero_int();
  }
  const bool needs_sums = kOffset != 0 && !g.w_code_sum;
  const auto add = [&](const I32(&x_now)[kRows], I32 w_now, int j) __attribute__((always_inline)) {
#pragma GCC unroll 4
    for (int i = 0; i < kRows; ++i) acc[i][j] = dot(acc[i][j], x_now[i], w_now);
    if (needs_sums) sum[j] = (Sums)sum_codes((I32)sum[j], w_now);
  };
  const auto step = [&](int64_t k) __attribute__((always_inline)) {
    I32 x_now[kRows];
#pragma GCC unroll 4
    for (int i = 0; i < kRows; ++i) x_now[i] = x_operand(x + i * g.x_stride + k);
#pragma GCC unroll 4
    for (int j = 0; j < kCols; ++j) add(x_now, w_operand(w + j * g.w_stride + k), j);
  };
  int64_t k = 0;
  for (; k + kLineCodes <= g.k; k += kLineCodes) {
#pragma GCC unroll 4
    for (int j = 0; j < kCols; ++j)
      _mm_prefetch(reinterpret_cast<const char*>(next + kCols * k + j * kLineCodes), _MM_HINT_T0);
#pragma GCC unroll 4
    for (int64_t inside = 0; inside < kLineCodes; inside += kOperandCodes) step(k + inside);
  }
  for (; k + kOperandCodes <= g.k; k += kOperandCodes) step(k);
  if (k < g.k) {
    I32 x_now[kRows];
    for (int i = 0; i < kRows; ++i) x_now[i] = x_operand(x + i * g.x_stride + k, g.k - k);
    for (int j = 0; j < kCols; ++j) add(x_now, w_operand(w + j * g.w_stride + k, g.k - k), j);
  }

  __m128i code_sum = add_lanes(sum[0], sum[1], sum[2], sum[3]);
  if (kOffset != 0 && g.w_code_sum) {
    alignas(16) int32_t given[4] = {};
    for (int j = 0; j < kCols; ++j) given[j] = g.w_code_sum[n + j];
    code_sum = _mm_load_si128(reinterpret_cast<const __m128i*>(given));
  }
  for (int i = 0; i < kRows; ++i) {
    const __m128i total = add_lanes(acc[i][0], acc[i][1], acc[i][2], acc[i][3]);
    const __m128i offset = _mm_mullo_epi32(code_sum, _mm_set1_epi32(kOffset));
    store_outputs(g, m + i, n, _mm_sub_epi32(total, offset), kCols);
  }
}

template <int kCols>
OCTAVO_INLINE void stream_rows(const Int8Gemm& g, int64_t n) {
  int64_t m = 0;
  for (; m + kStreamRows <= g.m; m += kStreamRows) stream_tile<kStreamRows, kCols>(g, m, n);
  for (; m < g.m; ++m) stream_tile<1, kCols>(g, m, n);
}

void stream_columns(const Int8Gemm& g, int64_t n_begin, int64_t n_end) {
  int64_t n = n_begin;
  for (; n + 4 <= n_end; n += 4) stream_rows<4>(g, n);
  for (; n < n_end; ++n) stream_rows<1>(g, n);
}

// ---- many rows

inline constexpr int64_t kPanelCols = kTileVectors * kLanes;
inline constexpr int64_t kBlockGroups = kBlockDepth / kGroup;
static_assert(kBlockCols % kPanelCols == 0 && kBlockRows % kPackRows == 0 && kBlockDepth % kPackCodes == 0);
inline constexpr int64_t kStepCodes = kStepGroups * kGroup;
inline constexpr int64_t kRowsAhead = 8;  // of x, asked for before they are read

struct Int8Block {
  alignas(64) XCode x[kBlockRows * kBlockDepth];  // at packed_x
  alignas(64) WCode w[kBlockGroups][kTileVectors][kLanes][kGroup];
  alignas(64) int32_t acc[kBlockCols / kPanelCols][kBlockRows][kPanelCols];
  // What acc holds too much, so far: of each row of x, and of each row of w.
  alignas(64) int32_t x_surplus[kBlockRows][kLanes];
  alignas(64) int32_t w_surplus[kBlockCols];
};

OCTAVO_INLINE void prefetch_row(const int8_t* codes, int64_t count) {
  constexpr int64_t kLineCodes = 64;
  for (int64_t at = 0; at < count; at += kLineCodes)
    _mm_prefetch(reinterpret_cast<const char*>(codes + at), _MM_HINT_T0);
}

// Rows m .. m + rows of x, k .. k + depth, packed; zeros up to whole vectors. What is packed of rows behind the last is
// never read.
OCTAVO_INLINE void fill_x(Int8Block& block, const Int8Gemm& g, int64_t m, int64_t rows, int64_t k,
                          int64_t depth) {
  for (int64_t i = 0; i < rows; i += kPackRows) {
    const int8_t* x[kPackRows];
    I32 surplus[kPackRows];
    for (int r = 0; r < kPackRows; ++r) {
      x[r] = g.x + (m + (i + r < rows ? i + r : i)) * g.x_stride + k;
      surplus[r] = load_int(block.x_surplus[i + r]);
      prefetch_row(x[r] + kRowsAhead * g.x_stride, depth);
    }
    const auto pack = [&](int64_t at, const int8_t* const(&codes)[kPackRows]) __attribute__((always_inline)) {
      pack_x(&block.x[packed_x(i, 0, at / kStepCodes, 0, kBlockDepth)], codes, surplus);
    };
    int64_t at = 0;
    for (; at + kPackCodes <= depth; at += kPackCodes) {
      const int8_t* codes[kPackRows];
      for (int r = 0; r < kPackRows; ++r) codes[r] = x[r] + at;
      pack(at, codes);
    }
    if (at < depth) {
      int8_t padded[kPackRows][kPackCodes] = {};
      const int8_t* codes[kPackRows];
      for (int r = 0; r < kPackRows; ++r) {
        for (int64_t j = 0; j < depth - at; ++j) padded[r][j] = x[r][at + j];
        codes[r] = padded[r];
      }
      pack(at, codes);
    }
    for (int r = 0; r < kPackRows; ++r) store_int(block.x_surplus[i + r], surplus[r]);
  }
}

// kLanes rows of w from n on (zeros from n_end on), k .. k + depth, as panel `v`; zeros up to whole vectors.
OCTAVO_INLINE void fill_panel(Int8Block& block, int64_t v, const Int8Gemm& g, int64_t n, int64_t n_end,
                              int64_t k, int64_t depth) {
  constexpr int64_t kVectors = kPanelCodes / kGroup;
  for (int64_t at = 0; at < depth || at % kPackCodes; at += kPanelCodes) {
    const int8_t* w = g.w + n * g.w_stride + k + at;
    I32 packed[kVectors];
    if (n + kLanes <= n_end && at + kPanelCodes <= depth) {
      pack_w(w, g.w_stride, packed);
    } else {
      int8_t padded[kLanes][kPanelCodes] = {};
      for (int64_t j = 0; j < kLanes && n + j < n_end; ++j)
        for (int64_t i = 0; i < kPanelCodes && at + i < depth; ++i) padded[j][i] = w[j * g.w_stride + i];
      pack_w(padded[0], kPanelCodes, packed);
    }
    for (int64_t i = 0; i < kVectors; ++i) store_int(block.w[at / kGroup + i][v], packed[i]);
  }
}

OCTAVO_INLINE void add_w_surplus(Int8Block& block, int v, int64_t column, int64_t steps) {
  I32 sum = load_int(&block.w_surplus[column]);
  for (int64_t step = 0; step < steps; ++step) {
    I32 w[kStepGroups];
    for (int g = 0; g < kStepGroups; ++g) w[g] = load_int(block.w[step * kStepGroups + g][v]);
    sum = w_surplus(sum, w);
  }
  store_int(&block.w_surplus[column], sum);
}

// acc[panel][i .. i + kRows] += x * w over `steps` steps of k.
template <int kRows>
OCTAVO_INLINE void multiply_tile(Int8Block& block, int64_t panel, int64_t i, int64_t steps) {
  using Group = WCode[kTileVectors][kLanes][kGroup];
  // NOTE: a pointer of which the compiler cannot know that it is block.w. Else it would load what two rows use once, in
  // an instruction of its own, see multiply_step.
  const Group* const volatile hidden = block.w;
  const Group *const w = block.w, *const same_w = hidden;
  int32_t(*const to)[kPanelCols] = &block.acc[panel][i];
  Sums acc[kRows][kTileVectors];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < kTileVectors; ++v) acc[r][v] = (Sums)load_int(&to[r][v * kLanes]);
#pragma GCC unroll 4
  for (int64_t step = 0; step < steps; ++step) {
    I32 x[kRows][kStepGroups];
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 2
      for (int g = 0; g < kStepGroups; ++g)
        x[r][g] = repeat_group(&block.x[packed_x(i, r, step, g, kBlockDepth)]);
#pragma GCC unroll 4
    for (int v = 0; v < kTileVectors; ++v) {
      const int64_t first = step * kStepGroups;
      const I32 w_last = load_int(w[first + kStepGroups - 1][v]);
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r)
        acc[r][v] = multiply_step(acc[r][v], x[r], w_last, (r % 2 ? same_w : w)[first][v]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < kTileVectors; ++v) store_int(&to[r][v * kLanes], (I32)acc[r][v]);
}

// The last rows, 1 to kMost of them, as one tile.
template <int kMost>
OCTAVO_INLINE void multiply_rest(Int8Block& block, int64_t panel, int64_t i, int64_t rows, int64_t steps) {
  if (rows == kMost) return multiply_tile<kMost>(block, panel, i, steps);
  if constexpr (kMost > 1) multiply_rest<kMost - 1>(block, panel, i, rows, steps);
}

OCTAVO_INLINE void multiply_rows(Int8Block& block, int64_t panel, int64_t rows, int64_t steps) {
  int64_t i = 0;
  for (; i + kTileRows <= rows; i += kTileRows) multiply_tile<kTileRows>(block, panel, i, steps);
  if (i < rows) multiply_rest<kTileRows - 1>(block, panel, i, rows - i, steps);
}

// y of `rows` rows from m on, columns n .. n_end.
OCTAVO_INLINE void finish_block(const Int8Block& block, const Int8Gemm& g, int64_t m, int64_t rows, int64_t n,
                                int64_t n_end) {
  for (int64_t i = 0; i < rows; ++i) {
    int32_t of_x = 0;
    for (const int32_t lane : block.x_surplus[i]) of_x += lane;
    for (int64_t j = 0; j < n_end - n; j += kLanes) {
      const Mask in_range = first_lanes(n_end - n - j);
      const bool whole = n_end - n - j >= kLanes;  // NOTE: a masked store takes Zen 3 some 20 cycles
      const I32 acc = without_surplus(load_int(&block.acc[j / kPanelCols][i][j % kPanelCols]), of_x,
                                      load_int(&block.w_surplus[j]));
      const int64_t at = (m + i) * g.y_stride + n + j;
      if (g.y_acc) {
        whole ? store_int(g.y_acc + at, acc) : store_int(g.y_acc + at, acc, in_range);
        continue;
      }
      const F32 scaled = mul(to_floats(acc), load(g.w_scale + n + j, in_range));
      const F32 bias = g.bias ? load(g.bias + n + j, in_range) : zero();
      const F32 y = fma(scaled, set1(g.x_scale[m + i]), bias);
      whole ? store(g.y + at, y) : store(g.y + at, y, in_range);
    }
  }
}

// Columns n .. n_end, at most kBlockCols.
OCTAVO_INLINE void multiply_block(Int8Block& block, const Int8Gemm& g, int64_t m, int64_t rows, int64_t n,
                                  int64_t n_end) {
  for (int64_t panel = 0; panel * kPanelCols < n_end - n; ++panel)
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < kPanelCols; j += kLanes) store_int(&block.acc[panel][i][j], zero_int());
  for (auto& surplus : block.x_surplus) store_int(surplus, zero_int());
  const bool given = kOffset != 0 && g.w_code_sum != nullptr;
  for (int64_t j = 0; j < kBlockCols; j += kLanes)
    store_int(&block.w_surplus[j], given && n + j < n_end
                                       ? load_int(g.w_code_sum + n + j, first_lanes(n_end - n - j))
                                       : zero_int());

  for (int64_t k = 0; k < g.k; k += kBlockDepth) {
    const int64_t depth = g.k - k < kBlockDepth ? g.k - k : kBlockDepth;
    const int64_t steps = (depth + kStepCodes - 1) / kStepCodes;
    fill_x(block, g, m, rows, k, depth);
    for (int64_t column = 0; column < n_end - n; column += kPanelCols) {
      for (int v = 0; v < kTileVectors; ++v) {
        fill_panel(block, v, g, n + column + v * kLanes, n_end, k, depth);
        if (!given) add_w_surplus(block, v, column + v * kLanes, steps);
      }
      const int64_t next = n + column + kPanelCols;  // what is packed next comes while this multiplies
      for (int64_t row = next; row < next + kPanelCols && row < n_end; ++row)
        prefetch_row(g.w + row * g.w_stride + k, depth);
      multiply_rows(block, column / kPanelCols, rows, steps);
    }
  }
  finish_block(block, g, m, rows, n, n_end);
}

void block_columns(const Int8Gemm& g, int64_t n_begin, int64_t n_end) {
  Int8Block block;
  for (int64_t m = 0; m < g.m; m += kBlockRows)
    for (int64_t n = n_begin; n < n_end; n += kBlockCols) {
      const int64_t rows = g.m - m < kBlockRows ? g.m - m : kBlockRows;
      multiply_block(block, g, m, rows, n, n_end - n < kBlockCols ? n_end : n + kBlockCols);
    }
}

constexpr int64_t kFewRows = 8;

}  // namespace

void gemm_w8a8_columns(const Int8Gemm& g, int64_t n_begin, int64_t n_end) {
  if (g.m <= kFewRows || g.k == 0)
    stream_columns(g, n_begin, n_end);
  else
    block_columns(g, n_begin, n_end);
}

}  // namespace octavo::OCTAVO_ISA
