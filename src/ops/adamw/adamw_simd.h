// A range of one tensor of adamw in fp32, for every instruction set.
#pragma once
#include <cstdint>

#include "simd/per_isa.h"

namespace octavo {

struct AdamWRange {
  float* param;       // [n]
  const float* grad;  // [n]
  float* exp_avg;     // [n]
  float* exp_avg_sq;  // [n]
  int64_t n;
  // Numbers of the step, made in double and rounded once.
  float grad_factor;  // 1 / grad_scale
  float decay;        // 1 - lr * weight_decay
  float beta1, beta2;
  float one_minus_beta1, one_minus_beta2;
  float step_size;        // lr / (1 - beta1^step)
  float root_correction;  // 1 / sqrt(1 - beta2^step)
  float eps;
};

}  // namespace octavo

OCTAVO_PER_ISA(void adamw_range(const AdamWRange& range))
