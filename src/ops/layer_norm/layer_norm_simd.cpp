// y = (u - mean) / sqrt(var + eps) * weight + bias over one row that stays in the first-level cache: one pass for the
// mean, one for the variance about it, one for y, one for the codes. Bound by memory for rows that come from there.
#include "ops/layer_norm/layer_norm_simd.h"

#include "simd/norm_row.h"

namespace octavo::OCTAVO_ISA {
namespace {

// u - mean at the n lanes from i; lanes past the end become mean - mean = 0, or NaN where the row is NaN anyway.
OCTAVO_INLINE F32 centered(const float* u, float mean, int64_t i, int64_t n) {
  const F32 center = n >= kLanes ? set1(mean) : keep(set1(mean), first_lanes(n));
  return sub(load_lanes(u + i, n), center);
}

template <bool kResidual>
void norm_row(LayerNormRow row) {
  const auto count = static_cast<float>(row.width);
  const float mean =
      sum_row(
          row.width, [&](F32 acc, int64_t i, int64_t n)
                         __attribute__((always_inline)) { return add(acc, read_u<kResidual>(row, i, n)); }) /
      count;
  const float* u = kResidual ? row.u : row.x;
  const float squares = sum_row(
      row.width, [&](F32 acc, int64_t i, int64_t n) __attribute__((always_inline)) {
        const F32 d = centered(u, mean, i, n);
        return fma(d, d, acc);
      });
  const float inverse = 1.0f / __builtin_sqrtf(squares / count + row.eps);
  const float *weight = row.weight, *bias = row.bias;
  write_row(
      row, [=](int64_t i, int64_t n) __attribute__((always_inline)) {
        const F32 y = mul(mul(centered(u, mean, i, n), set1(inverse)), load_lanes(weight + i, n));
        return bias ? add(y, load_lanes(bias + i, n)) : y;
      });
}

}  // namespace

void layer_norm_row(const LayerNormRow& row) { row.residual ? norm_row<true>(row) : norm_row<false>(row); }

}  // namespace octavo::OCTAVO_ISA
