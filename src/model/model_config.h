// What config.json and generation_config.json of a Hugging Face folder say, checked and typed.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace octavo {

struct RopeScaling {
  enum class Kind { none, linear, llama3 } kind = Kind::none;
  double factor = 1.0;
  double low_freq_factor = 1.0, high_freq_factor = 4.0;  // llama3
  int64_t original_max_positions = 8192;                 // llama3
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
  int64_t max_positions = 0;  // context length
  float rms_eps = 1e-5f;
  double rope_theta = 10000.0;
  RopeScaling rope_scaling;
  bool tied_embeddings = false;
  bool attention_bias = false;
  std::optional<int32_t> bos_id;
  std::vector<int32_t> eos_ids;

  int64_t q_width() const { return heads * head_dim; }
  int64_t kv_width() const { return kv_heads * head_dim; }
  int64_t parameters() const;  // tied weights counted once

  // Reads <folder>/config.json, or what a .gguf file has in its place. Throws Error(bad_model) that names file, key and value; an architecture that
  // octavo does not know is named, with the list of known ones.
  static ModelConfig load(const std::string& folder);
  static const std::vector<std::string>& known_architectures();
};

// Sampling defaults that the model's author chose (generation_config.json; absent keys keep the neutral
// value).
struct GenerationDefaults {
  std::optional<float> temperature, top_p, min_p, repetition_penalty;
  std::optional<int> top_k;
  std::vector<int32_t> eos_ids;
  static GenerationDefaults load(const std::string& folder);  // neutral when the file is absent
};

// inv_freq[i] = theta^(-2i/head_dim), with the model's frequency scaling applied. [head_dim / 2]
std::vector<float> rope_inv_freq(const ModelConfig& config);

}  // namespace octavo
