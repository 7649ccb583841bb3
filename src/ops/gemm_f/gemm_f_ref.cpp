#include "ops/gemm_f/gemm_f_ref.h"

#include <vector>

#include "core/element.h"

namespace octavo {

template <class Real>
void gemm_f_ref(const GemmFArgs& args, int64_t n_begin, int64_t n_end) {
  const int64_t rows = args.x.dim(0), depth = args.x.dim(1);
  const auto load_row = [&](const ConstTensor& t, int64_t row, Real* out) {
    for (int64_t k = 0; k < depth; ++k) out[k] = load_at<Real>(t, row, k);
  };
  std::vector<Real> x(static_cast<size_t>(rows * depth)), w(static_cast<size_t>(depth));
  for (int64_t m = 0; m < rows; ++m) load_row(args.x, m, x.data() + m * depth);
  for (int64_t n = n_begin; n < n_end; ++n) {
    load_row(args.w, n, w.data());
    const Real bias = args.bias ? load_at<Real>(args.bias, n) : Real(0);
    for (int64_t m = 0; m < rows; ++m) {
      Real sum = 0;
      for (int64_t k = 0; k < depth; ++k)
        sum += x[static_cast<size_t>(m * depth + k)] * w[static_cast<size_t>(k)];
      store_at(args.y, sum + bias, m, n);
    }
  }
}

template void gemm_f_ref<double>(const GemmFArgs&, int64_t, int64_t);
template void gemm_f_ref<float>(const GemmFArgs&, int64_t, int64_t);

}  // namespace octavo
