// A model family is a choice of blocks (ModelConfig) and a table of tensor names. One file in families/ makes
// one: it reads the family's config.json keys and names its tensors. Adding a family: that file, and its line
// in family.cpp.
#pragma once
#include <array>
#include <span>
#include <string_view>
#include <vector>

#include "formats/json_file.h"
#include "model/model_config.h"

namespace octavo {

// Where the weights of a model lie in its files. Names are modules: ".weight" and ".bias" are added. An empty
// name: the family has no such tensor.
struct TensorNames {
  std::string_view prefix;  // before every name but the head's; files saved without it are read as well
  std::string_view token_embedding;
  std::string_view position_embedding, token_type_embedding, embedding_norm;
  std::string_view layer;  // "layers.{}."; the names below follow it
  std::string_view attention_norm;
  std::array<std::string_view, 3> qkv;  // q, k, v; or one name where they are one matrix
  std::string_view q_norm, k_norm;
  std::string_view attention_out;
  std::string_view mlp_norm;
  std::array<std::string_view, 2> mlp_in;  // gate, up; or one name: a fused gate_up, or a plain first matrix
  std::string_view mlp_out;
  std::string_view final_norm;
  std::string_view head;    // untied output matrix
  bool transposed = false;  // products are stored [in, out] (GPT-2's Conv1D)
  std::array<std::string_view, 4> ignored_ends =
      {};  // tensors that a file may hold and nobody needs: by the end
  std::array<std::string_view, 4> ignored_starts = {};  // and by the start of their names
};

struct Family {
  std::array<std::string_view, 3> architectures;  // config.json: architectures[0]
  std::string_view model_type;                    // config.json: model_type, where architectures is absent
  void (*read_config)(const ConfigObject& config, ModelConfig& c);  // throws bad_model naming the key
  TensorNames names;
};

std::span<const Family* const> families();
const Family* find_family(std::string_view architecture);  // null when unknown

// families/<name>.cpp
extern const Family kLlama, kMistral, kQwen2, kQwen3, kPhi3, kGpt2, kGptNeoX, kBert;

// What the readers of families share.
struct SizeKeys {  // names of the keys in config.json
  const char *hidden = "hidden_size", *layers = "num_hidden_layers", *heads = "num_attention_heads",
             *max_positions = "max_position_embeddings";
};
// hidden, layers, heads, kv_heads, head_dim, vocab, max_positions and what tokens begin and end a text.
void read_sizes(const ConfigObject& config, ModelConfig& c, const SizeKeys& keys = {});
// The activation of an MLP without a gate: "gelu" (erf), "gelu_new" and its other names (tanh).
MlpKind read_gelu(const ConfigObject& config, const char* key);
// Llama and its descendants: RMS norm, gated SiLU, rotary embedding.
void read_llama(const ConfigObject& config, ModelConfig& c);
// "use_sliding_window" and "layer_types" of Qwen: windows by layer.
void read_qwen_windows(const ConfigObject& config, ModelConfig& c);
// "sliding_window" of every layer; null: all keys.
void read_window(const ConfigObject& config, ModelConfig& c, int64_t when_absent);

inline constexpr TensorNames kLlamaNames = {
    .prefix = "model.",
    .token_embedding = "embed_tokens",
    .layer = "layers.{}.",
    .attention_norm = "input_layernorm",
    .qkv = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"},
    .attention_out = "self_attn.o_proj",
    .mlp_norm = "post_attention_layernorm",
    .mlp_in = {"mlp.gate_proj", "mlp.up_proj"},
    .mlp_out = "mlp.down_proj",
    .final_norm = "norm",
    .head = "lm_head",
};

}  // namespace octavo
