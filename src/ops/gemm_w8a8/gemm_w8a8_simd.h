#pragma once
#include <cstdint>

#include "simd/per_isa.h"

namespace octavo {

// gemm_w8a8 as plain data: y is f32 (scaled) or i32 (acc), the other pointer is null.
struct Int8Gemm {
  const int8_t* x;  // [m][k], rows x_stride elements apart
  int64_t x_stride;
  const int8_t* w;  // [N][k], rows w_stride elements apart
  int64_t w_stride;
  const float* x_scale;       // [m]; null with y_acc
  const float* w_scale;       // [N]; null with y_acc
  const int32_t* w_code_sum;  // [N] or null
  const float* bias;          // [N] or null
  float* y;                   // [m][N], rows y_stride elements apart
  int32_t* y_acc;             // [m][N], rows y_stride elements apart
  int64_t y_stride;
  int64_t m, k;
};

inline constexpr int64_t kInt8TaskCols = 64;  // columns that a thread takes at once

}  // namespace octavo

// Outputs [0, m) x [n_begin, n_end).
OCTAVO_PER_ISA(void gemm_w8a8_columns(const Int8Gemm& g, int64_t n_begin, int64_t n_end))
