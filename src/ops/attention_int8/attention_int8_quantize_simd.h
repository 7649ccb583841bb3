// The vector kernels of attention_int8_quantize: rows of one head of q or k, and a tile of keys of one head of v.
#pragma once
#include <cstdint>

#include "simd/per_isa.h"

namespace octavo {

enum class Int8Element : int { f16, bf16, f32 };

struct Int8RowsToCode {
  Int8Element element;
  const void* from;  // [rows][dim] at `pitch` elements
  int64_t pitch, rows, dim;
  int8_t* codes;  // [rows][dim]
  float* scale;   // [rows]
};

struct Int8TileToCode {
  Int8Element element;
  const void* from;  // [keys][dim] at `pitch` elements
  int64_t pitch, keys, dim;
  int8_t* pages;  // [ceil(keys / 64)][dim][64], 0 behind the last key
  float* scale;   // [dim]
};

}  // namespace octavo

OCTAVO_PER_ISA(void code_int8_rows(const Int8RowsToCode& rows))
OCTAVO_PER_ISA(void code_int8_tile(const Int8TileToCode& tile))
