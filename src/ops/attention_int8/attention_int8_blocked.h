// The call on a CPU: heads and query rows over threads, in blocks of rows that read the same K and V.
#pragma once
#include "ops/attention_int8/attention_int8.h"
#include "ops/attention_int8/attention_int8_quantize_simd.h"
#include "ops/attention_int8/attention_int8_simd.h"

namespace octavo {

void attention_int8_blocked(const Context& ctx, const AttentionInt8Args& args,
                            void (*attend)(const Int8AttentionRows&));

struct Int8Coders {
  void (*rows)(const Int8RowsToCode&);
  void (*tile)(const Int8TileToCode&);
};
void attention_int8_quantize_blocked(const Context& ctx, const AttentionInt8QuantizeArgs& args,
                                     const Int8Coders& code);

}  // namespace octavo
