// How a Llama comes into memory: from a Hugging Face folder, or made of random numbers for a bench.
#include <fmt/format.h>

#include <cmath>

#include "model/llama.h"
#include "octavo/ops.h"
#include "weights/weight_loader.h"

namespace octavo {
namespace {

Storage storage_of(Quantization q) { return q == Quantization::none ? Storage::floats : Storage::int8; }

// Normal numbers are slow to draw by the billion: a bench only needs codes that look like a quantised normal
// row.
uint64_t next_random(uint64_t& state) {  // xorshift64*
  state ^= state >> 12, state ^= state << 25, state ^= state >> 27;
  return state * 0x2545f4914f6cdd1dull;
}

LinearWeight random_linear(int64_t n, int64_t k, Storage storage, uint64_t& state) {
  LinearWeight w;
  w.out_features = n, w.in_features = k, w.storage = storage;
  const float sigma = 0.02f;
  if (storage == Storage::floats) {
    w.dtype = DType::bf16;
    w.elements = Buffer(n * k * 2);
    for (int64_t i = 0; i < n * k; ++i) {
      const float unit =
          static_cast<float>(static_cast<int32_t>(next_random(state) >> 32)) * 0x1p-31f;  // [-1, 1)
      w.elements.as<BF16>()[i] = to_bf16(unit * sigma * 1.7320508f);
    }
    return w;
  }
  w.dtype = DType::i8;
  w.elements = Buffer(n * int8_pitch(k), true);
  w.scales = Buffer(n * 4), w.code_sums = Buffer(n * 4);
  for (int64_t row = 0; row < n; ++row) {
    int8_t* codes = w.elements.as<int8_t>() + row * int8_pitch(k);
    int32_t sum = 0;
    for (int64_t i = 0; i < k; i += 8) {
      const uint64_t bits = next_random(state);
      for (int64_t j = 0; j < std::min<int64_t>(8, k - i); ++j) {
        const auto code = static_cast<int8_t>(static_cast<int8_t>(bits >> (8 * j)) / 2);  // [-64, 63]
        codes[i + j] = code;
        sum += code;
      }
    }
    w.scales.as<float>()[row] = sigma / 36.8f;  // the codes' standard deviation is 36.8
    w.code_sums.as<int32_t>()[row] = sum;
  }
  return w;
}

FloatVector ones(int64_t n) {
  FloatVector v;
  v.size = n, v.values = Buffer(n * 4);
  for (int64_t i = 0; i < n; ++i) v.values.as<float>()[i] = 1.0f;
  return v;
}

}  // namespace

LlamaModel LlamaModel::load(const std::string& folder, Quantization quantization, const Context& ctx,
                            const Progress& progress) {
  LlamaModel m;
  m.config_ = ModelConfig::load(folder);
  m.quantization_ = quantization;
  m.inv_freq_ = rope_inv_freq(m.config_);
  const ModelConfig& c = m.config_;
  const Storage storage = storage_of(quantization);

  WeightLoader loader = WeightLoader::open(folder, ctx);
  if (progress) loader.on_progress(progress);
  m.embedding_ = loader.load_table("model.embed_tokens", c.vocab, c.hidden, storage);
  for (int64_t l = 0; l < c.layers; ++l) {
    const std::string prefix = fmt::format("model.layers.{}.", l), attn = prefix + "self_attn.",
                      mlp = prefix + "mlp.";
    Layer& layer = m.layers_.emplace_back();
    layer.attention_norm = loader.load_vector(prefix + "input_layernorm.weight", c.hidden);
    layer.qkv = loader.load_linear({.parts = {{attn + "q_proj", c.q_width()},
                                              {attn + "k_proj", c.kv_width()},
                                              {attn + "v_proj", c.kv_width()}},
                                    .in_features = c.hidden,
                                    .bias = c.attention_bias},
                                   storage);
    layer.out = loader.load_linear(
        {.parts = {{attn + "o_proj", c.hidden}}, .in_features = c.q_width(), .bias = c.attention_bias},
        storage);
    layer.ffn_norm = loader.load_vector(prefix + "post_attention_layernorm.weight", c.hidden);
    layer.gate_up = loader.load_linear({.parts = {{mlp + "gate_proj", c.ffn}, {mlp + "up_proj", c.ffn}},
                                        .in_features = c.hidden,
                                        .bias = false},
                                       storage);
    layer.down = loader.load_linear(
        {.parts = {{mlp + "down_proj", c.hidden}}, .in_features = c.ffn, .bias = false}, storage);
  }
  m.final_norm_ = loader.load_vector("model.norm.weight", c.hidden);
  if (c.tied_embeddings)
    loader.ignore("lm_head.weight");  // some writers store the tied head a second time
  else
    m.head_ = loader.load_table("lm_head", c.vocab, c.hidden, storage);
  loader.finish();
  return m;
}

LlamaModel LlamaModel::random(const ModelConfig& config, Quantization quantization, uint64_t seed) {
  LlamaModel m;
  m.config_ = config;
  m.quantization_ = quantization;
  m.inv_freq_ = rope_inv_freq(config);
  const ModelConfig& c = m.config_;
  const Storage storage = storage_of(quantization);
  uint64_t state = seed | 1;
  m.embedding_ = random_linear(c.vocab, c.hidden, storage, state);
  for (int64_t l = 0; l < c.layers; ++l) {
    Layer& layer = m.layers_.emplace_back();
    layer.attention_norm = ones(c.hidden), layer.ffn_norm = ones(c.hidden);
    layer.qkv = random_linear(c.q_width() + 2 * c.kv_width(), c.hidden, storage, state);
    layer.out = random_linear(c.hidden, c.q_width(), storage, state);
    layer.gate_up = random_linear(2 * c.ffn, c.hidden, storage, state);
    layer.down = random_linear(c.hidden, c.ffn, storage, state);
  }
  m.final_norm_ = ones(c.hidden);
  if (!c.tied_embeddings) m.head_ = random_linear(c.vocab, c.hidden, storage, state);
  return m;
}

}  // namespace octavo
