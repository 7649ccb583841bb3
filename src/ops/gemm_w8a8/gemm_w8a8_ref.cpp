#include "ops/gemm_w8a8/gemm_w8a8_ref.h"

#include <cmath>

#include "core/element.h"

namespace octavo {

void gemm_w8a8_ref(const GemmW8A8Args& args, int64_t n_begin, int64_t n_end) {
  const int64_t rows = args.x.dim(0), depth = args.x.dim(1);
  for (int64_t m = 0; m < rows; ++m) {
    const int8_t* x = args.x.as<int8_t>() + m * args.x.stride(0);  // [K]
    for (int64_t n = n_begin; n < n_end; ++n) {
      const int8_t* w = args.w.as<int8_t>() + n * args.w.stride(0);  // [K]
      int64_t acc = 0;
      for (int64_t k = 0; k < depth; ++k) acc += int64_t{x[k]} * w[k];
      if (args.y.dtype() == DType::i32) {
        args.y.as<int32_t>()[m * args.y.stride(0) + n] = static_cast<int32_t>(acc);
        continue;
      }
      const float bias = args.bias ? load_at<float>(args.bias, n) : 0.0f;
      const float scaled = static_cast<float>(acc) * load_at<float>(args.w_scale, n);
      store_at(args.y, std::fma(scaled, load_at<float>(args.x_scale, m), bias), m, n);
    }
  }
}

}  // namespace octavo
