// The call on a CPU: heads and query rows over threads, in blocks of rows that read the same K and V.
#pragma once
#include "ops/attention_int8/attention_int8.h"
#include "ops/attention_int8/attention_int8_simd.h"

namespace octavo {

void attention_int8_blocked(const Context& ctx, const AttentionInt8Args& args,
                            void (*attend)(const Int8AttentionRows&));

}  // namespace octavo
