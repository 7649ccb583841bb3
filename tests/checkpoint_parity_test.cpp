// Whole models from the checkpoints of other packages: logits as transformers computes them from the dequantised weights.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "engine/engine.h"
#include "formats/safetensors.h"

namespace octavo {
namespace {

namespace fs = std::filesystem;

const fs::path kGoldens = fs::path(OCTAVO_SOURCE_DIR) / "tests/goldens";

template <class T>
std::vector<T> read(const SafetensorsFile& file, const char* name) {
  const TensorInfo& t = *file.find(name);
  std::vector<T> values(static_cast<size_t>(t.bytes()) / sizeof(T));
  file.read(t, values.data());
  return values;
}

// The unquantised product of the stored values, at every position: in one prefill, token by token, in chunks of 3.
void expect_logits(const fs::path& model, const fs::path& expected, const char* logits_name) {
  const SafetensorsFile golden = SafetensorsFile::open(expected);
  const std::vector<int64_t> stored = read<int64_t>(golden, "input_ids");
  const std::vector<int32_t> ids(stored.begin(), stored.end());
  const std::vector<float> logits = read<float>(golden, logits_name);
  const size_t vocab = logits.size() / ids.size();
  ASSERT_GT(ids.size(), 15u);
  for (const size_t chunk : {ids.size(), size_t{1}, size_t{3}}) {
    EngineOptions o;
    o.quantization = Quantization::none, o.kv_dtype = DType::f32, o.threads = 2;
    o.prefill_chunk = o.logit_rows = 64;
    Engine engine(Transformer::load(model.string(), Quantization::none, Context{}), o);
    for (size_t at = 0; at < ids.size(); at += chunk) {
      const size_t n = std::min(chunk, ids.size() - at);
      const ConstTensor rows = engine.feed(std::span(ids).subspan(at, n),
                                           n == 1 ? Phase::decode : Phase::prefill, static_cast<int64_t>(n));
      for (size_t row = 0; row < n; ++row) {
        double difference = 0, size = 0;
        for (size_t i = 0; i < vocab; ++i) {
          const double b = logits[(at + row) * vocab + i];
          difference = std::max(difference, std::abs(rows.as<float>()[row * vocab + i] - b));
          size = std::max(size, std::abs(b));
        }
        ASSERT_LE(difference, 1e-4 * size) << "chunks of " << chunk << ", position " << at + row;
      }
    }
  }
}

TEST(CheckpointParity, Gguf) {
  expect_logits(kGoldens / "gguf/tiny.gguf", kGoldens / "gguf/expected.safetensors", "logits");
}

TEST(CheckpointParity, CompressedTensors) {
  expect_logits(kGoldens / "compressed_tensors_int8",
                kGoldens / "compressed_tensors_int8/expected.safetensors", "logits_dequantized");
}

}  // namespace
}  // namespace octavo
