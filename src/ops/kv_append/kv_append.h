// Writes new keys and values into a KV cache (f32, f16, bf16, or INT8 with one fp32 scale per page, head and key).
#pragma once
#include "core/context.h"
#include "core/kv_view.h"

namespace octavo {

struct KvAppendArgs {
  ConstTensor k;          // [T, Hkv, D] f32 | f16 | bf16; any token/head stride
  ConstTensor v;          // [T, Hkv, D], k's dtype
  ConstTensor sequences;  // [T] i32: sequence of each token; absent: all belong to sequence 0
  ConstTensor
      positions;  // [T] i32: position of each token in its sequence; beyond the capacity is an error (CPU)
  KvView cache;
};

void kv_append(const Context& ctx, const KvAppendArgs& args);
KernelInfo kv_append_variant(const Context& ctx, const KvAppendArgs& args);

}  // namespace octavo
