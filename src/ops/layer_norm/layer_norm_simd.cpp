// y = (u - mean) / sqrt(var + eps) * weight + bias over one row that stays in the first-level cache: one pass for the
// mean, one for the variance about it, one for y, one for the codes. Bound by memory for rows that come from there.
#include "ops/layer_norm/layer_norm_simd.h"

#include "simd/quantize.h"
#include "simd/vec.h"

namespace octavo::OCTAVO_ISA {
namespace {

// sum of term(i, mask-or-all) over the row with four accumulators, merged in a fixed order.
template <class Whole, class Tail>
OCTAVO_INLINE float sum_row(int64_t width, const Whole& whole, const Tail& tail) {
  F32 acc[4] = {zero(), zero(), zero(), zero()};
  int64_t i = 0;
  for (; i + 4 * kLanes <= width; i += 4 * kLanes)
    for (int j = 0; j < 4; ++j) acc[j] = whole(acc[j], i + j * kLanes);
  for (; i + kLanes <= width; i += kLanes) acc[0] = whole(acc[0], i);
  if (i < width) acc[1] = tail(acc[1], i, first_lanes(width - i));
  return sum(add(add(acc[0], acc[1]), add(acc[2], acc[3])));
}

// With a residual u = x + residual is stored on the way.
template <bool kResidual>
float sum_of_u(LayerNormRow row) {
  return sum_row(
      row.width,
      [&](F32 acc, int64_t i) {
        F32 u = load(row.x + i);
        if constexpr (kResidual) store(row.u + i, u = add(u, load(row.residual + i)));
        return add(acc, u);
      },
      [&](F32 acc, int64_t i, Mask m) {
        F32 u = load(row.x + i, m);
        if constexpr (kResidual) store(row.u + i, u = add(u, load(row.residual + i, m)), m);
        return add(acc, u);
      });
}

float sum_of_squares_about(const float* u, int64_t width, float mean) {
  const F32 center = set1(mean);
  return sum_row(
      width,
      [&](F32 acc, int64_t i) {
        const F32 d = sub(load(u + i), center);
        return fma(d, d, acc);
      },
      [&](F32 acc, int64_t i,
          Mask m) {  // lanes past the end become mean - mean = 0, or NaN where the row is NaN anyway
        const F32 d = sub(load(u + i, m), keep(center, m));
        return fma(d, d, acc);
      });
}

template <bool kResidual, bool kStore, bool kCodes>
void norm_row(LayerNormRow row) {
  const auto count = static_cast<float>(row.width);
  const float mean = sum_of_u<kResidual>(row) / count;
  const float* u = kResidual ? row.u : row.x;
  const float inverse = 1.0f / __builtin_sqrtf(sum_of_squares_about(u, row.width, mean) / count + row.eps);
  const auto y_at = [&](int64_t i, int64_t n) __attribute__((always_inline)) {
    const F32 center = n >= kLanes ? set1(mean) : keep(set1(mean), first_lanes(n));
    const F32 y = mul(mul(sub(load_lanes(u + i, n), center), set1(inverse)), load_lanes(row.weight + i, n));
    return row.bias ? add(y, load_lanes(row.bias + i, n)) : y;
  };
  F32 amax = zero();
  for_lanes(
      row.width, [&](int64_t i, int64_t n) __attribute__((always_inline)) {
        const F32 y = y_at(i, n);
        if constexpr (kStore) store_lanes(row.y + i, y, n);
        if constexpr (kCodes) amax = max_magnitude(amax, y);
      });
  if constexpr (kCodes) {
    const Coding coding = coding_of(largest_magnitude(amax));
    *row.scale = coding.scale;
    // y again: from memory where it was stored (y may lie on x), recomputed where not.
    write_codes(
        row.codes, row.width, coding.inverse, [&](int64_t i, int64_t n) __attribute__((always_inline)) {
          if constexpr (kStore) return load_lanes(row.y + i, n);
          return y_at(i, n);
        });
  }
}

template <bool kResidual>
void norm_row(LayerNormRow row) {
  if (row.y && row.codes) return norm_row<kResidual, true, true>(row);
  if (row.y) return norm_row<kResidual, true, false>(row);
  norm_row<kResidual, false, true>(row);
}

}  // namespace

void layer_norm_row(const LayerNormRow& row) { row.residual ? norm_row<true>(row) : norm_row<false>(row); }

}  // namespace octavo::OCTAVO_ISA
