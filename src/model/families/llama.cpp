// Llama 2, 3, 3.1, 3.2 (Touvron et al., arXiv 2307.09288; Grattafiori et al., arXiv 2407.21783).
#include "model/family.h"

namespace octavo {

void read_llama(const ConfigObject& config, ModelConfig& c) {
  read_sizes(config, c);
  c.ffn = config.integer("intermediate_size");
  c.norm_eps = static_cast<float>(config.number_or("rms_norm_eps", 1e-6, 0.0, 1.0));
  c.tied_embeddings = config.boolean_or("tie_word_embeddings", false);
  if (config.string_or("hidden_act", "silu") != "silu") config.fail("hidden_act", "\"silu\"");
  read_rope(config, c);
}

namespace {

void read(const ConfigObject& config, ModelConfig& c) {
  read_llama(config, c);
  c.qkv_bias = c.attention_out_bias = config.boolean_or("attention_bias", false);
  c.mlp_bias = config.boolean_or("mlp_bias", false);
}

}  // namespace

constinit const Family kLlama = {
    .architectures = {"LlamaForCausalLM"}, .model_type = "llama", .read_config = read, .names = kLlamaNames};

}  // namespace octavo
