// The KV cache of a model: a pool of pages [page][Hkv][64][D] for every layer (design 4), f32, f16 or INT8.
#pragma once
#include <vector>

#include "core/buffer.h"
#include "core/kv_view.h"

namespace octavo {

struct KvCacheShape {
  DType dtype = DType::f16;  // f32 | f16 | bf16 | i8
  int64_t layers = 0, kv_heads = 0, head_dim = 0;
  int64_t sequences = 1;
  int64_t tokens = 0;  // capacity of each sequence; rounded up to whole pages

  int64_t pages_per_sequence() const { return round_up(tokens, KvView::kPageTokens) / KvView::kPageTokens; }
  int64_t code_bytes() const;   // of k and v of all layers
  int64_t scale_bytes() const;  // fp32, INT8 only
  int64_t bytes() const { return code_bytes() + scale_bytes(); }
};

class KvCache {
 public:
  KvCache() = default;
  explicit KvCache(const KvCacheShape& shape);
  const KvCacheShape& shape() const { return shape_; }
  KvView layer(int64_t index) const;

 private:
  KvCacheShape shape_;
  Buffer values_;  // [layer][k, v][page][Hkv][64][D]
  Buffer scales_;  // [layer][k, v][page][Hkv][64] f32
};

}  // namespace octavo
