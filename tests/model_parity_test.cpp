// A random-weight Llama made with transformers (tools/make_goldens.py): logits at every position, in one prefill, token by
// token through the cache, and in chunks of 3; from one file and from shards.
#include <gtest/gtest.h>

#include "harness/isa_test.h"
#include "model_parity.h"

namespace octavo {
namespace {

class ModelParity : public harness::IsaTest {
 protected:
  Expected read() { return read_expected(kGoldens + "llama_tiny/expected.safetensors"); }
  std::vector<float> logits(const std::string& folder, const Expected& e, int64_t chunk,
                            Quantization quantization) {
    EngineOptions o;
    o.quantization = quantization, o.kv_dtype = DType::f32, o.isa = GetParam(), o.threads = 2;
    return logits_in_chunks(kGoldens + folder, e.ids(), chunk, o);
  }
};

TEST_P(ModelParity, LogitsAgreeWithTransformersAtEveryPosition) {
  const Expected e = read();
  ASSERT_GT(e.ids().size(), 20u);
  const size_t vocab = e.logits().size() / e.ids().size();
  for (const char* folder : {"llama_tiny", "llama_tiny_sharded"})
    for (int64_t chunk : {int64_t{64}, int64_t{1}, int64_t{3}}) {
      const std::vector<float> got = logits(folder, e, chunk, Quantization::none);
      ASSERT_EQ(got.size(), e.logits().size());
      EXPECT_LE(worst_relative(got, e.logits(), vocab), 1e-4) << folder << ", chunks of " << chunk;
    }
}

// The INT8 modes stay near: a wrong scale or row order would be far off.
TEST_P(ModelParity, Int8LogitsStayNear) {
  const Expected e = read();
  const size_t vocab = e.logits().size() / e.ids().size();
  for (Quantization q : {Quantization::w8a16, Quantization::w8a8, Quantization::auto_})
    EXPECT_LE(worst_relative(logits("llama_tiny", e, 64, q), e.logits(), vocab), 0.1) << name_of(q);
}

// Design 3: the whole W8A8 mode does not depend on how the prompt is cut (prompt tokens use the prefill kernel).
TEST_P(ModelParity, W8A8HasTheSameBitsForEveryChunking) {
  const Expected e = read();
  const std::vector<float> whole = logits("llama_tiny", e, 64, Quantization::w8a8);
  for (int64_t chunk : {2, 3, 7, 16})
    EXPECT_EQ(logits("llama_tiny", e, chunk, Quantization::w8a8), whole) << chunk;
}

// The folder in the compressed-tensors layout holds the same model as INT8.
TEST_P(ModelParity, CompressedTensorsFolderLoads) {
  const Expected e = read();
  const size_t vocab = e.logits().size() / e.ids().size();
  const auto from_int8 = logits("compressed_tensors_int8", e, 64, Quantization::w8a16);
  EXPECT_LE(worst_relative(from_int8, e.logits(), vocab), 0.1);
}

OCTAVO_EVERY_ISA(ModelParity);

}  // namespace
}  // namespace octavo
