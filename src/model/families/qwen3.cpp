// Qwen3 (Yang et al., arXiv 2505.09388): a Llama whose query and key heads pass an RMS norm before the rotation.
#include "model/family.h"

namespace octavo {
namespace {

void read(const ConfigObject& config, ModelConfig& c) {
  config.integer("head_dim");  // never hidden_size / num_attention_heads
  read_llama(config, c);
  read_qwen_windows(config, c);
  c.qk_norm = true;
  c.qkv_bias = c.attention_out_bias = config.boolean_or("attention_bias", false);
}

constexpr TensorNames names() {
  TensorNames n = kLlamaNames;
  n.q_norm = "self_attn.q_norm", n.k_norm = "self_attn.k_norm";
  return n;
}

}  // namespace

constinit const Family kQwen3 = {
    .architectures = {"Qwen3ForCausalLM"}, .model_type = "qwen3", .read_config = read, .names = names()};

}  // namespace octavo
