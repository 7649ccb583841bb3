// What quantising costs and what can be done about it: a model with planted outlier channels, smoothed and rotated; the
// layers' errors; multiple choice.
#include <gtest/gtest.h>

#include <cmath>

#include "engine/evaluate.h"
#include "engine/layer_error.h"
#include "engine/multiple_choice.h"
#include "formats/json_file.h"
#include "formats/safetensors_writer.h"
#include "harness/expect_error.h"
#include "harness/temp_folder.h"
#include "planted_outliers.h"
#include "weights/equivalent_model.h"

namespace octavo {
namespace {

namespace fs = std::filesystem;
using harness::expect_error;
using harness::TempFolder;

const fs::path kTiny = fs::path(OCTAVO_SOURCE_DIR) / "tests/goldens/llama_tiny";
const fs::path kDemo = fs::path(OCTAVO_SOURCE_DIR) / "models/demo";
Engine load_model(const fs::path& folder, Quantization quantization) {
  EngineOptions o;
  o.quantization = quantization, o.kv_dtype = DType::f32, o.threads = 2, o.prefill_chunk = 64,
  o.logit_rows = 64;
  return Engine(Transformer::load(folder.string(), quantization, Context{}), o);
}

std::vector<int32_t> some_ids() {
  std::vector<int32_t> ids;
  for (int i = 0; i < 40; ++i) ids.push_back((i * 37 + 11) % 131);
  return ids;
}

std::vector<float> logits(const fs::path& folder, Quantization quantization) {
  Engine engine = load_model(folder, quantization);
  const ConstTensor rows = engine.feed(some_ids(), Phase::prefill, 40);
  return {rows.as<float>(), rows.as<float>() + rows.numel()};
}

struct Planted : ::testing::Test {
  TempFolder folder;
  const fs::path planted = folder / "planted", rotated = folder / "rotated", smoothed = folder / "smoothed";
  Planted() { plant_outliers(kTiny, planted); }
  ActivationPeaks peaks() {
    Engine floats = load_model(planted, Quantization::none);
    return measure_activation_peaks(floats, some_ids());
  }
};

TEST_F(Planted, OutliersCostAndSmoothingOrRotationWinsItBack) {
  const std::vector<float> exact = logits(planted, Quantization::none);
  EXPECT_LE(worst(exact, logits(kTiny, Quantization::none)), 1e-4);  // planting changed nothing by itself
  const double cost = relative_error(logits(planted, Quantization::w8a8), exact);
  const double without = relative_error(logits(kTiny, Quantization::w8a8), exact);

  write_rotated_model(planted, rotated, Context{});
  EXPECT_LE(worst(logits(rotated, Quantization::none), exact), 1e-4);
  const double after_rotation = relative_error(logits(rotated, Quantization::w8a8), exact);

  write_smoothed_model(planted, smoothed, peaks(), 0.5);
  EXPECT_LE(worst(logits(smoothed, Quantization::none), exact), 1e-4);
  const double after_smoothing = relative_error(logits(smoothed, Quantization::w8a8), exact);

  RecordProperty("error", std::to_string(cost));
  std::printf(
      "relative error of W8A8 logits: %.4f without outliers, %.4f with, %.4f rotated, %.4f smoothed\n",
      without, cost, after_rotation, after_smoothing);
  EXPECT_GT(cost, 3 * without);
  EXPECT_LT(after_rotation, cost / 3);
  EXPECT_LT(after_smoothing, cost / 8);
}

TEST_F(Planted, BothTogetherAndAnyAlphaStayEquivalent) {
  const std::vector<float> exact = logits(planted, Quantization::none);
  for (const double alpha : {0.0, 0.25, 1.0}) {
    fs::remove_all(smoothed);
    write_smoothed_model(planted, smoothed, peaks(), alpha);
    EXPECT_LE(worst(logits(smoothed, Quantization::none), exact), 1e-4) << alpha;
  }
  write_rotated_model(smoothed, rotated, Context{});
  EXPECT_LE(worst(logits(rotated, Quantization::none), exact), 1e-4);
}

TEST_F(Planted, LayerErrorsFindTheOutliers) {
  Engine floats = load_model(planted, Quantization::none), plain = load_model(kTiny, Quantization::none);
  const std::vector<LayerError> with = measure_layer_errors(floats, some_ids()),
                                without = measure_layer_errors(plain, some_ids());
  ASSERT_EQ(with.size(), 3u * 4 + 1);  // q+k+v, out, gate+up, down; the head
  for (size_t i = 1; i < with.size(); ++i) EXPECT_GE(with[i - 1].output_error, with[i].output_error);
  EXPECT_NE(with.front().layer.find("model.layers."), std::string::npos);
  EXPECT_GT(with.front().output_error, 3 * without.front().output_error);
  for (const LayerError& e : without) {
    EXPECT_GT(e.output_error, 1e-4) << e.layer;
    EXPECT_LT(e.output_error, 0.05) << e.layer;
  }
}

TEST_F(Planted, OtherModelsAndPlacesAreRefused) {
  const auto other = folder / "other";
  fs::create_directory(other);
  fs::copy_file(kTiny / "config.json", other / "config.json");
  const float one = 1;
  SafetensorsWriter writer(other / "model.safetensors",
                           {{"transformer.h.0.attn.c_attn.weight", "F32", {1, 1}}});
  writer.append("transformer.h.0.attn.c_attn.weight", &one, 4);
  writer.commit();
  const char* message = "tensor \"transformer.h.0.attn.c_attn.weight\" is none of a Llama kind of model";
  expect_error(ErrorKind::bad_model, message, [&] { write_rotated_model(other, rotated, Context{}); });
  expect_error(ErrorKind::bad_model, message, [&] { write_smoothed_model(other, smoothed, {}, 0.5); });
  expect_error(ErrorKind::usage, "no activations were measured behind model.layers.",
               [&] { write_smoothed_model(planted, smoothed, {}, 0.5); });
  expect_error(ErrorKind::runtime, "exists already", [&] { write_rotated_model(planted, other, Context{}); });
  expect_error(ErrorKind::bad_model, "expected none: --rotate takes a model of floats", [&] {
    write_rotated_model(kTiny.parent_path() / "compressed_tensors_int8", rotated, Context{});
  });
  EXPECT_FALSE(fs::exists(rotated));
  EXPECT_FALSE(fs::exists(smoothed));
}

TEST(HadamardCosine, IsOrthogonal) {
  for (const int64_t width : {1, 2, 64, 60, 96, 7}) {
    std::vector<std::vector<float>> rows;
    for (int64_t i = 0; i < width; ++i) {
      rows.emplace_back(static_cast<size_t>(width), 0.0f)[static_cast<size_t>(i)] = 1;
      hadamard_cosine_transform(rows.back().data(), width);
    }
    for (size_t i = 0; i < rows.size(); ++i)
      for (size_t j = 0; j <= i; ++j) {
        double dot = 0;
        for (size_t k = 0; k < rows.size(); ++k) dot += static_cast<double>(rows[i][k]) * rows[j][k];
        EXPECT_NEAR(dot, i == j ? 1 : 0, 1e-5) << width;
      }
    if (width == 64) {
      for (const float x : rows[5]) EXPECT_FLOAT_EQ(std::abs(x), 0.125f);
    }
  }
}

Engine load_demo(Quantization quantization = Quantization::none) {
  EngineOptions o;
  o.quantization = quantization, o.threads = 2, o.prefill_chunk = 32, o.logit_rows = 32, o.context = 256;
  return Engine::load(kDemo.string(), o);
}

TEST(MultipleChoice, ScoresAreSumsOfTokenLikelihoods) {
  Engine engine = load_demo();
  const std::string question = "Once upon a time there was",
                    choice = "a little boy who lived in a house by the sea";
  const std::vector<int32_t> prompt = engine.encode(question), all = engine.encode(question + " " + choice);
  double sum = 0;
  for (size_t i = prompt.size(); i < all.size(); ++i) {  // every token from a fresh sequence
    engine.restart();
    const ConstTensor row = engine.feed(std::span(all).first(i), Phase::prefill, 1);
    sum += token_log_probability(row.as<float>(), engine.model().config().vocab, all[i]);
  }
  EXPECT_NEAR(choice_log_likelihood(engine, question, choice), sum, 1e-3 * std::abs(sum));
  EXPECT_LT(sum, 0);
  // The blank belongs to the choice, wherever it is written.
  EXPECT_EQ(choice_log_likelihood(engine, question + " ", choice),
            choice_log_likelihood(engine, question, " " + choice));
  EXPECT_EQ(choice_log_likelihood(engine, question + " ", choice),
            choice_log_likelihood(engine, question, choice));
}

TEST(MultipleChoice, TheModelPrefersEnglish) {
  Engine engine = load_demo(Quantization::auto_);
  const std::vector<ChoiceQuestion> questions = {
      {"Once upon", {"zq xv jj", "a time"}, 1},
      {"The king and the", {"queen", "qqqqq"}, 0},
      {"She went to the", {"house", "of of of"}, 1}};  // a wrong answer
  int64_t calls = 0;
  const ChoiceScores s = score_choices(engine, questions, [&](int64_t done, int64_t total) {
    EXPECT_EQ(done, ++calls);
    EXPECT_EQ(total, 3);
  });
  EXPECT_EQ(s.questions, 3);
  EXPECT_EQ(calls, 3);
  EXPECT_NEAR(s.accuracy, 2.0 / 3, 1e-9);
  EXPECT_NEAR(s.standard_error, std::sqrt(2.0 / 9 / 2), 1e-9);
}

TEST(MultipleChoice, ReadsTheUsualSpellings) {
  TempFolder folder;
  const auto questions =
      read_choice_questions(folder.write("q.jsonl", R"({"question": "a", "choices": ["x", "y"], "answer": 1}

{"ctx": "b", "endings": ["x", "y", "z"], "label": "2", "id": 7}
{"context": "c", "choices": ["x", "y"], "gold": "B"}
)"));
  ASSERT_EQ(questions.size(), 3u);
  EXPECT_EQ(questions[0].answer, 1u);
  EXPECT_EQ(questions[1].question, "b");
  EXPECT_EQ(questions[1].answer, 2u);
  EXPECT_EQ(questions[2].answer, 1u);
  const std::vector<std::pair<std::string, std::string>> bad = {
      {"", "holds no question"},
      {"{\"question\": \"a\"", "line 1"},
      {"{\"choices\": [\"x\", \"y\"], \"answer\": 0}", "\"question\" is missing, expected a string"},
      {"{\"question\": \"a\", \"answer\": 0}", "\"choices\" is missing, expected at least two choices"},
      {"{\"question\": \"a\", \"choices\": [\"x\"], \"answer\": 0}", "expected at least two choices"},
      {"{\"question\": \"a\", \"choices\": [\"x\", \"\"], \"answer\": 0}",
       "expected choices that are not empty"},
      {"{\"question\": \"a\", \"choices\": [\"x\", 2], \"answer\": 0}", "expected an array of strings"},
      {"{\"question\": \"a\", \"choices\": [\"x\", \"y\"]}",
       "\"answer\" is missing, expected the index of a choice, 0 to 1"},
      {"{\"question\": \"a\", \"choices\": [\"x\", \"y\"], \"answer\": 2}", "\"answer\" is 2"},
      {"{\"question\": \"a\", \"choices\": [\"x\", \"y\"], \"answer\": -1}", "\"answer\" is -1"},
      {"{\"question\": \"a\", \"choices\": [\"x\", \"y\"], \"answer\": \"C\"}", "\"answer\" is \"C\""},
      {"\n[1]", "line 2: holds [1], expected a JSON object"},
  };
  for (const auto& [text, message] : bad)
    expect_error(ErrorKind::bad_model, message,
                 [&] { read_choice_questions(folder.write("q.jsonl", text)); });
}

}  // namespace
}  // namespace octavo
