// One row of layer_norm in fp32, for every instruction set.
#pragma once
#include <cstdint>

#include "simd/per_isa.h"

namespace octavo {

struct LayerNormRow {
  const float* x;         // [width]
  const float* residual;  // [width], or null
  const float* weight;    // [width]
  const float* bias;      // [width], or null
  float* u;               // [width] with residual; may be x or residual
  float* y;               // [width], or null; may be x
  int8_t* codes;          // [width], or null
  float* scale;           // [1] with codes
  int64_t width;
  float eps;
};

}  // namespace octavo

OCTAVO_PER_ISA(void layer_norm_row(const LayerNormRow& row))
