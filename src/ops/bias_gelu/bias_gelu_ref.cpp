#include "ops/bias_gelu/bias_gelu_ref.h"

#include <cmath>
#include <numbers>
#include <vector>

#include "ops/quantize_rows/quantize_rows_ref.h"

namespace octavo {
namespace {

// 1 + erf(a) as erfc(-a), and 1 + tanh(z) as 2 / (1 + e^-2z): for negative v the sums would cancel.
template <class Real>
Real gelu(Real v, GeluForm form) {
  const Real half = static_cast<Real>(0.5);
  if (form == GeluForm::erf) return half * v * std::erfc(-v / std::numbers::sqrt2_v<Real>);
  const Real slope = std::numbers::sqrt2_v<Real> * std::numbers::inv_sqrtpi_v<Real>;  // sqrt(2 / pi)
  const Real z = slope * (v + static_cast<Real>(0.044715) * v * v * v);
  return v * (1 / (1 + std::exp(-2 * z)));
}

}  // namespace

template <class Real>
void bias_gelu_ref(const BiasGeluArgs& args) {
  const int64_t rows = args.x.dim(0), width = args.x.dim(1);
  std::vector<Real> out(static_cast<size_t>(width));
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < width; ++c) {
      const Real bias = args.bias ? load_at<Real>(args.bias, c) : 0;
      out[c] = gelu(load_at<Real>(args.x, r, c) + bias, args.form);
    }
    if (args.out)
      for (int64_t c = 0; c < width; ++c) store_at(args.out, out[c], r, c);
    if (args.out_codes) quantize_row_ref<Real>(out, args.out_codes, args.out_scale, r);
  }
}

template void bias_gelu_ref<double>(const BiasGeluArgs&);
template void bias_gelu_ref<float>(const BiasGeluArgs&);

}  // namespace octavo
