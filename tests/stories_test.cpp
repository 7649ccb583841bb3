// Real weights: karpathy's stories260K from ../shared/data (skipped by name where that folder is absent).
#include <gtest/gtest.h>

#include <filesystem>

#include "engine/evaluate.h"
#include "formats/json_file.h"
#include "harness/isa_test.h"

namespace octavo {
namespace {

const std::string kStories = std::string(OCTAVO_SOURCE_DIR) + "/../shared/data/stories260K/";

class Stories : public harness::IsaTest {
 protected:
  void SetUp() override {
    IsaTest::SetUp();
    if (!IsSkipped() && !std::filesystem::exists(kStories)) GTEST_SKIP() << kStories << " is not here";
  }
  EngineOptions options(Quantization q, std::optional<DType> kv = {}) {
    EngineOptions o;
    o.quantization = q, o.kv_dtype = kv, o.isa = GetParam(), o.threads = 2, o.prefill_chunk = 64,
    o.logit_rows = 64;
    return o;
  }
  static std::string expected_text() {
    std::string text = read_text_file(kStories + "expected_greedy.txt", 1 << 20);
    while (!text.empty() && text.back() == '\n') text.pop_back();
    return text;
  }
};

TEST_P(Stories, GreedyTextIsTheOneThatLlama2cPins) {
  Engine engine = Engine::load(kStories + "hf", options(Quantization::none));
  GenerateOptions g;
  g.max_tokens = 200, g.sampling.temperature = 0;
  std::string streamed;
  const Generation result = engine.generate(engine.encode(""), g, [&](std::string_view piece) {
    streamed += piece;
    return true;
  });
  EXPECT_EQ(result.text, expected_text());
  EXPECT_EQ(streamed, result.text);
}

struct Mode {
  Quantization quantization;
  DType kv;
  double most_kl;
};

TEST_P(Stories, Int8CostsLittle) {
  Engine reference = Engine::load(kStories + "hf", options(Quantization::none, DType::f32));
  const std::vector<int32_t> ids =
      reference.tokenizer().encode(expected_text(), {.add_special_tokens = false, .parse_special = false});
  for (const Mode& m :
       {Mode{Quantization::w8a16, DType::f16, 0.0015}, Mode{Quantization::w8a8, DType::f16, 0.003},
        Mode{Quantization::w8a8, DType::i8, 0.004}, Mode{Quantization::auto_, DType::f16, 0.003}}) {
    Engine candidate = Engine::load(kStories + "hf", options(m.quantization, m.kv));
    const Evaluation r = evaluate(reference, candidate, ids, reference.encode("").front(), {});
    SCOPED_TRACE(std::string(name_of(m.quantization)) + ", cache " + name_of(m.kv));
    EXPECT_GE(r.top1_agreement, 0.97);
    EXPECT_LE(r.mean_kl, m.most_kl);
    EXPECT_GT(r.mean_kl, 0);
  }
}

OCTAVO_EVERY_ISA(Stories);

}  // namespace
}  // namespace octavo
