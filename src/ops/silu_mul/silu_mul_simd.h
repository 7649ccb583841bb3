// One row of silu_mul in fp32, for every instruction set.
#pragma once
#include <cstdint>

#include "simd/per_isa.h"

namespace octavo {

struct SiluMulRow {
  const float* gate;  // [width]
  const float* up;    // [width]
  float* out;         // [width], or null; may be gate or up
  int8_t* codes;      // [width], or null
  float* scale;       // [1] with codes
  int64_t width;
};

}  // namespace octavo

OCTAVO_PER_ISA(void silu_mul_row(const SiluMulRow& row))
