#include "model/kv_cache.h"

namespace octavo {
namespace {

int64_t slots_per_layer(const KvCacheShape& s) {  // (page, head, key) triples
  return s.sequences * s.pages_per_sequence() * s.kv_heads * KvView::kPageTokens;
}

}  // namespace

int64_t KvCacheShape::code_bytes() const {
  return 2 * layers * slots_per_layer(*this) * head_dim * size_of(dtype);
}
int64_t KvCacheShape::scale_bytes() const {
  return dtype == DType::i8 ? 2 * layers * slots_per_layer(*this) * static_cast<int64_t>(sizeof(float)) : 0;
}

KvCache::KvCache(const KvCacheShape& shape) : shape_(shape), values_(shape.code_bytes(), true) {
  if (shape.dtype == DType::i8) scales_ = Buffer(shape.scale_bytes(), true);
}

KvView KvCache::layer(int64_t index) const {
  const int64_t slots = slots_per_layer(shape_), half = slots * shape_.head_dim * size_of(shape_.dtype);
  uint8_t* k = values_.as<uint8_t>() + 2 * index * half;
  KvView view =
      KvView::paged(shape_.dtype, k, k + half, shape_.kv_heads, shape_.head_dim, shape_.pages_per_sequence());
  if (shape_.dtype == DType::i8) {
    view.k_scale = scales_.as<float>() + 2 * index * slots;
    view.v_scale = view.k_scale + slots;
  }
  return view;
}

}  // namespace octavo
