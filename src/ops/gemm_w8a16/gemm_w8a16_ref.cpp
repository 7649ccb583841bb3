#include "ops/gemm_w8a16/gemm_w8a16_ref.h"

#include <cmath>
#include <vector>

#include "core/element.h"

namespace octavo {

template <class Real>
void gemm_w8a16_ref(const GemmW8A16Args& args, int64_t n_begin, int64_t n_end) {
  const int64_t rows = args.x.dim(0), depth = args.x.dim(1);
  std::vector<Real> x(static_cast<size_t>(depth));  // a row
  const auto value = [&](int64_t n) {
    const int8_t* w = args.w.as<int8_t>() + n * args.w.stride(0);  // [K]
    Real sum = 0;
    for (int64_t k = 0; k < depth; ++k) sum += x[static_cast<size_t>(k)] * static_cast<Real>(w[k]);
    return sum * load_at<Real>(args.w_scale, n) + (args.bias ? load_at<Real>(args.bias, n) : Real(0));
  };
  for (int64_t m = 0; m < rows; ++m) {
    for (int64_t k = 0; k < depth; ++k) x[static_cast<size_t>(k)] = load_at<Real>(args.x, m, k);
    for (int64_t n = n_begin; n < n_end; ++n) {
      Real y = value(args.silu_mul ? 2 * n : n);
      if (args.silu_mul) y = y / (1 + std::exp(-y)) * value(2 * n + 1);
      if (args.residual) y += load_at<Real>(args.residual, m, n);
      store_at(args.y, y, m, n);
    }
  }
}

template void gemm_w8a16_ref<double>(const GemmW8A16Args&, int64_t, int64_t);
template void gemm_w8a16_ref<float>(const GemmW8A16Args&, int64_t, int64_t);

}  // namespace octavo
