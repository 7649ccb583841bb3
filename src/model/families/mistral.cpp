// Mistral (Jiang et al., arXiv 2310.06825): a Llama whose queries see a sliding window of keys.
#include <algorithm>

#include "model/family.h"

namespace octavo {

void read_window(const ConfigObject& config, ModelConfig& c, int64_t when_absent) {
  // NOTE: null says that there is no window; an absent key leaves the default of the family.
  const std::vector<std::string> keys = config.keys();
  const bool absent = std::ranges::find(keys, "sliding_window") == keys.end();
  const int64_t window = absent ? when_absent : config.integer_or("sliding_window", 0);
  if (window > 0) c.windows.assign(static_cast<size_t>(c.layers), window);
}

namespace {

void read(const ConfigObject& config, ModelConfig& c) {
  read_llama(config, c);
  read_window(config, c, 4096);
}

}  // namespace

constinit const Family kMistral = {.architectures = {"MistralForCausalLM"},
                                   .model_type = "mistral",
                                   .read_config = read,
                                   .names = kLlamaNames};

}  // namespace octavo
