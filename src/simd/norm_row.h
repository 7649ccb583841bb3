// What the rows of rms_norm and layer_norm have in common. A row is a struct with x, residual, u, y, codes, scale, width; it
// stays in the first-level cache between the passes.
#pragma once
#include "simd/quantize.h"
#include "simd/vec.h"

namespace octavo::OCTAVO_ISA {

// The sum over a row that `add_term(acc, i, n)` makes: four accumulators against the adds' latency, merged in a fixed order.
template <class AddTerm>
OCTAVO_INLINE float sum_row(int64_t width, const AddTerm& add_term) {
  F32 acc[4] = {zero(), zero(), zero(), zero()};
  int64_t i = 0;
  for (; i + 4 * kLanes <= width; i += 4 * kLanes)
    for (int j = 0; j < 4; ++j) acc[j] = add_term(acc[j], i + j * kLanes, int64_t{kLanes});
  for (; i + kLanes <= width; i += kLanes) acc[0] = add_term(acc[0], i, int64_t{kLanes});
  if (i < width) acc[1] = add_term(acc[1], i, width - i);
  return sum(add(add(acc[0], acc[1]), add(acc[2], acc[3])));
}

// u at the n lanes from i; with a residual u = x + residual is stored.
template <bool kResidual, class Row>
OCTAVO_INLINE F32 read_u(const Row& row, int64_t i, int64_t n) {
  F32 u = load_lanes(row.x + i, n);
  if constexpr (kResidual) store_lanes(row.u + i, u = add(u, load_lanes(row.residual + i, n)), n);
  return u;
}

template <bool kStore, bool kCodes, class Row, class Value>
OCTAVO_INLINE void write_row(Row row, const Value& y_at) {
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

// y, its codes, or both, as the row asks for them; `y_at(i, n)` gives y at the n lanes from i.
template <class Row, class Value>
OCTAVO_INLINE void write_row(Row row, const Value& y_at) {
  if (row.y && row.codes) return write_row<true, true>(row, y_at);
  if (row.y) return write_row<true, false>(row, y_at);
  write_row<false, true>(row, y_at);
}

}  // namespace octavo::OCTAVO_ISA
