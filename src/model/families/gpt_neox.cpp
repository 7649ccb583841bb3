// GPT-NeoX and Pythia (Black et al., arXiv 2204.06745; Biderman et al., arXiv 2304.01373): attention and MLP beside
// each other, a rotary embedding of a part of the head, q, k and v of a head next to each other.
#include "model/family.h"

namespace octavo {
namespace {

void read(const ConfigObject& config, ModelConfig& c) {
  read_sizes(config, c);
  c.ffn = config.integer("intermediate_size");
  c.norm = NormKind::layer;
  c.norm_eps = static_cast<float>(config.number_or("layer_norm_eps", 1e-5, 0.0, 1.0));
  c.residual =
      config.boolean_or("use_parallel_residual", true) ? ResidualKind::parallel : ResidualKind::pre_norm;
  c.mlp = read_gelu(config, "hidden_act");
  c.qkv_layout = QkvLayout::per_head;
  if (c.kv_heads != c.heads) config.fail("num_key_value_heads", "as many as num_attention_heads, or absent");
  c.qkv_bias = c.attention_out_bias = config.boolean_or("attention_bias", true);
  c.mlp_bias = true;
  c.tied_embeddings = config.boolean_or("tie_word_embeddings", false);
  c.rope_theta = config.number_or("rotary_emb_base", 10000.0, 1.0, 1e12);
  c.rotary_fraction = config.number_or("rotary_pct", 0.25, 0.0, 1.0);
  read_rope(config, c);
}

}  // namespace

constinit const Family kGptNeoX = {
    .architectures = {"GPTNeoXForCausalLM"},
    .model_type = "gpt_neox",
    .read_config = read,
    .names =
        {
            .prefix = "gpt_neox.",
            .token_embedding = "embed_in",
            .layer = "layers.{}.",
            .attention_norm = "input_layernorm",
            .qkv = {"attention.query_key_value"},
            .attention_out = "attention.dense",
            .mlp_norm = "post_attention_layernorm",
            .mlp_in = {"mlp.dense_h_to_4h"},
            .mlp_out = "mlp.dense_4h_to_h",
            .final_norm = "final_layer_norm",
            .head = "embed_out",
            .ignored_ends = {".attention.bias", ".attention.masked_bias"},  // the causal mask, in old files
        },
};

}  // namespace octavo
