// The built-in model: greedy text pinned in git, on every instruction set; INT8 stays near the unquantised model.
#include <gtest/gtest.h>

#include <filesystem>

#include "engine/evaluate.h"
#include "formats/json_file.h"
#include "harness/isa_test.h"

namespace octavo {
namespace {

const std::string kDemo = std::string(OCTAVO_SOURCE_DIR) + "/models/demo";
const std::string kGolden = std::string(OCTAVO_SOURCE_DIR) + "/tests/goldens/demo_greedy.txt";

class DemoModel : public harness::IsaTest {
 protected:
  EngineOptions options(Quantization q, std::optional<DType> kv = {}) {
    EngineOptions o;
    o.quantization = q, o.kv_dtype = kv, o.isa = GetParam(), o.threads = 2, o.context = 512;
    o.prefill_chunk = 64, o.logit_rows = 64;
    return o;
  }
};

TEST_P(DemoModel, UnquantisedGreedyTextIsTheGolden) {
  Engine engine = Engine::load(kDemo, options(Quantization::none));
  GenerateOptions g;
  g.max_tokens = GetParam() == Isa::reference ? 24 : 120;  // the reference is slow; it covers the beginning
  g.sampling.temperature = 0;
  const std::string golden = read_text_file(kGolden, 1 << 20);
  const std::string text = engine.generate(engine.encode("Once upon a time"), g).text;
  EXPECT_GT(text.size(), 40u);
  EXPECT_EQ(text, golden.substr(0, text.size()));
}

TEST_P(DemoModel, Int8CostsLittleOnHeldOutText) {
  if (GetParam() == Isa::reference)
    return;  // the op tests hold the reference; a whole evaluation on it takes minutes
  Engine reference = Engine::load(kDemo, options(Quantization::none, DType::f32));
  const std::string text = read_text_file(kDemo + "/heldout.txt", 1 << 20);
  const std::vector<int32_t> ids =
      reference.tokenizer().encode(text, {.add_special_tokens = false, .parse_special = false});
  for (DType kv : {DType::f16, DType::i8}) {
    Engine candidate = Engine::load(kDemo, options(Quantization::w8a8, kv));
    const Evaluation r = evaluate(reference, candidate, ids, reference.encode("").front(),
                                  {.window = 256, .max_tokens = 1000});
    // Prose of a 7 M model is uncertain: near-ties make 4 of 100 first choices differ (94.8 to 96.6 % were seen).
    EXPECT_GE(r.top1_agreement, 0.94) << name_of(kv);
    EXPECT_LE(r.mean_kl, 0.01) << name_of(kv);
    EXPECT_LE(r.perplexity, 1.01 * r.perplexity_reference) << name_of(kv);
  }
}

// Prompt in one go or in pieces, generated tokens one by one: W8A8 has the same bits.
TEST_P(DemoModel, W8A8LogitsDoNotDependOnThePromptsChunks) {
  if (GetParam() == Isa::reference) return;
  const std::string text = read_text_file(kDemo + "/heldout.txt", 1 << 20).substr(0, 600);
  std::vector<float> first;
  for (int64_t chunk : {64, 17, 1}) {
    EngineOptions o = options(Quantization::w8a8, DType::i8);
    o.prefill_chunk = chunk, o.logit_rows = 1, o.threads = chunk == 17 ? 3 : 1;
    Engine engine = Engine::load(kDemo, o);
    const ConstTensor logits = engine.feed(engine.encode(text), Phase::prefill, 1);
    const std::vector<float> row(logits.as<float>(), logits.as<float>() + logits.numel());
    if (first.empty()) first = row;
    EXPECT_EQ(row, first) << "chunks of " << chunk;
  }
}

OCTAVO_EVERY_ISA(DemoModel);

}  // namespace
}  // namespace octavo
