// The specification of kv_append in plain loops.
#pragma once
#include "ops/kv_append/kv_append.h"

namespace octavo {

// Tokens [begin, end) of checked arguments.
void kv_append_ref_tokens(const KvAppendArgs& args, int64_t begin, int64_t end);
void kv_append_ref(const KvAppendArgs& args);

}  // namespace octavo
