// What config.json's quantization_config says about the INT8 tensors of a folder. Two layouts are read:
//
// - compressed-tensors, format "int-quantized" (https://github.com/vllm-project/compressed-tensors), the one that octavo
//   writes: symmetric INT8 weights with a scale per output channel or one per tensor. Activations dynamic per token,
//   dynamic or static per tensor, or not quantised. octavo's products scale activations per token while running,
//   which is finer than any of these: static scales (`input_scale`) are read past, and notes() says so.
// - bitsandbytes with load_in_8bit (LLM.int8(), Dettmers et al., arXiv 2208.07339): `<module>.SCB` holds the largest
//   magnitude of every row, value = code * SCB / 127. octavo keeps no outlier columns in floats; notes() says so.
//
// Everything else, unknown keys included, is refused by key and value, never guessed.
#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "formats/json_file.h"

namespace octavo {

struct QuantizationConfig {
  enum class Layout { floats, compressed_tensors, bitsandbytes };
  Layout layout = Layout::floats;
  bool static_activations = false;      // compressed_tensors: the file has `<module>.input_scale`
  bool per_tensor_activations = false;  // compressed_tensors: static or dynamic, one scale for all tokens
  double outlier_threshold = 0;         // bitsandbytes: llm_int8_threshold
  std::vector<std::string>
      ignore;  // modules stored as floats, by name; patterns ("re:...") are kept as they are

  bool present() const { return layout != Layout::floats; }
  bool ignores(const std::string& module) const;  // by exact name
  // Where octavo runs the model otherwise than the file asks, one sentence each. Empty: exactly as asked.
  std::vector<std::string> notes() const;
};

// `config`: the whole config.json. Errors: bad_model naming the key.
QuantizationConfig read_quantization_config(const ConfigObject& config);

// The quantization_config of a W8A8 folder that octavo writes.
nlohmann::json make_quantization_config(const std::vector<std::string>& ignore);

}  // namespace octavo
