// Root-mean-square norm (Zhang and Sennrich, arXiv 1910.07467), optionally of a residual sum, optionally to INT8.
//   u = x + residual, rounded to u's type and stored (only when residual is given);  otherwise u = x
//   y = u / sqrt(mean(u^2) + eps) * weight, one rounding to y's type
//   (y_codes, y_scale) = quantize_rows(y before its rounding)
#pragma once
#include "core/context.h"

namespace octavo {

struct RmsNormArgs {
  ConstTensor x;         // [rows, width] f32 | f16 | bf16; any row stride
  ConstTensor residual;  // optional: [rows, width], x's dtype
  ConstTensor weight;    // [width] f32 | f16 | bf16
  float eps = 1e-5f;
  Tensor u;        // with residual: [rows, width], x's dtype; may be the same memory as x or residual
  Tensor y;        // optional: [rows, width], x's dtype; may be the same memory as x
  Tensor y_codes;  // optional: [rows, width] i8; any row stride; at least one of y and y_codes is given
  Tensor y_scale;  // with y_codes: [rows] f32
};

void rms_norm(const Context& ctx, const RmsNormArgs& args);
KernelInfo rms_norm_variant(const Context& ctx, const RmsNormArgs& args);

}  // namespace octavo
