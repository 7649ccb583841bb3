// What quantising a model cost, measured: printed by `octavo quantize` and kept in the folder that it writes.
#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "engine/evaluate.h"
#include "engine/layer_error.h"

namespace octavo {

struct QuantizationReport {
  std::string source;      // the model as it was named
  std::string text;        // the text measured on, as it was named
  std::string transforms;  // "--rotate --smooth 0.5"; empty: none
  std::string quantization, kv_cache_dtype, isa;
  int64_t bytes_before = 0, bytes_after = 0;  // of tensor data
  Evaluation accuracy;
  std::vector<LayerError> worst_layers;  // largest output error first
  std::vector<std::string> notes;        // where octavo ran the source otherwise than it was written

  static constexpr size_t kWorstLayers = 5;
};

nlohmann::ordered_json to_json(const Evaluation& accuracy);
nlohmann::ordered_json to_json(const QuantizationReport& report);  // octavo_report.json
std::string to_text(const QuantizationReport& report);             // for the terminal
std::string to_markdown(const QuantizationReport& report);         // README.md of the folder

}  // namespace octavo
