// GPT-2 (Radford et al., 2019): layer norms before the sub-layers, learned positions, GELU by tanh. Products are
// stored transposed, as transformers' Conv1D.
#include "model/family.h"

namespace octavo {
namespace {

void read(const ConfigObject& config, ModelConfig& c) {
  read_sizes(config, c,
             {.hidden = "n_embd", .layers = "n_layer", .heads = "n_head", .max_positions = "n_positions"});
  c.ffn = config.integer_or("n_inner", 4 * c.hidden);
  c.norm = NormKind::layer;
  c.norm_eps = static_cast<float>(config.number_or("layer_norm_epsilon", 1e-5, 0.0, 1.0));
  c.mlp = read_gelu(config, "activation_function");
  c.positions = PositionKind::learned;
  c.qkv_bias = c.attention_out_bias = c.mlp_bias = true;
  c.tied_embeddings = config.boolean_or("tie_word_embeddings", true);
  if (!config.boolean_or("scale_attn_weights", true)) config.fail("scale_attn_weights", "true");
  for (const char* key : {"scale_attn_by_inverse_layer_idx", "add_cross_attention"})
    if (config.boolean_or(key, false)) config.fail(key, "false");
}

}  // namespace

constinit const Family kGpt2 = {
    .architectures = {"GPT2LMHeadModel"},
    .model_type = "gpt2",
    .read_config = read,
    .names =
        {
            .prefix = "transformer.",
            .token_embedding = "wte",
            .position_embedding = "wpe",
            .layer = "h.{}.",
            .attention_norm = "ln_1",
            .qkv = {"attn.c_attn"},
            .attention_out = "attn.c_proj",
            .mlp_norm = "ln_2",
            .mlp_in = {"mlp.c_fc"},
            .mlp_out = "mlp.c_proj",
            .final_norm = "ln_f",
            .head = "lm_head",
            .transposed = true,
            .ignored_ends = {".attn.bias", ".attn.masked_bias"},  // the causal mask, in old files
        },
};

}  // namespace octavo
