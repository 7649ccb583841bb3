// rope of all heads of one token in fp32, for every instruction set.
#pragma once
#include <cstdint>

#include "simd/per_isa.h"

namespace octavo {

struct RopeToken {
  const float* x;         // [heads][width], head_stride apart
  float* out;             // [heads][width]; may be x
  const float* inv_freq;  // [pairs]
  int64_t heads;
  int64_t width;
  int64_t pairs;  // rotary_dim / 2
  int64_t x_head_stride;
  int64_t out_head_stride;
  float position;
  float factor;
  bool interleaved;
};

}  // namespace octavo

OCTAVO_PER_ISA(void rope_token(const RopeToken& token))
