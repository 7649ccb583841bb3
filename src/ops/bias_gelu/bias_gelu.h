// GELU of a biased product (Hendrycks and Gimpel, arXiv 1606.08415), optionally to INT8; with v = x + bias in fp32:
//   erf:   out = v / 2 * (1 + erf(v / sqrt(2)))
//   tanh:  out = v / 2 * (1 + tanh(sqrt(2 / pi) * (v + 0.044715 v^3)))   (GPT-2's gelu_new)
// One rounding to out's type; (out_codes, out_scale) = quantize_rows(out before its rounding).
#pragma once
#include "core/context.h"

namespace octavo {

enum class GeluForm { erf, tanh };

struct BiasGeluArgs {
  ConstTensor x;     // [rows, width] f32 | f16 | bf16; any row stride
  ConstTensor bias;  // optional: [width] f32 | f16 | bf16
  GeluForm form = GeluForm::erf;
  Tensor out;        // optional: [rows, width], x's dtype; may be x's memory when the strides are equal
  Tensor out_codes;  // optional: [rows, width] i8; any row stride; at least one of out, out_codes
  Tensor out_scale;  // with out_codes: [rows] f32
};

// Throws Error(usage) naming the argument when shapes, dtypes or strides do not fit.
void bias_gelu(const Context& ctx, const BiasGeluArgs& args);
KernelInfo bias_gelu_variant(const Context& ctx, const BiasGeluArgs& args);

}  // namespace octavo
