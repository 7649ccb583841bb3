#include "engine/layer_error.h"

#include <algorithm>
#include <cmath>

#include "octavo/ops.h"

namespace octavo {
namespace {

struct Sums {
  double difference = 0, output = 0;  // of squares
};

class ErrorObserver : public LinearObserver {
 public:
  void see(const Context& ctx, const LinearWeight& w, ConstTensor x) override {
    const int64_t t = x.dim(0), n = w.out_features, k = w.in_features, pitch = int8_pitch(k);
    const Buffer exact(t * n * 4), quantised(t * n * 4);
    gemm_f(ctx, {.x = x, .w = w.w(), .y = {exact.data(), DType::f32, {t, n}}});

    const Buffer x_codes(t * pitch), x_scale(t * 4), w_codes(n * pitch), w_scale(n * 4), w_sum(n * 4);
    const Tensor xq(x_codes.data(), DType::i8, {t, k}, {pitch, 1}),
        wq(w_codes.data(), DType::i8, {n, k}, {pitch, 1});
    quantize_rows(ctx,
                  {.x = x, .codes = xq, .scale = {x_scale.data(), DType::f32, {t}}, .padded_width = pitch});
    quantize_rows(ctx, {.x = w.w(),
                        .codes = wq,
                        .scale = {w_scale.data(), DType::f32, {n}},
                        .padded_width = pitch,
                        .code_sum = {w_sum.data(), DType::i32, {n}}});
    GemmW8A8Args gemm{.x = xq,
                      .x_scale = {x_scale.data(), DType::f32, {t}},
                      .w = wq,
                      .w_scale = {w_scale.data(), DType::f32, {n}},
                      .w_code_sum = {w_sum.data(), DType::i32, {n}},
                      .y = {quantised.data(), DType::f32, {t, n}}};
    Context with_workspace = ctx;
    const Buffer workspace(gemm_w8a8_workspace_bytes(ctx, gemm));
    with_workspace.workspace = Tensor(workspace.data(), DType::u8, {workspace.bytes()});
    gemm_w8a8(with_workspace, gemm);

    Sums& sums = sums_of_[w.name];
    for (int64_t i = 0; i < t * n; ++i) {
      const double y = exact.as<float>()[i], difference = quantised.as<float>()[i] - y;
      sums.output += y * y, sums.difference += difference * difference;
    }
  }

  std::vector<LayerError> errors() const {
    std::vector<LayerError> all;
    for (const auto& [name, sums] : sums_of_)
      all.push_back({name, sums.output > 0 ? std::sqrt(sums.difference / sums.output) : 0.0});
    std::sort(all.begin(), all.end(), [](const LayerError& a, const LayerError& b) {
      return a.output_error != b.output_error ? a.output_error > b.output_error : a.layer < b.layer;
    });
    return all;
  }

 private:
  std::unordered_map<std::string, Sums> sums_of_;
};

class PeakObserver : public LinearObserver {
 public:
  void see(const Context&, const LinearWeight& w, ConstTensor x) override {
    std::vector<float>& peaks = peaks_of[w.name];
    peaks.resize(static_cast<size_t>(x.dim(1)));
    for (int64_t t = 0; t < x.dim(0); ++t) {
      const float* row = x.as<float>() + t * x.stride(0);
      for (size_t k = 0; k < peaks.size(); ++k) peaks[k] = std::max(peaks[k], std::abs(row[k]));
    }
  }
  ActivationPeaks peaks_of;
};

// The text in one sequence, cut at the context.
void run_observed(Engine& floats, std::span<const int32_t> ids, LinearObserver& observer) {
  const auto fits = std::min(ids.size(), static_cast<size_t>(floats.options().context));
  floats.restart();
  floats.observe(&observer);
  try {
    floats.feed(ids.first(fits), Phase::prefill, 1);
  } catch (...) {
    floats.observe(nullptr);
    throw;
  }
  floats.observe(nullptr);
  floats.restart();
}

}  // namespace

std::vector<LayerError> measure_layer_errors(Engine& floats, std::span<const int32_t> ids) {
  ErrorObserver observer;
  run_observed(floats, ids, observer);
  return observer.errors();
}

ActivationPeaks measure_activation_peaks(Engine& floats, std::span<const int32_t> ids) {
  PeakObserver observer;
  run_observed(floats, ids, observer);
  return std::move(observer.peaks_of);
}

}  // namespace octavo
