#include <algorithm>
#include <cmath>

#include "core/element.h"
#include "core/quantizer.h"
#include "ops/attention_int8/attention_int8_ref.h"

namespace octavo {
namespace {

// One scale for `count` values at(i), codes to put(i, code).
template <class At, class Put>
float quantize_group(int64_t count, At&& at, Put&& put) {
  float amax = 0;
  for (int64_t i = 0; i < count; ++i) {
    const float x = std::abs(at(i));
    if (!(x <= amax)) amax = x;   // takes NaN and larger values
    if (std::isnan(amax)) break;  // and keeps NaN
  }
  const RowCoding coding = row_coding(amax);
  for (int64_t i = 0; i < count; ++i) put(i, quantize(at(i), coding.inverse));
  return coding.scale;
}

void quantize_rows(const ConstTensor& x, const Tensor& codes, const Tensor& scale) {
  const int64_t dim = x.dim(3);
  int8_t* to = codes.as<int8_t>();
  float* of = scale.as<float>();
  for (int64_t b = 0; b < x.dim(0); ++b)
    for (int64_t h = 0; h < x.dim(1); ++h)
      for (int64_t s = 0; s < x.dim(2); ++s, to += dim)
        *of++ = quantize_group(
            dim, [&](int64_t d) { return load_at<float>(x, b, h, s, d); },
            [&](int64_t d, int8_t code) { to[d] = code; });
}

}  // namespace

void attention_int8_quantize_ref(const AttentionInt8QuantizeArgs& a) {
  quantize_rows(a.q, a.q_codes, a.q_scale);
  quantize_rows(a.k, a.k_codes, a.k_scale);
  const int64_t dim = a.v.dim(3), sk = a.v.dim(2), pages = a.v_codes.dim(2), tile = kInt8TileKeys;
  std::fill_n(a.v_codes.as<int8_t>(), a.v_codes.numel(), int8_t{0});
  for (int64_t b = 0; b < a.v.dim(0); ++b)
    for (int64_t h = 0; h < a.v.dim(1); ++h)
      for (int64_t first = 0; first < sk; first += tile)
        for (int64_t d = 0; d < dim; ++d) {
          int8_t* head = a.v_codes.as<int8_t>() + (b * a.v.dim(1) + h) * pages * dim * kInt8PageKeys;
          const float scale = quantize_group(
              std::min(tile, sk - first), [&](int64_t i) { return load_at<float>(a.v, b, h, first + i, d); },
              [&](int64_t i, int8_t code) {
                const int64_t j = first + i;
                head[(j / kInt8PageKeys * dim + d) * kInt8PageKeys +
                     int8_key_slot(static_cast<int>(j % kInt8PageKeys))] = code;
              });
          store_at(a.v_scale, scale, b, h, first / tile, d);
        }
}

}  // namespace octavo
