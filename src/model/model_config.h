// What config.json and generation_config.json of a Hugging Face folder say, checked and typed. A family
// (model/family.h) reads its own keys into this one struct; the forward pass knows nothing else.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "model/rope_scaling.h"

namespace octavo {

class ConfigObject;  // formats/json_file.h

// The choices that a block of the model is made of.
enum class NormKind : uint8_t { rms, layer };
enum class ResidualKind : uint8_t {
  pre_norm,   // x += attention(norm(x));  x += mlp(norm(x))
  parallel,   // x += attention(norm(x)) + mlp(other_norm(x))
  post_norm,  // x = norm(x + attention(x));  x = norm(x + mlp(x))
};
enum class MlpKind : uint8_t { silu_gated, gelu_erf, gelu_tanh };
enum class PositionKind : uint8_t { rotary, learned };
enum class QkvLayout : uint8_t {
  stacked,   // rows of all q heads, then of all k heads, then of all v heads
  per_head,  // for every head its q, its k, its v (GPT-NeoX); as many KV heads as query heads
};

struct ModelConfig {
  std::string architecture;  // "LlamaForCausalLM"
  std::string dtype;         // as the file says: "bfloat16"
  int64_t hidden = 0;        // width of the residual stream
  int64_t ffn = 0;           // intermediate_size
  int64_t layers = 0;
  int64_t heads = 0;  // query heads
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  int64_t vocab = 0;          // rows of the embedding
  int64_t max_positions = 0;  // context length, as far as the rope scaling stretches it
  int64_t token_types = 0;    // rows of the token type embedding; 0: none

  NormKind norm = NormKind::rms;
  ResidualKind residual = ResidualKind::pre_norm;
  MlpKind mlp = MlpKind::silu_gated;
  PositionKind positions = PositionKind::rotary;
  QkvLayout qkv_layout = QkvLayout::stacked;
  bool encoder = false;  // attention in both directions, no head; the result is the last hidden states
  bool qk_norm = false;  // an RMS norm of every query and key head before the rotation
  bool qkv_bias = false, attention_out_bias = false, mlp_bias = false;
  bool tied_embeddings = false;

  float norm_eps = 1e-5f;
  double rope_theta = 10000.0;
  double rotary_fraction = 1.0;  // share of a head that is rotated, its first elements
  RopeScaling rope_scaling;
  std::vector<int64_t>
      windows;  // by layer: keys that a query sees up to its own, 0: all; empty: all, everywhere
  std::optional<int32_t> bos_id;
  std::vector<int32_t> eos_ids;

  int64_t q_width() const { return heads * head_dim; }
  int64_t kv_width() const { return kv_heads * head_dim; }
  int64_t qkv_width() const { return q_width() + 2 * kv_width(); }
  int64_t rotary_dim() const { return static_cast<int64_t>(static_cast<double>(head_dim) * rotary_fraction); }
  int64_t window(int64_t layer) const { return windows.empty() ? 0 : windows[static_cast<size_t>(layer)]; }
  bool gated() const { return mlp == MlpKind::silu_gated; }
  int64_t mlp_in_width() const { return gated() ? 2 * ffn : ffn; }
  // Rows of the one table that holds the sum of position and token type embedding: row type * max_positions + position.
  int64_t position_rows() const {
    return positions == PositionKind::learned ? max_positions * (token_types > 0 ? token_types : 1) : 0;
  }
  DType float_dtype() const;   // of the weights in the file
  int64_t parameters() const;  // tied weights counted once

  // Reads <folder>/config.json, or what a .gguf file has in its place. Throws Error(bad_model) that names file, key and value; an architecture that
  // octavo does not know is named, with the list of known ones.
  static ModelConfig load(const std::string& folder);
  static ModelConfig of(const ConfigObject& config);  // of what such a file holds
  static const std::vector<std::string>& known_architectures();
};

// Sampling defaults that the model's author chose (generation_config.json; absent keys keep the neutral
// value).
struct GenerationDefaults {
  std::optional<float> temperature, top_p, min_p, repetition_penalty;
  std::optional<int> top_k;
  std::vector<int32_t> eos_ids;
  static GenerationDefaults load(const std::string& folder);  // neutral when the file is absent
  static GenerationDefaults of(const ConfigObject& config);
};

}  // namespace octavo
