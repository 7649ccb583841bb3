// What transformers computed for a golden model, and how far octavo is from it.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "formats/safetensors.h"

namespace octavo {

inline const std::string kGoldens = std::string(OCTAVO_SOURCE_DIR) + "/tests/goldens/";

struct Expected {
  std::map<std::string, std::vector<int32_t>> integers;  // stored as int64
  std::map<std::string, std::vector<float>> floats;

  const std::vector<int32_t>& ids() const { return integers.at("input_ids"); }
  const std::vector<float>& logits() const { return floats.at("logits"); }  // [ids, vocab]
};

inline Expected read_expected(const std::string& path) {
  const SafetensorsFile file = SafetensorsFile::open(path);
  Expected e;
  for (const TensorInfo& t : file.tensors()) {
    std::vector<uint8_t> bytes(static_cast<size_t>(t.bytes()));
    file.read(t, 0, bytes.data(), t.bytes());
    if (t.dtype == DType::f32) {
      e.floats[t.name].resize(bytes.size() / 4);
      std::memcpy(e.floats[t.name].data(), bytes.data(), bytes.size());
    } else {
      for (size_t i = 0; i < bytes.size() / 8; ++i) {
        int64_t id;
        std::memcpy(&id, &bytes[8 * i], 8);
        e.integers[t.name].push_back(static_cast<int32_t>(id));
      }
    }
  }
  return e;
}

// The largest over rows of max|a - b| / max|b|.
inline double worst_relative(const std::vector<float>& a, const std::vector<float>& b, size_t width) {
  if (a.size() != b.size() || b.empty()) return INFINITY;
  double worst = 0;
  for (size_t row = 0; row < b.size() / width; ++row) {
    double difference = 0, size = 0;
    for (size_t i = row * width; i < (row + 1) * width; ++i) {
      difference = std::max<double>(difference, std::abs(static_cast<double>(a[i]) - b[i]));
      size = std::max<double>(size, std::abs(b[i]));
      if (std::isnan(a[i])) return INFINITY;
    }
    worst = std::max(worst, difference / size);
  }
  return worst;
}

// Logits of every position, `chunk` tokens at a time; a chunk of 1 is a generated token.
inline std::vector<float> logits_in_chunks(const std::string& folder, std::span<const int32_t> ids,
                                           int64_t chunk, EngineOptions options) {
  options.prefill_chunk = options.logit_rows = 64;
  ThreadPool pool(2);
  Context ctx;
  ctx.isa = options.isa, ctx.pool = &pool;
  Engine engine(Transformer::load(folder, options.quantization, ctx), options);
  std::vector<float> all;
  for (size_t at = 0; at < ids.size(); at += static_cast<size_t>(chunk)) {
    const auto n = std::min(static_cast<size_t>(chunk), ids.size() - at);
    const ConstTensor rows =
        engine.feed(ids.subspan(at, n), n == 1 ? Phase::decode : Phase::prefill, static_cast<int64_t>(n));
    all.insert(all.end(), rows.as<float>(), rows.as<float>() + rows.numel());
  }
  return all;
}

}  // namespace octavo
