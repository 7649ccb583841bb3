// One row of embedding widened to fp32, for every instruction set.
#pragma once
#include <cstdint>

#include "core/dtype.h"
#include "simd/per_isa.h"

namespace octavo {

struct EmbeddingRow {
  const void* row;  // [width] of dtype
  DType dtype;      // i8, f16, bf16
  float scale;      // i8 only
  float* out;       // [width]
  int64_t width;
};

}  // namespace octavo

OCTAVO_PER_ISA(void embedding_row(const EmbeddingRow& row))
