// The product that gemm_f and gemm_w8a16 share, as plain data for the kernels of float_gemm_kernel.h.
#pragma once
#include <cstdint>

namespace octavo {

//   y[m][n] = (sum_k x[m][k] * w[n][k]) * w_scale[n] + bias[n]
struct FloatGemm {
  const float* x;  // [m][k], rows x_stride elements apart
  int64_t x_stride;
  const void* w;  // [N][k] of the kernel's weight type, rows w_stride elements apart
  int64_t w_stride;
  const float* w_scale;  // [N]; null: 1
  const float* bias;     // [N]; null: 0
  float* y;              // [m][N], rows y_stride elements apart
  int64_t y_stride;
  int64_t m, k;
};

}  // namespace octavo
