#include "ops/attention_f/attention_f_ref.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/attention_f/attention_f_element.h"

namespace octavo {
VisibleKeys visible_keys(const AttentionFArgs& args, int64_t i, int64_t sq, int64_t sk) {
  const int64_t own =
      i + sk - sq;  // bottom-right aligned: the last query sees the last key; negative: sees nothing
  const int64_t end = args.causal ? own + 1 : sk;
  const int64_t first = args.window > 0 ? own + 1 - args.window : 0;
  return {std::max<int64_t>(first, 0), std::clamp<int64_t>(end, 0, sk)};
}

template <class Real>
void attention_f_ref_row(const AttentionFArgs& args, int64_t b, int64_t t, int64_t h, Real* scores) {
  const KvView& kv = args.kv;
  const int32_t* q_start = args.q_start.as<int32_t>();
  const int64_t head = h / (args.q.dim(1) / kv.heads);
  const auto [first, end] =
      visible_keys(args, t - q_start[b], q_start[b + 1] - q_start[b], args.kv_len.as<int32_t>()[b]);
  const auto scale_of = [&](const float* scales, int64_t j) {
    return kv.dtype == DType::i8 ? static_cast<Real>(scales[kv.scale_offset(b, head, j)]) : Real{1};
  };

  const int64_t q = t * args.q.stride(0) + h * args.q.stride(1);
  Real top = -std::numeric_limits<Real>::infinity();
  for (int64_t j = first; j < end; ++j) {
    const int64_t k = kv.offset(b, head, j);
    Real dot = 0;
    for (int64_t d = 0; d < kv.head_dim; ++d)
      dot += load_element<Real>(args.q.dtype(), args.q.data(), q + d) *
             load_element<Real>(kv.dtype, kv.k, k + d);
    scores[j] = dot * static_cast<Real>(args.scale) * scale_of(kv.k_scale, j);
    if (scores[j] > top) top = scores[j];
  }
  // NOTE: a row whose scores are all -inf counts as fully masked; exp(-inf - 0) is 0 while a NaN score stays NaN.
  const Real shift = std::isinf(top) && top < 0 ? Real{0} : top;
  Real total = 0;
  for (int64_t j = first; j < end; ++j) total += scores[j] = std::exp(scores[j] - shift);

  const int64_t out = t * args.out.stride(0) + h * args.out.stride(1);
  for (int64_t d = 0; d < kv.head_dim; ++d) {
    Real sum = 0;
    for (int64_t j = first; j < end; ++j)
      sum +=
          scores[j] * scale_of(kv.v_scale, j) * load_element<Real>(kv.dtype, kv.v, kv.offset(b, head, j) + d);
    store_element<Real>(args.out, out + d, total == 0 ? Real{0} : sum / total);
  }
  if (args.lse)
    store_element<Real>(args.lse, t * args.lse.stride(0) + h * args.lse.stride(1), shift + std::log(total));
}

template void attention_f_ref_row<double>(const AttentionFArgs&, int64_t, int64_t, int64_t, double*);
template void attention_f_ref_row<float>(const AttentionFArgs&, int64_t, int64_t, int64_t, float*);
}  // namespace octavo
