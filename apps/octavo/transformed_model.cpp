#include "transformed_model.h"

#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>

#include "engine/layer_error.h"
#include "formats/json_file.h"
#include "model_options.h"
#include "terminal.h"
#include "weights/equivalent_model.h"

namespace octavo::app {
namespace {

namespace fs = std::filesystem;

constexpr size_t kCalibrationTokens = 512;

// Peaks of the model's activations on the text's end: `quantize` measures accuracy on its beginning.
ActivationPeaks calibrate(const TransformRequest& r, const std::string& folder) {
  EngineOptions e;
  e.quantization = Quantization::none, e.kv_dtype = DType::f32, e.isa = r.isa, e.threads = r.threads;
  e.prefill_chunk = 128;
  e.tokenizer = r.tokenizer.empty() ? r.source : r.tokenizer;
  Engine engine =
      Engine::load(folder, e, [](int64_t done, int64_t total) { show_progress("calibrating", done, total); });
  const std::string file = r.calibration_text.empty() ? find_model("") + "/heldout.txt" : r.calibration_text;
  const std::vector<int32_t> ids = engine.tokenizer().encode(
      read_text_file(file, int64_t{1} << 31), {.add_special_tokens = false, .parse_special = true});
  return measure_activation_peaks(engine, std::span(ids).last(std::min(ids.size(), kCalibrationTokens)));
}

}  // namespace

std::string TransformedModel::temporary_path(const TransformRequest& r, const char* step) {
  const fs::path output =
      fs::path(r.output).has_filename() ? fs::path(r.output) : fs::path(r.output).parent_path();
  const fs::path path =
      output.parent_path() / fmt::format(".{}.{}-{}", output.filename().string(), step, getpid());
  temporary_.push_back(path.string());
  return temporary_.back();
}

TransformedModel::TransformedModel(const TransformRequest& r, const Context& ctx) : folder_(r.source) {
  const auto progress = [](const char* what) {
    return [what](int64_t done, int64_t total) {
      show_progress(what, done, total);
      if (interrupted()) throw Error(ErrorKind::interrupted, "interrupted; nothing was written");
    };
  };
  try {
    if (r.rotate) {
      const std::string to = temporary_path(r, "rotated");
      write_rotated_model(folder_, to, ctx, progress("rotating"));
      folder_ = to;
      description_ = "--rotate";
    }
    if (r.smooth >= 0) {
      const ActivationPeaks peaks = calibrate(r, folder_);
      const std::string to = temporary_path(r, "smoothed");
      write_smoothed_model(folder_, to, peaks, r.smooth, progress("smoothing"));
      folder_ = to;
      description_ += fmt::format("{}--smooth {}", description_.empty() ? "" : " ", r.smooth);
    }
  } catch (...) {
    std::error_code ignored;
    for (const std::string& path : temporary_) fs::remove_all(path, ignored);
    throw;
  }
  clear_progress();
}

TransformedModel::~TransformedModel() {
  std::error_code ignored;
  for (const std::string& path : temporary_) fs::remove_all(path, ignored);
}

}  // namespace octavo::app
