// One row of quantize_rows, for every instruction set: the same bits on all.
#pragma once
#include <cstdint>

#include "core/dtype.h"
#include "simd/per_isa.h"

namespace octavo {

struct QuantizeRow {
  const void* x;      // [width] of dtype
  DType dtype;        // f32, f16, bf16
  int8_t* codes;      // [max(width, padded_width)]
  float* scale;       // [1]
  int32_t* code_sum;  // [1], or null
  int64_t width;
  int64_t padded_width;
};

}  // namespace octavo

OCTAVO_PER_ISA(void quantize_row(const QuantizeRow& row))
