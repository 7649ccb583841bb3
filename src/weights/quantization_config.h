// config.json's quantization_config as the compressed-tensors package writes it
// (https://github.com/vllm-project/compressed-tensors). octavo reads and writes one kind: format
// "int-quantized", symmetric INT8 weights with a scale per output channel (or one per tensor); activations
// dynamic per token, or not quantised at all. Everything else is refused by key and value, never guessed.
#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "formats/json_file.h"

namespace octavo {

struct QuantizationConfig {
  bool present = false;
  std::vector<std::string>
      ignore;  // modules stored as floats, by name; patterns ("re:...") are kept as they are
  bool ignores(const std::string& module) const;  // by exact name
};

// `config`: the whole config.json. Errors: bad_model naming the key.
QuantizationConfig read_quantization_config(const ConfigObject& config);

// The quantization_config of a W8A8 folder that octavo writes.
nlohmann::json make_quantization_config(const std::vector<std::string>& ignore);

}  // namespace octavo
