// Softmax attention over a KV cache or over dense K and V: out = softmax(scale * q k^T + mask) v, in floats.
// GQA: query head h reads KV head h / (Hq / Hkv). Causal is bottom-right aligned: query i of Sq sees keys
// j <= i + Sk - Sq. A fully masked row gives 0 and LSE -inf. LSE is the natural log.
// An INT8 cache is read as it is: code * scale, the scale folded into the score (K) and into the probability (V).
// On CUDA: tensor cores for f16 and bf16 (q and cache alike) with D a multiple of 8, up to 128 by the Hopper kernel and up to 256
// by the portable one, rows on 16 bytes and scale > 0; a plain kernel for everything else up to D = 512. q_start, kv_len and the
// page table are read on the device and not checked there; no workspace.
#pragma once
#include "core/context.h"
#include "core/kv_view.h"

namespace octavo {

struct AttentionFArgs {
  ConstTensor
      q;  // [T, Hq, D] f32 | f16 | bf16: the queries of all sequences one after the other; any token/head stride
  KvView kv;            // keys and values of B sequences
  ConstTensor q_start;  // [B + 1] i32: queries of sequence b are rows q_start[b] .. q_start[b+1]
  ConstTensor kv_len;   // [B] i32: number of keys of sequence b (Sk), the queries' own keys included
  bool causal = true;
  float scale = 0.0f;  // usually 1 / sqrt(D)
  int64_t window = 0;  // > 0: query i sees only the last `window` keys up to its own (Mistral); 0: all
  Tensor out;          // [T, Hq, D], q's dtype; any token/head stride
  Tensor lse;          // optional: [T, Hq] f32
};

int64_t attention_f_workspace_bytes(const Context& ctx, const AttentionFArgs& args);
void attention_f(const Context& ctx, const AttentionFArgs& args);
KernelInfo attention_f_variant(const Context& ctx, const AttentionFArgs& args);

}  // namespace octavo
