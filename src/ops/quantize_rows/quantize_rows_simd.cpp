// Two passes over a row: the largest magnitude, then the codes. Bound by memory: the row is read once from there and
// once from a cache.
#include "ops/quantize_rows/quantize_rows_simd.h"

#include "simd/quantize.h"
#include "simd/vec.h"

namespace octavo::OCTAVO_ISA {
namespace {

// n values at x + i; lanes past n are 0.
template <F32 (*widen)(const uint16_t*)>
OCTAVO_INLINE F32 load_lanes_16(const uint16_t* x, int64_t i, int64_t n) {
  if (n >= kLanes) return widen(x + i);
  uint16_t tail[kLanes] = {};
  for (int64_t j = 0; j < n; ++j) tail[j] = x[i + j];
  return widen(tail);
}
OCTAVO_INLINE F32 widen_f16(const uint16_t* p) { return from_f16(p); }
OCTAVO_INLINE F32 widen_bf16(const uint16_t* p) { return from_bf16(p); }

template <class Value>
OCTAVO_INLINE void quantize_values(QuantizeRow row, const Value& value) {
  F32 amax[2] = {zero(), zero()};
  int64_t i = 0;
  for (; i + 2 * kLanes <= row.width; i += 2 * kLanes)
    for (int j = 0; j < 2; ++j) amax[j] = max_magnitude(amax[j], value(i + j * kLanes, kLanes));
  for (; i < row.width; i += kLanes) amax[0] = max_magnitude(amax[0], value(i, row.width - i));

  const Coding coding = coding_of(largest_magnitude(max_magnitude(amax[0], amax[1])));
  const int32_t sum = write_codes(row.codes, row.width, coding.inverse, value);
  for (int64_t c = row.width; c < row.padded_width; ++c) row.codes[c] = 0;
  *row.scale = coding.scale;
  if (row.code_sum) *row.code_sum = sum;
}

}  // namespace

void quantize_row(const QuantizeRow& row) {
  const auto* floats = static_cast<const float*>(row.x);
  const auto* halves = static_cast<const uint16_t*>(row.x);
  if (row.dtype == DType::f32)
    quantize_values(row, [=](int64_t i, int64_t n) { return load_lanes(floats + i, n); });
  else if (row.dtype == DType::f16)
    quantize_values(row, [=](int64_t i, int64_t n) { return load_lanes_16<widen_f16>(halves, i, n); });
  else
    quantize_values(row, [=](int64_t i, int64_t n) { return load_lanes_16<widen_bf16>(halves, i, n); });
}

}  // namespace octavo::OCTAVO_ISA
