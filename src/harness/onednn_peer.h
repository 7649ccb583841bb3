// oneDNN's matrix product as a peer of the gemm benches, with weights in the layout that it asks for. Only benches
// include this; OCTAVO_HAVE_ONEDNN says whether CMake found the library.
#pragma once
#include "harness/bench_main.h"

#if defined(OCTAVO_HAVE_ONEDNN)
#include <fmt/format.h>

#include <cstdlib>
#include <dnnl.hpp>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace octavo::harness {

// y[m][n] = sum_k x[m][k] * w[n][k] for rotated copies of dense x and w; every copy has its own packed weights.
class OnednnMatmul {
 public:
  using Type = dnnl::memory::data_type;
  struct Types {
    Type x, w, y;
  };

  // x of set i is [M][K] at x[i], w [N][K] at w[i].
  OnednnMatmul(Types types, int64_t m, int64_t n, int64_t k, const std::vector<void*>& x,
               const std::vector<void*>& w)
      : engine_(dnnl::engine::kind::cpu, 0), stream_(engine_) {
    using Format = dnnl::memory::format_tag;
    const dnnl::memory::desc x_desc({m, k}, types.x, Format::ab), y_desc({m, n}, types.y, Format::ab);
    const dnnl::memory::desc w_desc({k, n}, types.w, Format::ba), packed_desc({k, n}, types.w, Format::any);
    const dnnl::matmul::primitive_desc chosen({x_desc, packed_desc, y_desc}, engine_);
    implementation_ = chosen.impl_info_str();
    matmul_ = dnnl::matmul(chosen);
    y_ = dnnl::memory(y_desc, engine_);
    for (size_t i = 0; i < x.size(); ++i) {
      dnnl::memory given(w_desc, engine_, w[i]), packed(chosen.weights_desc(), engine_);
      dnnl::reorder(given, packed).execute(stream_, given, packed);
      sets_.emplace_back(dnnl::memory(x_desc, engine_, x[i]), packed);
    }
    stream_.wait();
  }

  void call() { call(turn_++ % sets_.size()); }
  void call(size_t set) {
    matmul_.execute(
        stream_,
        {{DNNL_ARG_SRC, sets_[set].first}, {DNNL_ARG_WEIGHTS, sets_[set].second}, {DNNL_ARG_DST, y_}});
    stream_.wait();
  }
  const void* y() const { return y_.get_data_handle(); }
  const std::string& implementation() const { return implementation_; }

 private:
  dnnl::engine engine_;
  dnnl::stream stream_;
  dnnl::matmul matmul_;
  dnnl::memory y_;
  std::vector<std::pair<dnnl::memory, dnnl::memory>> sets_;  // x, packed w
  std::string implementation_;
  size_t turn_ = 0;
};

// The share of up to 4096 sums, spread over y of set 0, that differ from want(m, n) by more than `tolerance`.
template <class Y, class Want>
double share_wrong(OnednnMatmul& matmul, int64_t m, int64_t n, double tolerance, Want&& want) {
  matmul.call(0);
  const Y* y = static_cast<const Y*>(matmul.y());
  int64_t checked = 0, wrong = 0;
  for (int64_t i = 0; i < m * n; i += 1 + m * n / 4096, ++checked) {
    const double difference = static_cast<double>(y[i]) - want(i / n, i % n);
    wrong += !(difference <= tolerance && difference >= -tolerance);
  }
  return static_cast<double>(wrong) / static_cast<double>(checked);
}

inline Peer onednn_peer(const std::string& types, std::shared_ptr<OnednnMatmul> matmul, double wrong) {
  std::string variant = types + " " + matmul->implementation();
  if (wrong > 0) variant += fmt::format(", {:.0f}% saturated", 100 * wrong);
  return {.impl = "onednn", .variant = variant, .call = [matmul] { matmul->call(); }};
}

}  // namespace octavo::harness
#endif
