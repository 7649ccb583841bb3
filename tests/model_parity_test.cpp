// A random-weight Llama made with transformers (tools/make_goldens.py): logits at every position, in one prefill, token by
// token through the cache, and in chunks of 3; from one file and from shards.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "engine/engine.h"
#include "formats/safetensors.h"
#include "harness/isa_test.h"

namespace octavo {
namespace {

const std::string kGoldens = std::string(OCTAVO_SOURCE_DIR) + "/tests/goldens/";

struct Expected {
  std::vector<int32_t> ids;
  std::vector<float> logits;  // [ids, vocab]
};

Expected read_expected() {
  const SafetensorsFile file = SafetensorsFile::open(kGoldens + "llama_tiny/expected.safetensors");
  Expected e;
  for (const TensorInfo& t : file.tensors()) {
    std::vector<uint8_t> bytes(static_cast<size_t>(t.bytes()));
    file.read(t, 0, bytes.data(), t.bytes());
    if (t.name == "input_ids")
      for (size_t i = 0; i < bytes.size() / 8; ++i) {
        int64_t id;
        std::memcpy(&id, &bytes[8 * i], 8);
        e.ids.push_back(static_cast<int32_t>(id));
      }
    if (t.name == "logits") {
      e.logits.resize(bytes.size() / 4);
      std::memcpy(e.logits.data(), bytes.data(), bytes.size());
    }
  }
  return e;
}

class ModelParity : public harness::IsaTest {
 protected:
  // Logits of every position, `chunk` tokens at a time.
  std::vector<float> logits(const std::string& folder, const Expected& e, int64_t chunk,
                            Quantization quantization) {
    EngineOptions o;
    o.quantization = quantization, o.kv_dtype = DType::f32, o.isa = GetParam(), o.threads = 2;
    o.prefill_chunk = 64, o.logit_rows = 64;
    Context load_ctx = ctx;
    Engine engine(LlamaModel::load(kGoldens + folder, quantization, load_ctx), o);
    std::vector<float> all;
    for (size_t at = 0; at < e.ids.size(); at += static_cast<size_t>(chunk)) {
      const auto n = std::min(static_cast<size_t>(chunk), e.ids.size() - at);
      const ConstTensor rows = engine.feed(std::span(e.ids).subspan(at, n),
                                           n == 1 ? Phase::decode : Phase::prefill, static_cast<int64_t>(n));
      all.insert(all.end(), rows.as<float>(), rows.as<float>() + rows.numel());
    }
    return all;
  }
};

double worst_relative(const std::vector<float>& a, const std::vector<float>& b, size_t vocab) {
  double worst = 0;
  for (size_t row = 0; row < b.size() / vocab; ++row) {
    double difference = 0, size = 0;
    for (size_t i = row * vocab; i < (row + 1) * vocab; ++i) {
      difference = std::max<double>(difference, std::abs(static_cast<double>(a[i]) - b[i]));
      size = std::max<double>(size, std::abs(b[i]));
    }
    worst = std::max(worst, difference / size);
  }
  return worst;
}

TEST_P(ModelParity, LogitsAgreeWithTransformersAtEveryPosition) {
  const Expected e = read_expected();
  ASSERT_GT(e.ids.size(), 20u);
  const size_t vocab = e.logits.size() / e.ids.size();
  for (const char* folder : {"llama_tiny", "llama_tiny_sharded"})
    for (int64_t chunk : {int64_t{64}, int64_t{1}, int64_t{3}}) {
      const std::vector<float> got = logits(folder, e, chunk, Quantization::none);
      ASSERT_EQ(got.size(), e.logits.size());
      EXPECT_LE(worst_relative(got, e.logits, vocab), 1e-4) << folder << ", chunks of " << chunk;
    }
}

// The INT8 modes stay near: a wrong scale or row order would be far off.
TEST_P(ModelParity, Int8LogitsStayNear) {
  const Expected e = read_expected();
  const size_t vocab = e.logits.size() / e.ids.size();
  for (Quantization q : {Quantization::w8a16, Quantization::w8a8, Quantization::auto_})
    EXPECT_LE(worst_relative(logits("llama_tiny", e, 64, q), e.logits, vocab), 0.1) << name_of(q);
}

// Design 3: the whole W8A8 mode does not depend on how the prompt is cut (prompt tokens use the prefill kernel).
TEST_P(ModelParity, W8A8HasTheSameBitsForEveryChunking) {
  const Expected e = read_expected();
  const std::vector<float> whole = logits("llama_tiny", e, 64, Quantization::w8a8);
  for (int64_t chunk : {2, 3, 7, 16})
    EXPECT_EQ(logits("llama_tiny", e, chunk, Quantization::w8a8), whole) << chunk;
}

// The folder in the compressed-tensors layout holds the same model as INT8.
TEST_P(ModelParity, CompressedTensorsFolderLoads) {
  const Expected e = read_expected();
  const size_t vocab = e.logits.size() / e.ids.size();
  const auto from_int8 = logits("compressed_tensors_int8", e, 64, Quantization::w8a16);
  EXPECT_LE(worst_relative(from_int8, e.logits, vocab), 0.1);
}

OCTAVO_EVERY_ISA(ModelParity);

}  // namespace
}  // namespace octavo
