// All rows of the specification: attention_f_ref_row for every row, the same bits, several times faster.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "ops/attention_f/attention_f_element.h"
#include "ops/attention_f/attention_f_ref.h"

namespace octavo {
namespace {

// The live keys and values of one head of a sequence as Real, so that its rows convert them once: verification judges
// thousands of cases. Keys lie transposed, [D][Sk]; a sum over D of many keys is then a loop that vectorises, in the same order.
template <class Real>
struct WideHead {
  int64_t keys, dim;
  std::vector<Real> k, v, k_scale, v_scale;

  WideHead(const KvView& kv, int64_t b, int64_t head, int64_t keys_)
      : keys(keys_),
        dim(kv.head_dim),
        k(static_cast<size_t>(keys_ * kv.head_dim)),
        v(k.size()),
        k_scale(static_cast<size_t>(keys_), Real{1}),
        v_scale(k_scale) {
    for (int64_t j = 0; j < keys; ++j) {
      const int64_t from = kv.offset(b, head, j);
      for (int64_t d = 0; d < dim; ++d) {
        k[static_cast<size_t>(d * keys + j)] = load_element<Real>(kv.dtype, kv.k, from + d);
        v[static_cast<size_t>(j * dim + d)] = load_element<Real>(kv.dtype, kv.v, from + d);
      }
      if (kv.dtype != DType::i8) continue;
      k_scale[static_cast<size_t>(j)] = static_cast<Real>(kv.k_scale[kv.scale_offset(b, head, j)]);
      v_scale[static_cast<size_t>(j)] = static_cast<Real>(kv.v_scale[kv.scale_offset(b, head, j)]);
    }
  }
};

// attention_f_ref_row over a widened head, bit for bit.
template <class Real>
void attend_wide_row(const AttentionFArgs& args, const WideHead<Real>& head, VisibleKeys keys, int64_t t,
                     int64_t h, Real* scores, Real* sums) {
  const int64_t q = t * args.q.stride(0) + h * args.q.stride(1);
  std::fill(scores + keys.first, scores + std::max(keys.first, keys.end), Real{0});
  for (int64_t d = 0; d < head.dim; ++d) {
    const Real element = load_element<Real>(args.q.dtype(), args.q.data(), q + d);
    const Real* k = head.k.data() + d * head.keys;
    for (int64_t j = keys.first; j < keys.end; ++j) scores[j] += element * k[j];
  }
  Real top = -std::numeric_limits<Real>::infinity();
  for (int64_t j = keys.first; j < keys.end; ++j) {
    scores[j] = scores[j] * static_cast<Real>(args.scale) * head.k_scale[static_cast<size_t>(j)];
    if (scores[j] > top) top = scores[j];
  }
  const Real shift = std::isinf(top) && top < 0 ? Real{0} : top;
  Real total = 0;
  std::fill(sums, sums + head.dim, Real{0});
  for (int64_t j = keys.first; j < keys.end; ++j) {
    total += scores[j] = std::exp(scores[j] - shift);
    const Real weight = scores[j] * head.v_scale[static_cast<size_t>(j)];
    const Real* v = head.v.data() + j * head.dim;
    for (int64_t d = 0; d < head.dim; ++d) sums[d] += weight * v[d];
  }
  const int64_t out = t * args.out.stride(0) + h * args.out.stride(1);
  for (int64_t d = 0; d < head.dim; ++d)
    store_element<Real>(args.out, out + d, total == 0 ? Real{0} : sums[d] / total);
  if (args.lse)
    store_element<Real>(args.lse, t * args.lse.stride(0) + h * args.lse.stride(1), shift + std::log(total));
}

}  // namespace

template <class Real>
void attention_f_ref(const AttentionFArgs& args) {
  const int32_t* q_start = args.q_start.as<int32_t>();
  const int64_t group = args.q.dim(1) / args.kv.heads;
  std::vector<Real> sums(static_cast<size_t>(args.kv.head_dim));
  for (int64_t b = 0; b < args.kv_len.dim(0); ++b) {
    const int64_t sq = q_start[b + 1] - q_start[b], sk = args.kv_len.as<int32_t>()[b];
    std::vector<Real> scores(static_cast<size_t>(sk));
    for (int64_t kv_head = 0; kv_head < args.kv.heads && sq > 0; ++kv_head) {
      const WideHead<Real> head(args.kv, b, kv_head, sk);
      for (int64_t i = 0; i < sq; ++i)
        for (int64_t h = kv_head * group; h < (kv_head + 1) * group; ++h)
          attend_wide_row<Real>(args, head, visible_keys(args, i, sq, sk), q_start[b] + i, h, scores.data(),
                                sums.data());
    }
  }
}

template void attention_f_ref<double>(const AttentionFArgs&);
template void attention_f_ref<float>(const AttentionFArgs&);

}  // namespace octavo
