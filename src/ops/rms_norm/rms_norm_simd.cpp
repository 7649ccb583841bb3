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
float sum_of_squares(const RmsNormRow& row) {
  const auto u_at = [&](int64_t i) {
    F32 u = load(row.x + i);
    if constexpr (kResidual) store(row.u + i, u = add(u, load(row.residual + i)));
    return u;
  };
  const auto u_tail = [&](int64_t i, Mask m) {
    F32 u = load(row.x + i, m);
    if constexpr (kResidual) store(row.u + i, u = add(u, load(row.residual + i, m)), m);
    return u;
  };
  F32 acc[4] = {zero(), zero(), zero(), zero()};
  int64_t i = 0;
  for (; i + 4 * kLanes <= row.width; i += 4 * kLanes)
    for (int j = 0; j < 4; ++j) {
      const F32 u = u_at(i + j * kLanes);
      acc[j] = fma(u, u, acc[j]);
    }
  for (; i < row.width; i += kLanes) {
    const F32 u = u_tail(i, first_lanes(row.width - i));
    acc[0] = fma(u, u, acc[0]);
  }
  return sum(add(add(acc[0], acc[1]), add(acc[2], acc[3])));
}

// Stores y and returns the bit-pattern maximum of |y|.
template <bool kStore, bool kCodes>
F32 write_y(const RmsNormRow& row, const float* u, float inverse) {
  const F32 factor = set1(inverse);
  F32 amax = zero();
  int64_t i = 0;
  for (; i + kLanes <= row.width; i += kLanes) {
    const F32 y = mul(mul(load(u + i), factor), load(row.weight + i));
    if constexpr (kStore) store(row.y + i, y);
    if constexpr (kCodes) amax = max_magnitude(amax, y);
  }
  if (i < row.width) {
    const Mask m = first_lanes(row.width - i);
    // NOTE: lanes past the end hold 0 * inverse * 0, which is NaN when eps = 0 made inverse infinite; the row
    // then is NaN or zero-by-zero anyway.
    const F32 y = mul(mul(load(u + i, m), factor), load(row.weight + i, m));
    if constexpr (kStore) store(row.y + i, y, m);
    if constexpr (kCodes) amax = max_magnitude(amax, y);
  }
  return amax;
}

template <bool kResidual, bool kStore, bool kCodes>
void norm_row(const RmsNormRow& row) {
  const float mean = sum_of_squares<kResidual>(row) / static_cast<float>(row.width);
  const float inverse = 1.0f / __builtin_sqrtf(mean + row.eps);
  const float* u = kResidual ? row.u : row.x;
  const F32 amax = write_y<kStore, kCodes>(row, u, inverse);
  if constexpr (kCodes) {
    const Coding coding = coding_of(largest_magnitude(amax));
    *row.scale = coding.scale;
    // y again: from memory where it was stored (y may lie on x), recomputed where not.
    write_codes(row.codes, row.width, coding.inverse, [&](int64_t i, int64_t n) {
      const Mask m = first_lanes(n);
      if constexpr (kStore) return load(row.y + i, m);
      return mul(mul(load(u + i, m), set1(inverse)), load(row.weight + i, m));
    });
  }
}

template <bool kResidual>
void norm_row(const RmsNormRow& row) {
  if (row.y && row.codes) return norm_row<kResidual, true, true>(row);
  if (row.y) return norm_row<kResidual, true, false>(row);
  norm_row<kResidual, false, true>(row);
}

}  // namespace

void rms_norm_row(const RmsNormRow& row) { row.residual ? norm_row<true>(row) : norm_row<false>(row); }

}  // namespace octavo::OCTAVO_ISA
