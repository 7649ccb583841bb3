#include "ops/silu_mul/silu_mul_ref.h"

#include <cmath>
#include <vector>

#include "ops/quantize_rows/quantize_rows_ref.h"

namespace octavo {

template <class Real>
void silu_mul_ref(const SiluMulArgs& args) {
  const int64_t rows = args.gate.dim(0), width = args.gate.dim(1);
  std::vector<Real> product(static_cast<size_t>(width));
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < width; ++c) {
      const Real gate = load_at<Real>(args.gate, r, c), up = load_at<Real>(args.up, r, c);
      product[c] = gate * (1 / (1 + std::exp(-gate))) * up;
    }
    if (args.out)
      for (int64_t c = 0; c < width; ++c) store_at(args.out, product[c], r, c);
    if (args.out_codes) quantize_row_ref<Real>(product, args.out_codes, args.out_scale, r);
  }
}

template void silu_mul_ref<double>(const SiluMulArgs&);
template void silu_mul_ref<float>(const SiluMulArgs&);

}  // namespace octavo
