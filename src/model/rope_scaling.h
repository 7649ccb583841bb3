// Frequencies of the rotary embedding and the ways in which published models stretch them to longer contexts,
// as transformers defines them (modeling_rope_utils.py):
//   linear    every frequency divided by a factor (Chen et al., arXiv 2306.15595)
//   dynamic   a base that grows with the sequence once it is longer than the training context (NTK-aware)
//   yarn      long wavelengths divided, short ones kept, a ramp between; cos and sin scaled (arXiv 2309.00071)
//   llama3    the same idea with a ramp over wavelengths (Llama 3.1)
//   longrope  a divisor for every frequency, one set for short and one for long sequences (arXiv 2402.13753)
#pragma once
#include <cstdint>
#include <vector>

namespace octavo {

class ConfigObject;
struct ModelConfig;

struct RopeScaling {
  enum class Kind : uint8_t { none, linear, dynamic, yarn, llama3, longrope } kind = Kind::none;
  double factor = 1.0;
  int64_t original_max_positions = 0;                    // context of the training; all but linear
  double low_freq_factor = 1.0, high_freq_factor = 4.0;  // llama3
  double beta_fast = 32.0, beta_slow = 1.0;              // yarn
  bool truncate = true;                                  // yarn: the ramp begins and ends at whole pairs
  float attention_factor = 1.0f;                         // yarn, longrope: cos and sin are multiplied by it
  std::vector<float> short_factor, long_factor;          // longrope: [rotary_dim / 2]

  // True where the frequencies change with the length of the sequence. NOTE: as in transformers, keys that are in
  // the cache keep the rotation that they were written with.
  bool depends_on_length() const { return kind == Kind::dynamic || kind == Kind::longrope; }
};

// Reads rope_theta, the share of a head that is rotated and the scaling into `c`, whose head_dim and max_positions are
// known; stretches max_positions where the scaling does. They stand at the top level (transformers 4) or in
// rope_parameters (transformers 5). Errors: bad_model naming the key.
void read_rope(const ConfigObject& config, ModelConfig& c);

// inv_freq[i] = theta^(-2i / rotary_dim), scaled for a sequence of `length` tokens. [rotary_dim / 2]
std::vector<float> rope_inv_freq(const ModelConfig& config, int64_t length);

}  // namespace octavo
