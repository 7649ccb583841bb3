// An attention_f call as its CUDA kernels see it.
#pragma once
#include "cuda/attention_row.cuh"
#include "ops/attention_f/attention_f_cuda.h"

namespace octavo {

inline cuda::AttentionSizes attention_sizes(const AttentionFArgs& a, int pack_shift) {
  return {.q_start = a.q_start.as<int32_t>(),
          .kv_len = a.kv_len.as<int32_t>(),
          .sequences = static_cast<int>(a.kv_len.dim(0)),
          .tokens = static_cast<int>(a.q.dim(0)),
          .q_heads = static_cast<int>(a.q.dim(1)),
          .kv_heads = static_cast<int>(a.kv.heads),
          .pack_shift = pack_shift,
          .causal = a.causal,
          .window = static_cast<int>(a.window < INT32_MAX / 2 ? a.window : 0)};
}

inline cuda::RowOperands row_operands(const AttentionFArgs& a) {
  return {.q_dtype = a.q.dtype(),
          .q = a.q.data(),
          .q_token = a.q.stride(0),
          .q_head = a.q.stride(1),
          .kv = a.kv,
          .head_dim = static_cast<int>(a.q.dim(2)),
          .scale = a.scale,
          .out = a.out.data(),
          .out_token = a.out.stride(0),
          .out_head = a.out.stride(1),
          .lse = a.lse ? a.lse.as<float>() : nullptr,
          .lse_token = a.lse ? a.lse.stride(0) : 0,
          .lse_head = a.lse ? a.lse.stride(1) : 0};
}

// Rows and heads start on 16 bytes, as 16-byte accesses and the copy engine need it.
inline bool on_16_bytes(const AttentionFArgs& a) {
  const auto fits = [](const void* data, int64_t token, int64_t head) {
    return reinterpret_cast<uintptr_t>(data) % 16 == 0 && token % 8 == 0 && head % 8 == 0 && token > 0 &&
           head > 0;
  };
  return fits(a.q.data(), a.q.stride(0), a.q.stride(1)) &&
         fits(a.out.data(), a.out.stride(0), a.out.stride(1)) &&
         fits(a.kv.k, a.kv.token_stride, a.kv.head_stride) &&
         fits(a.kv.v, a.kv.token_stride, a.kv.head_stride) && a.kv.page_stride % 8 == 0 &&
         a.kv.sequence_stride % 8 == 0;
}

inline bool is_half_attention(const AttentionFArgs& a) {
  return (a.q.dtype() == DType::f16 || a.q.dtype() == DType::bf16) && a.kv.dtype == a.q.dtype();
}

// Query heads that share a tile: as many as one KV head has, while tokens alone do not fill 64 rows.
inline int pack_shift_of(const AttentionFArgs& a) {
  const int64_t group = a.q.dim(1) / a.kv.heads;
  int shift = 0;
  while (shift < 6 && group % (int64_t{2} << shift) == 0 && (a.q.dim(0) / a.kv_len.dim(0)) << shift < 64)
    ++shift;
  return shift;
}

}  // namespace octavo
