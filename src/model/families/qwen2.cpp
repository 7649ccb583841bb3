// Qwen2 and Qwen2.5 (Yang et al., arXiv 2407.10671): a Llama with biases on q, k and v; windows in upper layers,
// if any.
#include <fmt/format.h>

#include "model/family.h"

namespace octavo {

void read_qwen_windows(const ConfigObject& config, ModelConfig& c) {
  if (!config.boolean_or("use_sliding_window", false) || !config.has("sliding_window")) return;
  const int64_t window = config.integer("sliding_window"),
                first = config.integer_or("max_window_layers", 28, 0);  // layers below it see all keys
  const std::vector<std::string> types = config.strings("layer_types");
  if (!types.empty() && static_cast<int64_t>(types.size()) != c.layers)
    config.fail("layer_types", fmt::format("{} names, one for each layer", c.layers));
  for (int64_t l = 0; l < c.layers; ++l) {
    const std::string type =
        types.empty() ? (l >= first ? "sliding_attention" : "full_attention") : types[static_cast<size_t>(l)];
    if (type != "sliding_attention" && type != "full_attention")
      config.fail("layer_types", "full_attention or sliding_attention for every layer");
    c.windows.push_back(type == "sliding_attention" ? window : 0);
  }
}

namespace {

void read(const ConfigObject& config, ModelConfig& c) {
  read_llama(config, c);
  read_qwen_windows(config, c);
  c.qkv_bias = true;
}

}  // namespace

constinit const Family kQwen2 = {
    .architectures = {"Qwen2ForCausalLM"}, .model_type = "qwen2", .read_config = read, .names = kLlamaNames};

}  // namespace octavo
