// The CUDA side of quantize_rows: one kernel that keeps the row in registers, one that loops over rows of any shape.
#pragma once
#include "cuda/row_split.h"
#include "ops/quantize_rows/quantize_rows.h"

namespace octavo {

bool quantize_rows_fits_registers(const QuantizeRowsArgs& args, const DeviceFacts& facts);
void quantize_rows_registers(const Context& ctx, const QuantizeRowsArgs& args);
void quantize_rows_with_split(const Context& ctx, const QuantizeRowsArgs& args, const cuda::RowSplit& split);  // for benches
void quantize_rows_loop(const Context& ctx, const QuantizeRowsArgs& args);

}  // namespace octavo
