// The specification of attention_int8: plain loops. Integer parts and the order of float operations are exactly what every
// backend does; only exp2 may differ in its last bits.
#pragma once
#include "ops/attention_int8/attention_int8.h"

namespace octavo {

// Keys that query `row` sees: [0, end).
int64_t attention_int8_visible(const AttentionInt8Args& args, int64_t row);

// Query heads [begin, end) of all batches, counted b * Hq + h. `scratch`: kInt8TileKeys floats.
void attention_int8_ref(const AttentionInt8Args& args, int64_t begin, int64_t end, float* scratch);

// What it approximates: softmax attention of the dequantised codes in fp64, P not rounded. out and lse may be f64.
void attention_int8_unrounded(const AttentionInt8Args& args);

void attention_int8_quantize_ref(const AttentionInt8QuantizeArgs& args);

}  // namespace octavo
