// One layer's KV cache as attention, kv_append and the engine see it: a pool of pages [page][Hkv][64][D] and a page
// table a sequence (design 4). A caller's own dense (B, T, H, D) cache is the same struct with other strides and no table.
#pragma once
#include <cstdint>

#include "core/tensor.h"

namespace octavo {

struct KvView {
  static constexpr int64_t kPageTokens = 64;

  DType dtype = DType::f32;  // f32, f16, bf16, i8
  void* k = nullptr;         // [page][Hkv][64][D] by the strides below
  void* v = nullptr;         // same strides
  float* k_scale = nullptr;  // [page][Hkv][64], i8 only: value = code * scale
  float* v_scale = nullptr;
  int64_t page_stride = 0;              // elements between pages (with a table), or from key 64*j to 64*(j+1)
  int64_t sequence_stride = 0;          // elements between sequences when there is no table
  int64_t head_stride = 0;              // elements
  int64_t token_stride = 0;             // elements
  int64_t heads = 0;                    // Hkv
  int64_t head_dim = 0;                 // D, unit stride
  const int32_t* page_table = nullptr;  // [B][pages_per_sequence]; null: identity, by sequence_stride
  int64_t pages_per_sequence = 0;       // capacity of a sequence in tokens = 64 * pages_per_sequence
  Backend backend = Backend::cpu;

  static KvView paged(DType dtype, void* k, void* v, int64_t heads, int64_t head_dim,
                      int64_t pages_per_sequence) {
    KvView view;
    view.dtype = dtype, view.k = k, view.v = v;
    view.token_stride = head_dim, view.head_stride = kPageTokens * head_dim,
    view.page_stride = heads * kPageTokens * head_dim;
    view.heads = heads, view.head_dim = head_dim, view.pages_per_sequence = pages_per_sequence;
    view.sequence_stride = pages_per_sequence * view.page_stride;
    return view;
  }

  // Element offset of (sequence, head, token) in k and v.
  OCTAVO_HD int64_t offset(int64_t sequence, int64_t head, int64_t token) const {
    const int64_t page = token / kPageTokens;
    const int64_t start = page_table ? page_table[sequence * pages_per_sequence + page] * page_stride
                                     : sequence * sequence_stride + page * page_stride;
    return start + head * head_stride + token % kPageTokens * token_stride;
  }
  // Offset in k_scale and v_scale.
  OCTAVO_HD int64_t scale_offset(int64_t sequence, int64_t head, int64_t token) const {
    const int64_t slot = sequence * pages_per_sequence + token / kPageTokens;
    const int64_t page = page_table ? page_table[slot] : slot;
    return (page * heads + head) * kPageTokens + token % kPageTokens;
  }
};

}  // namespace octavo
