// y = u * (1 / sqrt(mean(u^2) + eps)) * weight over one row that stays in the first-level cache: one pass for
// the sum, one for y, one for the codes. Bound by memory for rows that come from there, by the adds' latency
// for short rows: hence four accumulators, merged in a fixed order.
#include "ops/rms_norm/rms_norm_simd.h"

#include "simd/quantize.h"
#include "simd/vec.h"

namespace octavo::OCTAVO_ISA {
namespace {

// sum of u^2; with a residual u = x + residual is stored on the way.
template <bool kResidual>
float sum_of_squares(RmsNormRow row) {
  const auto add_square = [&](F32 acc, int64_t i, int64_t n) __attribute__((always_inline)) {
    F32 u = load_lanes(row.x + i, n);
    if constexpr (kResidual) store_lanes(row.u + i, u = add(u, load_lanes(row.residual + i, n)), n);
    return fma(u, u, acc);
  };
  F32 acc[4] = {zero(), zero(), zero(), zero()};
  int64_t i = 0;
  for (; i + 4 * kLanes <= row.width; i += 4 * kLanes)
    for (int j = 0; j < 4; ++j) acc[j] = add_square(acc[j], i + j * kLanes, kLanes);
  for (; i + kLanes <= row.width; i += kLanes) acc[0] = add_square(acc[0], i, kLanes);
  if (i < row.width) acc[1] = add_square(acc[1], i, row.width - i);
  return sum(add(add(acc[0], acc[1]), add(acc[2], acc[3])));
}

// y at the n lanes from i. NOTE: lanes past the end become 0 * inverse * 0, which is NaN when eps = 0 made inverse
// infinite; the row then is NaN or zero-by-zero anyway.
OCTAVO_INLINE F32 y_at(const float* u, const float* weight, float inverse, int64_t i, int64_t n) {
  return mul(mul(load_lanes(u + i, n), set1(inverse)), load_lanes(weight + i, n));
}

// Stores y and returns the bit-pattern maximum of |y|.
template <bool kStore, bool kCodes>
F32 write_y(RmsNormRow row, const float* u, float inverse) {
  F32 amax = zero();
  for_lanes(
      row.width, [&](int64_t i, int64_t n) __attribute__((always_inline)) {
        const F32 y = y_at(u, row.weight, inverse, i, n);
        if constexpr (kStore) store_lanes(row.y + i, y, n);
        if constexpr (kCodes) amax = max_magnitude(amax, y);
      });
  return amax;
}

template <bool kResidual, bool kStore, bool kCodes>
void norm_row(RmsNormRow row) {
  const float mean = sum_of_squares<kResidual>(row) / static_cast<float>(row.width);
  const float inverse = 1.0f / __builtin_sqrtf(mean + row.eps);
  const float* u = kResidual ? row.u : row.x;
  if constexpr (!kCodes) {
    write_y<kStore, kCodes>(row, u, inverse);
  } else {
    const Coding coding = coding_of(largest_magnitude(write_y<kStore, kCodes>(row, u, inverse)));
    *row.scale = coding.scale;
    // y again: from memory where it was stored (y may lie on x), recomputed where not.
    write_codes(
        row.codes, row.width, coding.inverse, [&](int64_t i, int64_t n) __attribute__((always_inline)) {
          return kStore ? load_lanes(row.y + i, n) : y_at(u, row.weight, inverse, i, n);
        });
  }
}

template <bool kResidual>
void norm_row(RmsNormRow row) {
  if (row.y && row.codes) return norm_row<kResidual, true, true>(row);
  if (row.y) return norm_row<kResidual, true, false>(row);
  norm_row<kResidual, false, true>(row);
}

}  // namespace

void rms_norm_row(const RmsNormRow& row) { row.residual ? norm_row<true>(row) : norm_row<false>(row); }

}  // namespace octavo::OCTAVO_ISA
