#include "ops/kv_append/kv_append_ref.h"

#include <cmath>
#include <cstring>

#include "core/quantizer.h"

namespace octavo {
namespace {

float load(DType dtype, const void* row, int64_t i) {
  switch (dtype) {
    case DType::f32: return static_cast<const float*>(row)[i];
    case DType::f16: return to_float(static_cast<const F16*>(row)[i]);
    default: return to_float(static_cast<const BF16*>(row)[i]);
  }
}

void store(DType dtype, void* row, int64_t i, float value) {
  switch (dtype) {
    case DType::f32: static_cast<float*>(row)[i] = value; break;
    case DType::f16: static_cast<F16*>(row)[i] = to_f16(value); break;
    default: static_cast<BF16*>(row)[i] = to_bf16(value);
  }
}

// x: [width] source, y: [width] slot of the cache; a slot of the source's dtype gets the source's bits.
void append_float_row(DType x_dtype, const void* x, DType y_dtype, void* y, int64_t width) {
  if (x_dtype == y_dtype) {
    std::memcpy(y, x, static_cast<size_t>(width * size_of(y_dtype)));
    return;
  }
  for (int64_t i = 0; i < width; ++i) store(y_dtype, y, i, load(x_dtype, x, i));
}

void append_code_row(DType x_dtype, const void* x, int8_t* codes, float* scale, int64_t width) {
  float amax = 0.0f;
  for (int64_t i = 0; i < width; ++i) {
    const float magnitude = std::abs(load(x_dtype, x, i));
    // NOTE: once amax is NaN no comparison is true again, so it stays NaN and the row is coded as one with NaN.
    if (magnitude > amax || std::isnan(magnitude)) amax = magnitude;
    if (std::isnan(amax)) break;
  }
  const RowCoding coding = row_coding(amax);
  for (int64_t i = 0; i < width; ++i) codes[i] = quantize(load(x_dtype, x, i), coding.inverse);
  *scale = coding.scale;
}

void append_row(const ConstTensor& x, int64_t token, int64_t head, const KvView& cache, void* pool,
                float* scales, int64_t slot, int64_t scale_slot) {
  const auto* from =
      static_cast<const uint8_t*>(x.data()) + (token * x.stride(0) + head * x.stride(1)) * size_of(x.dtype());
  auto* to = static_cast<uint8_t*>(pool) + slot * size_of(cache.dtype);
  if (cache.dtype == DType::i8)
    append_code_row(x.dtype(), from, reinterpret_cast<int8_t*>(to), scales + scale_slot, cache.head_dim);
  else
    append_float_row(x.dtype(), from, cache.dtype, to, cache.head_dim);
}

}  // namespace

void kv_append_ref_tokens(const KvAppendArgs& args, int64_t begin, int64_t end) {
  const KvView& cache = args.cache;
  for (int64_t t = begin; t < end; ++t) {
    const int64_t sequence = args.sequences ? args.sequences.as<int32_t>()[t] : 0;
    const int64_t position = args.positions.as<int32_t>()[t];
    for (int64_t h = 0; h < cache.heads; ++h) {
      const int64_t slot = cache.offset(sequence, h, position);
      const int64_t scale_slot = cache.scale_offset(sequence, h, position);
      append_row(args.k, t, h, cache, cache.k, cache.k_scale, slot, scale_slot);
      append_row(args.v, t, h, cache, cache.v, cache.v_scale, slot, scale_slot);
    }
  }
}

void kv_append_ref(const KvAppendArgs& args) { kv_append_ref_tokens(args, 0, args.k.dim(0)); }

}  // namespace octavo
