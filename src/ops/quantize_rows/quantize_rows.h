// Dynamic per-row INT8 quantisation by the one quantiser of core/quantizer.h.
#pragma once
#include "core/context.h"

namespace octavo {

struct QuantizeRowsArgs {
  ConstTensor x;  // [rows, width] f32 | f16 | bf16; any row stride
  Tensor codes;   // [rows, width] i8; any row stride (pitch)
  Tensor scale;   // [rows] f32
  int64_t padded_width =
      0;  // if > width: codes[r][width..padded_width) are set to 0 (needs codes.stride(0) >= padded_width)
  Tensor code_sum;  // optional: [rows] i32, sum of each row's codes (for VNNI weights)
};

void quantize_rows(const Context& ctx, const QuantizeRowsArgs& args);
KernelInfo quantize_rows_variant(const Context& ctx, const QuantizeRowsArgs& args);

}  // namespace octavo
