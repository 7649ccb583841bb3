#include "ops/rope/rope_ref.h"

#include <cmath>

#include "core/element.h"

namespace octavo {

template <class Real>
void rope_ref(const RopeArgs& args) {
  const int64_t tokens = args.x.dim(0), heads = args.x.dim(1), width = args.x.dim(2),
                pairs = args.inv_freq.dim(0);
  const bool half_split = args.style == RopeStyle::half_split;
  for (int64_t t = 0; t < tokens; ++t)
    for (int64_t h = 0; h < heads; ++h) {
      for (int64_t i = 0; i < pairs; ++i) {
        const float angle = load_at<float>(args.positions, t) * load_at<float>(args.inv_freq, i);
        const Real cosine = std::cos(static_cast<Real>(angle)) * static_cast<Real>(args.attention_factor);
        const Real sine = std::sin(static_cast<Real>(angle)) * static_cast<Real>(args.attention_factor);
        const int64_t first = half_split ? i : 2 * i, second = half_split ? i + pairs : 2 * i + 1;
        const Real a = load_at<Real>(args.x, t, h, first), b = load_at<Real>(args.x, t, h, second);
        store_at(args.out, a * cosine - b * sine, t, h, first);
        store_at(args.out, b * cosine + a * sine, t, h, second);
      }
      for (int64_t c = 2 * pairs; c < width; ++c) store_at(args.out, load_at<Real>(args.x, t, h, c), t, h, c);
    }
}

template void rope_ref<double>(const RopeArgs&);
template void rope_ref<float>(const RopeArgs&);

}  // namespace octavo
