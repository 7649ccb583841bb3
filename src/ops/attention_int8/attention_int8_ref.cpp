#include "ops/attention_int8/attention_int8_ref.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/element.h"

namespace octavo {
namespace {
constexpr float kLog2OfE = 1.44269504088896341f, kLog2Of255 = 7.99435343685885793f,
                kLn2 = 0.693147180559945309f;

// One query head and the KV head that it reads.
struct Head {
  const int8_t *q, *k, *v;
  const float *q_scale, *k_scale, *v_scale;
  int64_t b, h, dim, sk, tile, v_scale_tile, v_scale_channel;

  Head(const AttentionInt8Args& a, int64_t index) {
    const int64_t heads = a.q.dim(1), kv_heads = a.k.dim(1), sq = a.q.dim(2);
    b = index / heads, h = index % heads, sk = a.k.dim(2);
    dim = a.q.dim(3), tile = kInt8TileKeys;
    const int64_t kv_head = h / (heads / kv_heads), kv = b * kv_heads + kv_head;
    q = a.q.as<int8_t>() + index * sq * dim, q_scale = a.q_scale.as<float>() + index * sq;
    k = a.k.as<int8_t>() + kv * sk * dim, k_scale = a.k_scale.as<float>() + kv * sk;
    v = a.v.as<int8_t>() + kv * a.v.dim(2) * dim * kInt8PageKeys;
    v_scale = a.v_scale.as<float>() + b * a.v_scale.stride(0) + kv_head * a.v_scale.stride(1);
    v_scale_tile = a.v_scale.stride(2), v_scale_channel = a.v_scale.stride(3);
  }
  int32_t score(int64_t row, int64_t j) const {
    int32_t sum = 0;
    for (int64_t d = 0; d < dim; ++d) sum += int32_t{q[row * dim + d]} * k[j * dim + d];
    return sum;
  }
  int8_t v_code(int64_t j, int64_t d) const {
    const int slot = int8_key_slot(static_cast<int>(j % kInt8PageKeys));
    return v[(j / kInt8PageKeys * dim + d) * kInt8PageKeys + slot];
  }
  float v_scale_of(int64_t t, int64_t d) const { return v_scale[t * v_scale_tile + d * v_scale_channel]; }
};

float larger(float a, float b) { return std::isnan(a) || !(b <= a) ? (std::isnan(a) ? a : b) : a; }

void attend_row(const AttentionInt8Args& a, const Head& head, int64_t row, float* y) {
  constexpr float kNone = -std::numeric_limits<float>::infinity();
  const int64_t end = attention_int8_visible(a, row);
  const float scale = head.q_scale[row] * (a.scale * kLog2OfE);
  float top = kNone, sum = 0;
  std::vector<float> o(static_cast<size_t>(head.dim), 0.0f);
  for (int64_t t = 0, first = 0; first < end; ++t, first += head.tile) {
    const int64_t keys = std::min(head.tile, end - first);
    float tile_top = kNone;
    for (int64_t j = 0; j < keys; ++j) {
      y[j] = static_cast<float>(head.score(row, first + j)) * head.k_scale[first + j];
      tile_top = larger(tile_top, y[j]);
    }
    tile_top *= scale;
    const float all_top = larger(top, tile_top), base = all_top == kNone ? 0.0f : all_top;
    const float shift = kLog2Of255 - (tile_top == kNone ? 0.0f : tile_top);
    const float keep_old = std::exp2(top - base), take_new = std::exp2(tile_top - base);
    std::vector<int32_t> sums(o.size(), 0);
    int32_t tile_sum = 0;
    for (int64_t j = 0; j < keys; ++j) {
      const float e = std::exp2(std::fma(y[j], scale, shift));
      const auto p = static_cast<int32_t>(std::nearbyint(e >= 0 ? std::min(e, 255.0f) : 0.0f));  // NaN: 0
      tile_sum += p;
      for (int64_t d = 0; d < head.dim; ++d) sums[static_cast<size_t>(d)] += p * head.v_code(first + j, d);
    }
    sum = std::fma(static_cast<float>(tile_sum), take_new, sum * keep_old);
    for (size_t d = 0; d < o.size(); ++d)
      o[d] = std::fma(static_cast<float>(sums[d]), head.v_scale_of(t, static_cast<int64_t>(d)) * take_new,
                      o[d] * keep_old);
    top = all_top;
  }
  const float inverse = sum == 0 ? 0.0f : 1.0f / sum;
  for (size_t d = 0; d < o.size(); ++d) store_at(a.out, o[d] * inverse, head.b, head.h, row, d);
  if (a.lse) store_at(a.lse, top * kLn2 + std::log(sum / 255.0f), head.b, head.h, row);
}

}  // namespace

int64_t attention_int8_visible(const AttentionInt8Args& a, int64_t row) {
  const int64_t sq = a.q.dim(2), sk = a.k.dim(2);
  return a.causal ? std::clamp<int64_t>(row + 1 + sk - sq, 0, sk) : sk;
}

void attention_int8_ref(const AttentionInt8Args& a, int64_t begin, int64_t end, float* scratch) {
  for (int64_t index = begin; index < end; ++index)
    for (int64_t row = 0; row < a.q.dim(2); ++row) attend_row(a, Head(a, index), row, scratch);
}

void attention_int8_unrounded(const AttentionInt8Args& a) {
  for (int64_t index = 0; index < a.q.dim(0) * a.q.dim(1); ++index) {
    const Head head(a, index);
    std::vector<double> p(static_cast<size_t>(head.sk));
    for (int64_t row = 0; row < a.q.dim(2); ++row) {
      const int64_t end = attention_int8_visible(a, row);
      double top = -std::numeric_limits<double>::infinity(), total = 0;
      for (int64_t j = 0; j < end; ++j) {
        p[static_cast<size_t>(j)] =
            double{a.scale} * head.score(row, j) * head.q_scale[row] * head.k_scale[j];
        top = std::max(top, p[static_cast<size_t>(j)]);  // a NaN stays in p
      }
      for (int64_t j = 0; j < end; ++j)
        total += p[static_cast<size_t>(j)] = std::exp(p[static_cast<size_t>(j)] - top);
      for (int64_t d = 0; d < head.dim; ++d) {
        double sum = 0;
        for (int64_t j = 0; j < end; ++j)
          sum += p[static_cast<size_t>(j)] * head.v_code(j, d) * head.v_scale_of(j / head.tile, d);
        store_at(a.out, end == 0 ? 0.0 : sum / total, head.b, head.h, row, d);
      }
      if (a.lse) store_at(a.lse, end == 0 ? top : top + std::log(total), head.b, head.h, row);
    }
  }
}

}  // namespace octavo
