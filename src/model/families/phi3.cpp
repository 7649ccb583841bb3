// Phi-3 and Phi-4-mini (Abdin et al., arXiv 2404.14219): a Llama with one matrix for q, k, v and one for gate and
// up; a sliding window; longrope in the versions with a long context.
#include "model/family.h"

namespace octavo {
namespace {

void read(const ConfigObject& config, ModelConfig& c) {
  read_llama(config, c);
  read_window(config, c, 0);
}

constexpr TensorNames names() {
  TensorNames n = kLlamaNames;
  n.qkv = {"self_attn.qkv_proj"};
  n.mlp_in = {"mlp.gate_up_proj"};
  return n;
}

}  // namespace

constinit const Family kPhi3 = {
    .architectures = {"Phi3ForCausalLM"}, .model_type = "phi3", .read_config = read, .names = names()};

}  // namespace octavo
