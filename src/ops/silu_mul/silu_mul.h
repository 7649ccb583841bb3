// SwiGLU's product (Shazeer, arXiv 2002.05202): out = gate * sigmoid(gate) * up, computed in fp32, one rounding.
// The layout of gate and up is in their strides: separate tensors, halves of one row (concatenated gate_up: row stride
// 2*width), or interleaved columns g0 u0 g1 u1 ... (column stride 2).
#pragma once
#include "core/context.h"

namespace octavo {

struct SiluMulArgs {
  ConstTensor gate;  // [rows, width] f32 | f16 | bf16; any strides
  ConstTensor up;    // [rows, width], gate's dtype; any strides
  Tensor out;        // optional: [rows, width], gate's dtype; may be gate's memory when the strides are equal
  Tensor
      out_codes;  // optional: [rows, width] i8, quantised from the fp32 product; at least one of out, out_codes
  Tensor out_scale;  // with out_codes: [rows] f32
};

void silu_mul(const Context& ctx, const SiluMulArgs& args);
KernelInfo silu_mul_variant(const Context& ctx, const SiluMulArgs& args);

}  // namespace octavo
