#include "model/model_config.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <numbers>

#include "formats/gguf_model.h"
#include "formats/json_file.h"

namespace octavo {
namespace {

RopeScaling read_rope_scaling(const ConfigObject& rope) {
  RopeScaling scaling;
  const std::string type = rope.string_or("rope_type", rope.string_or("type", "default"));
  if (type == "default") return scaling;
  if (type == "linear") {
    scaling.kind = RopeScaling::Kind::linear;
    scaling.factor = rope.number("factor", 1e-3, 1e6);
  } else if (type == "llama3") {
    scaling.kind = RopeScaling::Kind::llama3;
    scaling.factor = rope.number("factor", 1e-3, 1e6);
    scaling.low_freq_factor = rope.number("low_freq_factor", 1e-6, 1e6);
    scaling.high_freq_factor = rope.number("high_freq_factor", 1e-6, 1e6);
    scaling.original_max_positions = rope.integer("original_max_position_embeddings");
    if (scaling.high_freq_factor <= scaling.low_freq_factor)
      rope.fail("high_freq_factor", "a number above low_freq_factor");
  } else {
    rope.fail("rope_type", "one of: default, linear, llama3");
  }
  return scaling;
}

// rope_theta and scaling stand at the top level (transformers 4) or in rope_parameters (transformers 5).
void read_rope(const ConfigObject& config, ModelConfig& c) {
  if (config.has("rope_parameters")) {
    const ConfigObject rope = config.object("rope_parameters");
    c.rope_theta = rope.number_or("rope_theta", 10000.0, 1.0, 1e12);
    c.rope_scaling = read_rope_scaling(rope);
    return;
  }
  c.rope_theta = config.number_or("rope_theta", 10000.0, 1.0, 1e12);
  if (config.has("rope_scaling")) c.rope_scaling = read_rope_scaling(config.object("rope_scaling"));
}

std::string read_architecture(const ConfigObject& config) {
  const std::vector<std::string> names = config.strings("architectures");
  const std::string name = names.empty() ? config.string_or("model_type", "") : names.front();
  const auto& known = ModelConfig::known_architectures();
  if (names.empty() && name == "llama") return "LlamaForCausalLM";
  if (std::find(known.begin(), known.end(), name) == known.end())
    throw Error(ErrorKind::bad_model,
                fmt::format("{}: architecture \"{}\" is unknown to octavo; known are: {}", config.name(),
                            name, fmt::join(known, ", ")));
  return name;
}

}  // namespace

const std::vector<std::string>& ModelConfig::known_architectures() {
  static const std::vector<std::string> known = {"LlamaForCausalLM"};
  return known;
}

ModelConfig ModelConfig::load(const std::string& folder) {
  const ConfigObject config = read_model_config(folder);
  ModelConfig c;
  c.architecture = read_architecture(config);
  c.dtype = config.string_or("dtype", config.string_or("torch_dtype", "float32"));
  c.hidden = config.integer("hidden_size");
  c.ffn = config.integer("intermediate_size");
  c.layers = config.integer("num_hidden_layers", 1, 10000);
  c.heads = config.integer("num_attention_heads");
  c.kv_heads = config.integer_or("num_key_value_heads", c.heads);
  if (c.heads % c.kv_heads != 0)
    config.fail("num_key_value_heads", fmt::format("a divisor of num_attention_heads = {}", c.heads));
  if (!config.has("head_dim") && c.hidden % c.heads != 0)
    config.fail("num_attention_heads",
                fmt::format("a divisor of hidden_size = {} (there is no head_dim)", c.hidden));
  c.head_dim = config.integer_or("head_dim", c.hidden / c.heads);
  if (c.head_dim % 2 != 0) config.fail("head_dim", "an even number (rotary embedding pairs elements)");
  c.vocab = config.integer("vocab_size");
  c.max_positions = config.integer_or("max_position_embeddings", 2048);
  c.rms_eps = static_cast<float>(config.number_or("rms_norm_eps", 1e-6, 0.0, 1.0));
  read_rope(config, c);
  c.tied_embeddings = config.boolean_or("tie_word_embeddings", false);
  c.attention_bias = config.boolean_or("attention_bias", false);
  if (config.boolean_or("mlp_bias", false))
    config.fail("mlp_bias", "false (biases in the MLP are not supported)");
  if (const std::string act = config.string_or("hidden_act", "silu"); act != "silu")
    config.fail("hidden_act", "\"silu\"");
  if (config.has("bos_token_id")) c.bos_id = static_cast<int32_t>(config.integers("bos_token_id").at(0));
  for (int64_t id : config.integers("eos_token_id")) c.eos_ids.push_back(static_cast<int32_t>(id));
  for (int64_t id : c.eos_ids)
    if (id >= c.vocab) config.fail("eos_token_id", fmt::format("ids below vocab_size = {}", c.vocab));
  return c;
}

int64_t ModelConfig::parameters() const {
  const int64_t attention = hidden * (q_width() + 2 * kv_width()) + q_width() * hidden;
  const int64_t layer = attention + 3 * hidden * ffn + 2 * hidden;
  return layers * layer + hidden + vocab * hidden * (tied_embeddings ? 1 : 2);
}

GenerationDefaults GenerationDefaults::load(const std::string& folder) {
  const auto path = std::filesystem::path(folder) / "generation_config.json";
  GenerationDefaults d;
  if (!std::filesystem::exists(path)) return d;
  const ConfigObject config = ConfigObject::read(path);
  for (int64_t id : config.integers("eos_token_id")) d.eos_ids.push_back(static_cast<int32_t>(id));
  if (config.has("do_sample") && !config.boolean("do_sample")) {
    d.temperature = 0.0f;
    return d;
  }
  const auto read = [&](const char* key, double low, double high, std::optional<float>& to) {
    if (config.has(key)) to = static_cast<float>(config.number(key, low, high));
  };
  read("temperature", 0.0, 1e3, d.temperature);
  read("top_p", 0.0, 1.0, d.top_p);
  read("min_p", 0.0, 1.0, d.min_p);
  read("repetition_penalty", 1e-3, 1e3, d.repetition_penalty);
  if (config.has("top_k")) d.top_k = static_cast<int>(config.integer("top_k", 0));
  return d;
}

std::vector<float> rope_inv_freq(const ModelConfig& config) {
  const RopeScaling& s = config.rope_scaling;
  std::vector<float> inv_freq(static_cast<size_t>(config.head_dim / 2));
  for (size_t i = 0; i < inv_freq.size(); ++i) {
    double f = 1.0 / std::pow(config.rope_theta,
                              2.0 * static_cast<double>(i) / static_cast<double>(config.head_dim));
    if (s.kind == RopeScaling::Kind::linear) f /= s.factor;
    if (s.kind == RopeScaling::Kind::llama3) {
      // Long wavelengths are stretched by `factor`, short ones kept, those between interpolated (Llama 3.1).
      const double wavelength = 2 * std::numbers::pi / f,
                   span = static_cast<double>(s.original_max_positions);
      const double smooth =
          (span / wavelength - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor);
      const double keep = std::clamp(smooth, 0.0, 1.0);
      f = (1 - keep) * f / s.factor + keep * f;
    }
    inv_freq[i] = static_cast<float>(f);
  }
  return inv_freq;
}

}  // namespace octavo
