#include "model/model_config.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <filesystem>

#include "formats/gguf_model.h"
#include "formats/json_file.h"
#include "model/family.h"

namespace octavo {
namespace {

const Family& read_family(const ConfigObject& config, std::string& architecture) {
  const std::vector<std::string> names = config.strings("architectures");
  const std::string type = config.string_or("model_type", "");
  architecture = names.empty() ? type : names.front();
  if (const Family* family = find_family(architecture)) return *family;
  for (const Family* family : families())
    if (names.empty() && family->model_type == type) {
      architecture = family->architectures.front();
      return *family;
    }
  if (architecture.empty())
    config.fail("architectures", fmt::format("the name of one; octavo knows {}",
                                             fmt::join(ModelConfig::known_architectures(), ", ")));
  throw Error(ErrorKind::bad_model,
              fmt::format("{}: architecture \"{}\" is unknown to octavo; known are: {}", config.name(),
                          architecture, fmt::join(ModelConfig::known_architectures(), ", ")));
}

}  // namespace

const std::vector<std::string>& ModelConfig::known_architectures() {
  static const std::vector<std::string> known = [] {
    std::vector<std::string> names;
    for (const Family* family : families())
      for (const std::string_view name : family->architectures)
        if (!name.empty()) names.emplace_back(name);
    return names;
  }();
  return known;
}

ModelConfig ModelConfig::load(const std::string& folder) { return of(read_model_config(folder)); }

ModelConfig ModelConfig::of(const ConfigObject& config) {
  ModelConfig c;
  const Family& family = read_family(config, c.architecture);
  c.dtype = config.string_or("dtype", config.string_or("torch_dtype", "float32"));
  family.read_config(config, c);
  return c;
}

DType ModelConfig::float_dtype() const {
  if (dtype == "bfloat16") return DType::bf16;
  if (dtype == "float16") return DType::f16;
  return DType::f32;
}

int64_t ModelConfig::parameters() const {
  const int64_t norm_width = norm == NormKind::rms ? hidden : 2 * hidden;  // a layer norm has a bias
  const int64_t attention = hidden * qkv_width() + q_width() * hidden + (qkv_bias ? qkv_width() : 0) +
                            (attention_out_bias ? hidden : 0) + (qk_norm ? 2 * head_dim : 0);
  const int64_t mlp_weights =
      hidden * mlp_in_width() + ffn * hidden + (mlp_bias ? mlp_in_width() + hidden : 0);
  const int64_t learned = positions == PositionKind::learned ? (max_positions + token_types) * hidden : 0;
  const int64_t head = tied_embeddings || encoder ? 0 : vocab * hidden;
  return vocab * hidden + learned + layers * (attention + mlp_weights + 2 * norm_width) + norm_width + head;
}

GenerationDefaults GenerationDefaults::load(const std::string& folder) {
  const auto path = std::filesystem::path(folder) / "generation_config.json";
  return std::filesystem::exists(path) ? of(ConfigObject::read(path)) : GenerationDefaults();
}

GenerationDefaults GenerationDefaults::of(const ConfigObject& config) {
  GenerationDefaults d;
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

}  // namespace octavo
