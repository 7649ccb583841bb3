// The vector kernels of attention_f. A block is a few query rows that share one KV head (the GQA group of some tokens);
// a leaf is the 64 keys [64 l, 64 l + 64) of a sequence; a node is what a row knows of a subtree of leaves:
//   node = { m, l, used, unused[13], o[pitch] },  m = max score, l = sum exp(s - m), o = sum exp(s - m) v, unnormalised.
// used == 0: the row sees no key of the subtree, and nothing else of the node is read.
#pragma once
#include <cstdint>

#include "simd/per_isa.h"

namespace octavo {

inline constexpr int64_t kLeafKeys = 64;
inline constexpr int64_t kNodeHeader = 16;  // floats before o, so that o keeps the node's alignment
enum class KvElement : int { f32, f16, bf16, i8 };

struct AttentionLeaf {
  KvElement element;
  const void* k;       // [64][width] at token_stride elements; keys that no row sees are not read
  const void* v;       // same
  const void* next_k;  // k of the leaf that comes next, to be prefetched; null: none, or not worth it
  int64_t token_stride;
  int64_t width;         // elements of a row to work on: D, or D rounded up where a tile pads it with zeros
  const float* k_scale;  // [64], i8 only
  const float* v_scale;  // [64], i8 only
  float scale;
  int64_t rows;
  const float* q;  // [rows][q_pitch], zero behind D
  int64_t q_pitch;
  const int32_t* first;  // [rows] keys first..end-1 of the leaf are visible; first >= end: none
  const int32_t* end;    // [rows]
  float* nodes;          // [rows][node_stride], written
  int64_t node_stride;
};

// Keys first..end-1 of a leaf as f32 rows of `pitch`, zero behind D.
struct AttentionTile {
  KvElement element;
  const void* from;  // [64][D] at token_stride elements
  int64_t token_stride;
  int64_t head_dim;  // D
  int64_t first, end;
  float* to;  // [64][pitch]
  int64_t pitch;
};

}  // namespace octavo

OCTAVO_PER_ISA(void attention_leaf(const AttentionLeaf& leaf))
OCTAVO_PER_ISA(void attention_tile(const AttentionTile& tile))
OCTAVO_PER_ISA(void attention_merge(float* left, const float* right,
                                    int64_t width))  // left := left and right
OCTAVO_PER_ISA(void attention_finish(float* out, const float* node,
                                     int64_t width))  // out = o / l; 0 where l == 0
