// out[c] = float(row[c]) * scale. Bound by memory.
#include "ops/embedding/embedding_simd.h"

#include "simd/vec.h"

namespace octavo::OCTAVO_ISA {
namespace {

OCTAVO_INLINE F32 widen_i8(const int8_t* p) { return from_codes(p); }
OCTAVO_INLINE F32 widen_f16(const uint16_t* p) { return from_f16(p); }
OCTAVO_INLINE F32 widen_bf16(const uint16_t* p) { return from_bf16(p); }

template <bool kScaled, class T, F32 (*widen)(const T*)>
void widen_row(EmbeddingRow row) {
  const auto* in = static_cast<const T*>(row.row);
  const F32 scale = set1(row.scale);
  const auto value = [&](const T* p) { return kScaled ? mul(widen(p), scale) : widen(p); };
  int64_t i = 0;
  for (; i + kLanes <= row.width; i += kLanes) store(row.out + i, value(in + i));
  if (i < row.width) {
    T tail[kLanes] = {};
    for (int64_t j = i; j < row.width; ++j) tail[j - i] = in[j];
    store(row.out + i, value(tail), first_lanes(row.width - i));
  }
}

}  // namespace

void embedding_row(const EmbeddingRow& row) {
  if (row.dtype == DType::i8) return widen_row<true, int8_t, widen_i8>(row);
  if (row.dtype == DType::f16) return widen_row<false, uint16_t, widen_f16>(row);
  widen_row<false, uint16_t, widen_bf16>(row);
}

}  // namespace octavo::OCTAVO_ISA
