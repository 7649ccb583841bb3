// out = gate * sigmoid(gate) * up over one row. With t = e^-|gate|, which cannot overflow,
//   sigmoid(gate) = 1 / (1 + t) for gate >= 0, t / (1 + t) below.
// Bound by memory for rows that come from there, by the exponential for rows in a cache.
#include "ops/silu_mul/silu_mul_simd.h"

#include "simd/quantize.h"
#include "simd/vec.h"

namespace octavo::OCTAVO_ISA {
namespace {

OCTAVO_INLINE F32 silu_times(F32 gate, F32 up) {
  const F32 one = set1(1.0f);
  const F32 t = exp(sub(zero(), abs(gate)));
  const F32 sigmoid = div(select_negative(gate, t, one), add(one, t));
  return mul(mul(gate, sigmoid), up);
}

template <bool kStore, bool kCodes>
void multiply_row(SiluMulRow row) {
  const auto product_at = [&](int64_t i, int64_t n) __attribute__((always_inline)) {
    return silu_times(load_lanes(row.gate + i, n), load_lanes(row.up + i, n));
  };
  if constexpr (!kStore) return quantize_computed(row.codes, row.scale, row.width, product_at);
  F32 amax = zero();
  for_lanes(
      row.width, [&](int64_t i, int64_t n) __attribute__((always_inline)) {
        const F32 product = product_at(i, n);
        store_lanes(row.out + i, product, n);
        if constexpr (kCodes) amax = max_magnitude(amax, product);
      });
  if constexpr (kCodes) {  // from out, which may lie on an input
    const Coding coding = coding_of(largest_magnitude(amax));
    *row.scale = coding.scale;
    write_codes(
        row.codes, row.width, coding.inverse, [&](int64_t i, int64_t n) __attribute__((always_inline)) {
          return load_lanes(row.out + i, n);
        });
  }
}

}  // namespace

void silu_mul_row(const SiluMulRow& row) {
  if (row.out && row.codes) return multiply_row<true, true>(row);
  if (row.out) return multiply_row<true, false>(row);
  multiply_row<false, true>(row);
}

}  // namespace octavo::OCTAVO_ISA
