// Texts to vectors: a tiny BERT with a WordPiece tokenizer against transformers (tools/make_goldens_families.py), what a
// sentence-transformers folder says beside it, and the errors.
#include <gtest/gtest.h>

#include "engine/embedder.h"
#include "harness/expect_error.h"
#include "harness/temp_folder.h"
#include "model_parity.h"

namespace octavo {
namespace {

using harness::TempFolder;
namespace fs = std::filesystem;

const std::string kBert = kGoldens + "families/bert/";
const std::vector<std::string> kTexts = {"Hello, world!", "", "a cafe",
                                         "octavo makes vectors of texts: 0123456789"};
constexpr size_t kWidth = 44;

struct Embed : ::testing::Test {
  TempFolder folder;  // the golden, to which tests add files
  Expected expected = read_expected(kBert + "expected.safetensors");
  EmbedderOptions options;
  Embed() {
    for (const char* name : {"config.json", "model.safetensors", "tokenizer.json"})
      fs::copy(kBert + name, folder / name);
    fs::create_directory(folder / "1_Pooling");
    options.engine.quantization = Quantization::none, options.engine.threads = 2;
  }
  Embedder load() { return Embedder::load(folder.path().string(), options); }
  double error(const std::string& pooling) {
    std::vector<float> all;
    for (const std::vector<float>& v : load().embed(kTexts)) all.insert(all.end(), v.begin(), v.end());
    return worst_relative(all, expected.floats.at("texts_" + pooling), kWidth);
  }
};

TEST_F(Embed, VectorsAgreeWithTransformers) {
  EXPECT_LE(error("mean"), 1e-4);
  EXPECT_GT(error("cls"), 0.01);
  options.pooling = Pooling::cls;
  EXPECT_LE(error("cls"), 1e-4);
  options.pooling = {}, options.engine.quantization = Quantization::auto_;
  EXPECT_LE(error("mean"), 0.05);
}

TEST_F(Embed, ManyTextsThatDoNotFitOneCallGiveTheSameVectors) {
  std::vector<std::string> texts;
  for (int i = 0; i < 50; ++i) texts.push_back(kTexts[static_cast<size_t>(i % 4)]);
  options.engine.quantization = Quantization::w8a8;
  Embedder embedder = load();
  int64_t last = 0;
  const auto many = embedder.embed(texts, [&](int64_t done) { last = done; });
  ASSERT_EQ(many.size(), 50u);
  EXPECT_EQ(last, 50);
  for (size_t i = 0; i < 50; ++i) EXPECT_EQ(many[i], embedder.embed({kTexts[i % 4]}).front());
}

TEST_F(Embed, TheFolderChoosesThePooling) {
  folder.write("1_Pooling/config.json", R"({"word_embedding_dimension": 44, "pooling_mode_cls_token": true,
                                            "pooling_mode_mean_tokens": false})");
  EXPECT_LE(error("cls"), 1e-4);
  folder.write("1_Pooling/config.json", R"({"pooling_mode": "mean"})");
  EXPECT_LE(error("mean"), 1e-4);
  folder.write("1_Pooling/config.json", R"({"pooling_mode_max_tokens": true})");
  harness::expect_error(ErrorKind::bad_model, "pooling_mode_max_tokens", [&] { load(); });
  folder.write("1_Pooling/config.json",
               R"({"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": true})");
  harness::expect_error(ErrorKind::bad_model, "--pooling", [&] { load(); });
  options.pooling = Pooling::mean;
  EXPECT_LE(error("mean"), 1e-4);
}

TEST_F(Embed, ModulesThatOctavoDoesNotKnowAreNamed) {
  folder.write("modules.json", R"([{"type": "sentence_transformers.models.Transformer"},
                                   {"type": "sentence_transformers.models.Pooling"},
                                   {"type": "sentence_transformers.models.Normalize"}])");
  EXPECT_NO_THROW(load());
  folder.write("modules.json", R"([{"type": "sentence_transformers.models.Dense"}])");
  harness::expect_error(ErrorKind::bad_model, "sentence_transformers.models.Dense", [&] { load(); });
  folder.write("modules.json", R"([3])");
  harness::expect_error(ErrorKind::bad_model, "modules.json", [&] { load(); });
  folder.write("modules.json", R"({"type": 3})");
  harness::expect_error(ErrorKind::bad_model, "modules.json", [&] { load(); });
}

TEST_F(Embed, LongTextsAreRefusedOrCut) {
  folder.write("sentence_bert_config.json", R"({"max_seq_length": 9})");
  EXPECT_EQ(load().max_tokens(), 9);
  harness::expect_error(ErrorKind::usage, "text 2 has", [&] { load().embed({"ok", "far too many words"}); });
  options.truncate = true;
  Embedder embedder = load();
  // [CLS], seven letters, [SEP]: the end token stays.
  EXPECT_EQ(embedder.embed({"abcdefghijkl"}), embedder.embed({"abcdefg"}));
  EXPECT_EQ(embedder.texts_cut(), 1);
  EXPECT_EQ(embedder.tokens_seen(), 18);
  options.engine.context = 20;
  EXPECT_EQ(load().max_tokens(), 20);
  options.engine.context = 41;
  harness::expect_error(ErrorKind::usage, "-c 41", [&] { load(); });
}

TEST_F(Embed, VectorsHaveLengthOneUnlessAskedOtherwise) {
  const auto length = [&] {
    double squares = 0;
    const auto vectors = load().embed({kTexts[0]});
    for (const float x : vectors.front()) squares += static_cast<double>(x) * x;
    return std::sqrt(squares);
  };
  EXPECT_NEAR(length(), 1.0, 1e-6);
  options.normalize = false;
  EXPECT_GT(std::abs(length() - 1.0), 0.1);
}

TEST_F(Embed, ThreadCountChangesNoBit) {
  options.engine.threads = 1;
  const auto one = load().embed(kTexts);
  options.engine.threads = 3;
  EXPECT_EQ(load().embed(kTexts), one);
}

TEST_F(Embed, Errors) {
  harness::expect_error(ErrorKind::usage, "--pooling max", [] { parse_pooling("max"); });
  harness::expect_error(ErrorKind::usage, "text 1 has 0 tokens", [&] { load().embed_ids({{}}); });
  harness::expect_error(ErrorKind::bad_model, "encoder",
                        [&] { Engine::load(folder.path().string(), options.engine); });
  harness::expect_error(ErrorKind::bad_model, "LlamaForCausalLM is no encoder",
                        [&] { Embedder::load(std::string(OCTAVO_SOURCE_DIR) + "/models/demo", options); });
  options.engine.memory_budget = 1000;
  harness::expect_error(ErrorKind::out_of_memory, "--memory-budget", [&] { load(); });
}

}  // namespace
}  // namespace octavo
