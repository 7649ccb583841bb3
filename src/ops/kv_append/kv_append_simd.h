// The vector kernels of kv_append: one row of one key or value, f32 in. Bits equal to the reference on every set.
#pragma once
#include <cstdint>

#include "simd/per_isa.h"

namespace octavo {

struct AppendRow {
  const float* x;  // [width]
  int64_t width;   // D
  void* y;         // [width] slot of the cache: f16, bf16 or i8 as the kernel's name says
};

}  // namespace octavo

OCTAVO_PER_ISA(void append_f16(const AppendRow& row))
OCTAVO_PER_ISA(void append_bf16(const AppendRow& row))
OCTAVO_PER_ISA(float append_amax(const AppendRow& row))  // largest |x|; NaN when x holds a NaN
OCTAVO_PER_ISA(void append_codes(const AppendRow& row, float inverse))
