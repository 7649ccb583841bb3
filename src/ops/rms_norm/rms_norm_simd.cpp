// y = u * (1 / sqrt(mean(u^2) + eps)) * weight over one row that stays in the first-level cache: one pass for
// the sum, one for y, one for the codes. Bound by memory for rows that come from there.
#include "ops/rms_norm/rms_norm_simd.h"

#include "simd/norm_row.h"

namespace octavo::OCTAVO_ISA {
namespace {

template <bool kResidual>
void norm_row(RmsNormRow row) {
  const float squares = sum_row(
      row.width, [&](F32 acc, int64_t i, int64_t n) __attribute__((always_inline)) {
        const F32 u = read_u<kResidual>(row, i, n);
        return fma(u, u, acc);
      });
  const float inverse = 1.0f / __builtin_sqrtf(squares / static_cast<float>(row.width) + row.eps);
  const float *u = kResidual ? row.u : row.x, *weight = row.weight;
  // NOTE: lanes past the end become 0 * inverse * 0, which is NaN when eps = 0 made inverse infinite; the row then is NaN
  // or zero-by-zero anyway.
  write_row(
      row, [=](int64_t i, int64_t n) __attribute__((always_inline)) {
        return mul(mul(load_lanes(u + i, n), set1(inverse)), load_lanes(weight + i, n));
      });
}

}  // namespace

void rms_norm_row(const RmsNormRow& row) { row.residual ? norm_row<true>(row) : norm_row<false>(row); }

}  // namespace octavo::OCTAVO_ISA
