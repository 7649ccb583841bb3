// Layer norm (Ba, Kiros and Hinton, arXiv 1607.06450), optionally of a residual sum, optionally to INT8.
//   u = x + residual, rounded to u's type and stored (only when residual is given);  otherwise u = x
//   y = (u - mean(u)) / sqrt(mean((u - mean(u))^2) + eps) * weight + bias, one rounding to y's type
//   (y_codes, y_scale) = quantize_rows(y before its rounding)
// The variance is taken about the mean in a second pass: rows far from zero lose nothing.
#pragma once
#include "core/context.h"

namespace octavo {

struct LayerNormArgs {
  ConstTensor x;         // [rows, width] f32 | f16 | bf16; any row stride
  ConstTensor residual;  // optional: [rows, width], x's dtype
  ConstTensor weight;    // [width] f32 | f16 | bf16
  ConstTensor bias;      // optional: [width], weight's dtype
  float eps = 1e-5f;
  Tensor u;        // with residual: [rows, width], x's dtype; may be the same memory as x or residual
  Tensor y;        // optional: [rows, width], x's dtype; may be the same memory as x
  Tensor y_codes;  // optional: [rows, width] i8; any row stride; at least one of y and y_codes is given
  Tensor y_scale;  // with y_codes: [rows] f32
};

// Throws Error(usage) naming the argument when shapes, dtypes, strides or eps do not fit.
void layer_norm(const Context& ctx, const LayerNormArgs& args);
KernelInfo layer_norm_variant(const Context& ctx, const LayerNormArgs& args);

}  // namespace octavo
