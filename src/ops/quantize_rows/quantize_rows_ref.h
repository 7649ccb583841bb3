// The specification of quantize_rows, and of every INT8 output of another op.
#pragma once
#include <cmath>
#include <span>

#include "core/element.h"
#include "core/quantizer.h"
#include "ops/quantize_rows/quantize_rows.h"

namespace octavo {

// Quantises one row. Each value is rounded to fp32 first: the quantiser is defined on fp32. Where `codes` is
// an f64 tensor it gets the values before quantisation and `scale` is not written. Returns the sum of the
// codes.
template <class Real>
int32_t quantize_row_ref(std::span<const Real> values, const Tensor& codes, const Tensor& scale,
                         int64_t row) {
  const int64_t width = static_cast<int64_t>(values.size());
  if (codes.dtype() == DType::f64) {
    for (int64_t c = 0; c < width; ++c) store_at(codes, values[c], row, c);
    return 0;
  }
  float amax = 0;
  for (const Real value : values) {
    const float x = std::abs(static_cast<float>(value));
    if (!(x <= amax)) amax = x;   // takes NaN and larger values
    if (std::isnan(amax)) break;  // and keeps NaN
  }
  const RowCoding coding = row_coding(amax);
  int32_t sum = 0;
  for (int64_t c = 0; c < width; ++c) {
    const int8_t code = quantize(static_cast<float>(values[c]), coding.inverse);
    codes.as<int8_t>()[row * codes.stride(0) + c] = code;
    sum += code;
  }
  scale.as<float>()[row * scale.stride(0)] = coding.scale;
  return sum;
}

template <class Real>
void quantize_rows_ref(const QuantizeRowsArgs& args);

}  // namespace octavo
