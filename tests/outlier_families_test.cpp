// What --rotate and --smooth do for W8A8 in every family that they apply to: with planted outlier channels, where they help, and
// without, where they do not. The test prints the tables of docs/quantize.md.
#include <gtest/gtest.h>

#include "engine/evaluate.h"
#include "engine/layer_error.h"
#include "formats/json_file.h"
#include "harness/expect_error.h"
#include "harness/temp_folder.h"
#include "planted_outliers.h"
#include "weights/equivalent_model.h"

namespace octavo {
namespace {

namespace fs = std::filesystem;
using harness::TempFolder;

const fs::path kGoldens = fs::path(OCTAVO_SOURCE_DIR) / "tests/goldens";
const fs::path kDemo = fs::path(OCTAVO_SOURCE_DIR) / "models/demo";

Engine load_model(const fs::path& folder, Quantization quantization) {
  EngineOptions o;
  o.quantization = quantization, o.kv_dtype = DType::f32, o.threads = 2;
  o.prefill_chunk = o.logit_rows = 64;
  return Engine(Transformer::load(folder.string(), quantization, Context{}), o);
}

// What can be made of a model, each in a folder of its own; nothing of it is left at the end.
struct Variants {
  std::vector<int32_t> calibration;
  TempFolder folder;
  int made = 0;

  fs::path next() { return folder / std::to_string(++made); }
  fs::path planted(const fs::path& from) {
    const fs::path to = next();
    plant_outliers(from, to);
    return to;
  }
  fs::path rotated(const fs::path& from) {
    const fs::path to = next();
    write_rotated_model(from, to, Context{});
    return to;
  }
  fs::path smoothed(const fs::path& from) {
    const fs::path to = next();
    Engine floats = load_model(from, Quantization::none);
    write_smoothed_model(from, to, measure_activation_peaks(floats, calibration), 0.5);
    return to;
  }
};

class OutlierFamilies : public ::testing::TestWithParam<const char*> {
 protected:
  static std::vector<int32_t> ids(int from) {
    std::vector<int32_t> all;
    for (int i = from; i < from + 40; ++i) all.push_back((i * 37 + 11) % 97);
    return all;
  }
  static std::vector<float> logits(const fs::path& model, Quantization quantization) {
    Engine engine = load_model(model, quantization);
    const ConstTensor rows = engine.feed(ids(0), Phase::prefill, 40);
    return {rows.as<float>(), rows.as<float>() + rows.numel()};
  }
};

TEST_P(OutlierFamilies, SmoothingAndRotationWinBackWhatOutliersCost) {
  const fs::path source = kGoldens / GetParam();
  Variants v{.calibration = ids(40)};
  const std::vector<float> exact = logits(source, Quantization::none);
  const auto error = [&](const fs::path& model) {
    EXPECT_LE(worst(logits(model, Quantization::none), exact), 1e-4) << model << " computes something else";
    return relative_error(logits(model, Quantization::w8a8), exact);
  };
  const double plain = error(source), plain_rotated = error(v.rotated(source)),
               plain_smoothed = error(v.smoothed(source));
  const fs::path planted = v.planted(source), rotated = v.rotated(planted);
  const double cost = error(planted), by_rotation = error(rotated), by_smoothing = error(v.smoothed(planted)),
               by_both = error(v.smoothed(rotated));
  std::printf("| %s | %.4f | %.4f | %.4f | %.4f | %.4f | %.4f | %.4f |\n", GetParam(), plain, plain_rotated,
              plain_smoothed, cost, by_rotation, by_smoothing, by_both);
  EXPECT_GT(cost, 8 * plain);
  EXPECT_LT(by_rotation, cost / 3);
  EXPECT_LT(by_smoothing, cost / 7);
  EXPECT_LT(by_both, cost / 7);
}

INSTANTIATE_TEST_SUITE_P(Goldens, OutlierFamilies,
                         ::testing::Values("llama_tiny", "families/mistral", "families/qwen2",
                                           "families/qwen3", "families/phi3"));

// Layer norms subtract a mean, which a rotation does not keep, and these files have other names: refused, not half done.
TEST(OutlierOptions, OtherFamiliesAreRefused) {
  for (const char* name : {"gpt2", "gpt_neox", "bert"}) {
    const TempFolder folder;
    const fs::path from = kGoldens / "families" / name;
    const char* message = "is none of a Llama kind of model";
    harness::expect_error(ErrorKind::bad_model, message,
                          [&] { write_rotated_model(from, folder / "to", Context{}); });
    harness::expect_error(ErrorKind::bad_model, message,
                          [&] { write_smoothed_model(from, folder / "to", {}, 0.5); });
    EXPECT_TRUE(folder.names().empty());
  }
}

// A trained model (models/demo, 7 million weights) on text that it has not seen.
TEST(OutlierOptions, TheDemoModel) {
  const Tokenizer tokenizer = Tokenizer::load(kDemo);
  const std::vector<int32_t> text = tokenizer.encode(read_text_file(kDemo / "heldout.txt", 1 << 20),
                                                     {.add_special_tokens = false, .parse_special = true});
  Variants v{.calibration = {text.end() - 256, text.end()}};
  Engine reference = load_model(kDemo, Quantization::none);
  const auto measure = [&](const char* name, const fs::path& model) {
    Engine candidate = load_model(model, Quantization::w8a8);
    const Evaluation e = evaluate(reference, candidate, text, {}, {.window = 256, .max_tokens = 1024});
    std::printf("| %s | %.3f | %+.2f %% | %.5f | %.1f %% |\n", name, e.perplexity,
                100 * (e.perplexity / e.perplexity_reference - 1), e.mean_kl, 100 * e.top1_agreement);
    return e.mean_kl;
  };
  const double plain = measure("as it is", kDemo);
  measure("`--rotate`", v.rotated(kDemo));
  measure("`--smooth 0.5`", v.smoothed(kDemo));
  const fs::path planted = v.planted(kDemo), rotated = v.rotated(planted);
  const double cost = measure("outliers", planted);
  EXPECT_GT(cost, 8 * plain);
  EXPECT_LT(measure("outliers, `--rotate`", rotated), cost / 3);
  EXPECT_LT(measure("outliers, `--smooth 0.5`", v.smoothed(planted)), cost / 8);
  EXPECT_LT(measure("outliers, both", v.smoothed(rotated)), cost / 8);
}

}  // namespace
}  // namespace octavo
