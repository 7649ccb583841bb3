// The vector kernel of attention_int8: some query rows of one KV head against all its keys.
#pragma once
#include <cstdint>

#include "ops/attention_int8/attention_int8_quantize_simd.h"

namespace octavo {

inline constexpr int64_t kInt8BlockRows = 256;        // at most in a call
inline constexpr int64_t kInt8BlockElements = 16384;  // at most: rows, rounded up to 16, x D

struct Int8AttentionRows {
  const int8_t* q;       // [rows][dim]
  const float* q_scale;  // [rows]
  const int64_t* ends;   // [rows] row r sees keys [0, ends[r])
  int64_t rows, dim;
  const int8_t* k;       // [keys][dim]
  const float* k_scale;  // [keys]
  const int8_t* v;       // [pages][dim][64]
  const float* v_scale;  // of tile t and channel d: [t * v_scale_tile + d * v_scale_channel]
  int64_t v_scale_tile, v_scale_channel;
  float scale;  // of scores, log2(e) included
  Int8Element element;
  void* out;
  const int64_t* out_at;  // [rows] where row r begins in out, in elements
  float *top, *sum;       // [rows], written: the largest score in base 2, the sum of the codes of P
};

}  // namespace octavo

OCTAVO_PER_ISA(void attend_rows(const Int8AttentionRows& rows))
