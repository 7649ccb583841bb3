#include "ops/rms_norm/rms_norm_ref.h"

#include <cmath>
#include <vector>

#include "ops/quantize_rows/quantize_rows_ref.h"

namespace octavo {

template <class Real>
void rms_norm_ref(const RmsNormArgs& args) {
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

    Real sum = 0;
    for (int64_t c = 0; c < width; ++c) sum += load_at<Real>(u, r, c) * load_at<Real>(u, r, c);
    const Real inverse = 1 / std::sqrt(sum / static_cast<Real>(width) + static_cast<Real>(args.eps));

    for (int64_t c = 0; c < width; ++c)
      y[c] = load_at<Real>(u, r, c) * inverse * load_at<Real>(args.weight, c);
    if (args.y)
      for (int64_t c = 0; c < width; ++c) store_at(args.y, y[c], r, c);
    if (args.y_codes) quantize_row_ref<Real>(y, args.y_codes, args.y_scale, r);
  }
}

template void rms_norm_ref<double>(const RmsNormArgs&);
template void rms_norm_ref<float>(const RmsNormArgs&);

}  // namespace octavo
