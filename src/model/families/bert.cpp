// BERT (Devlin et al., arXiv 1810.04805) and the sentence encoders made of it: attention in both directions, norms
// after the sub-layers, learned positions and token types.
#include "model/family.h"

namespace octavo {
namespace {

void read(const ConfigObject& config, ModelConfig& c) {
  read_sizes(config, c);
  c.ffn = config.integer("intermediate_size");
  c.token_types = config.integer_or("type_vocab_size", 2);
  c.encoder = true;
  c.norm = NormKind::layer;
  c.norm_eps = static_cast<float>(config.number_or("layer_norm_eps", 1e-12, 0.0, 1.0));
  c.residual = ResidualKind::post_norm;
  c.mlp = read_gelu(config, "hidden_act");
  c.positions = PositionKind::learned;
  c.qkv_bias = c.attention_out_bias = c.mlp_bias = true;
  if (config.string_or("position_embedding_type", "absolute") != "absolute")
    config.fail("position_embedding_type", "\"absolute\"");
  for (const char* key : {"is_decoder", "add_cross_attention"})
    if (config.boolean_or(key, false)) config.fail(key, "false");
}

}  // namespace

constinit const Family kBert = {
    .architectures = {"BertModel", "BertForMaskedLM", "BertForPreTraining"},
    .model_type = "bert",
    .read_config = read,
    .names =
        {
            .prefix = "bert.",
            .token_embedding = "embeddings.word_embeddings",
            .position_embedding = "embeddings.position_embeddings",
            .token_type_embedding = "embeddings.token_type_embeddings",
            .embedding_norm = "embeddings.LayerNorm",
            .layer = "encoder.layer.{}.",
            .attention_norm = "attention.output.LayerNorm",
            .qkv = {"attention.self.query", "attention.self.key", "attention.self.value"},
            .attention_out = "attention.output.dense",
            .mlp_norm = "output.LayerNorm",
            .mlp_in = {"intermediate.dense"},
            .mlp_out = "output.dense",
            .ignored_ends = {"embeddings.position_ids"},
            .ignored_starts = {"cls.", "bert.pooler.", "pooler."},  // heads of the training
        },
};

}  // namespace octavo
