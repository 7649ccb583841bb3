#include "ops/layer_norm/layer_norm_ref.h"

#include <cmath>
#include <vector>

#include "ops/quantize_rows/quantize_rows_ref.h"

namespace octavo {

template <class Real>
void layer_norm_ref(const LayerNormArgs& args) {
  const int64_t rows = args.x.dim(0), width = args.x.dim(1);
  std::vector<Real> y(static_cast<size_t>(width));
  for (int64_t r = 0; r < rows; ++r) {
    const auto add_residual = [&](int64_t c) {
      store_at(args.u, load_at<Real>(args.x, r, c) + load_at<Real>(args.residual, r, c), r, c);
    };
    if (args.residual)
      for (int64_t c = 0; c < width; ++c) add_residual(c);
    const ConstTensor& u =
        args.residual ? args.u : args.x;  // NOTE: with a residual, u as rounded to its dtype

    Real sum = 0, squares = 0;
    for (int64_t c = 0; c < width; ++c) sum += load_at<Real>(u, r, c);
    const Real mean = sum / static_cast<Real>(width);
    for (int64_t c = 0; c < width; ++c) {
      const Real d = load_at<Real>(u, r, c) - mean;
      squares += d * d;
    }
    const Real inverse = 1 / std::sqrt(squares / static_cast<Real>(width) + static_cast<Real>(args.eps));

    for (int64_t c = 0; c < width; ++c) {
      y[c] = (load_at<Real>(u, r, c) - mean) * inverse * load_at<Real>(args.weight, c);
      if (args.bias) y[c] += load_at<Real>(args.bias, c);
    }
    if (args.y)
      for (int64_t c = 0; c < width; ++c) store_at(args.y, y[c], r, c);
    if (args.y_codes) quantize_row_ref<Real>(y, args.y_codes, args.y_scale, r);
  }
}

template void layer_norm_ref<double>(const LayerNormArgs&);
template void layer_norm_ref<float>(const LayerNormArgs&);

}  // namespace octavo
