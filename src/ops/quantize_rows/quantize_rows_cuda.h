// The CUDA side of quantize_rows: many rows streamed through shared memory, few rows kept in registers, and a loop for any shape.
#pragma once
#include "cuda/row_split.h"
#include "ops/quantize_rows/quantize_rows.h"

namespace octavo {

bool quantize_rows_streams(const QuantizeRowsArgs& args, const DeviceFacts& facts);
void quantize_rows_streamed(const Context& ctx, const QuantizeRowsArgs& args);
void quantize_rows_with_stream(const Context& ctx, const QuantizeRowsArgs& args,
                               const cuda::RowStream& stream);  // for benches
bool quantize_rows_fits_registers(const QuantizeRowsArgs& args, const DeviceFacts& facts);
void quantize_rows_registers(const Context& ctx, const QuantizeRowsArgs& args);
void quantize_rows_loop(const Context& ctx, const QuantizeRowsArgs& args);

}  // namespace octavo
