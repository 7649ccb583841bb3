// The CUDA side of quantize_rows: rows kept packed in registers, and a loop for any shape.
#pragma once
#include "ops/quantize_rows/quantize_rows.h"

namespace octavo {

bool quantize_rows_fits_registers(const QuantizeRowsArgs& args, const DeviceFacts& facts);
void quantize_rows_registers(const Context& ctx, const QuantizeRowsArgs& args);
void quantize_rows_loop(const Context& ctx, const QuantizeRowsArgs& args);

}  // namespace octavo
