#include "ops/quantize_rows/quantize_rows_ref.h"

#include <vector>

namespace octavo {

template <class Real>
void quantize_rows_ref(const QuantizeRowsArgs& args) {
  const int64_t rows = args.x.dim(0), width = args.x.dim(1);
  std::vector<Real> values(static_cast<size_t>(width));
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < width; ++c) values[c] = load_at<Real>(args.x, r, c);
    const int32_t sum = quantize_row_ref<Real>(values, args.codes, args.scale, r);
    for (int64_t c = width; c < args.padded_width; ++c)
      args.codes.as<int8_t>()[r * args.codes.stride(0) + c] = 0;
    if (args.code_sum) args.code_sum.as<int32_t>()[r] = sum;
  }
}

template void quantize_rows_ref<double>(const QuantizeRowsArgs&);
template void quantize_rows_ref<float>(const QuantizeRowsArgs&);

}  // namespace octavo
