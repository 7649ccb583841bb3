// One row of bias_gelu in fp32, for every instruction set.
#pragma once
#include <cstdint>

#include "simd/per_isa.h"

namespace octavo {

struct BiasGeluRow {
  const float* x;     // [width]
  const float* bias;  // [width], or null
  float* out;         // [width], or null; may be x
  int8_t* codes;      // [width], or null
  float* scale;       // [1] with codes
  int64_t width;
  bool tanh_form;
};

}  // namespace octavo

OCTAVO_PER_ISA(void bias_gelu_row(const BiasGeluRow& row))
