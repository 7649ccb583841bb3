#include "weights/quantization_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace octavo {
namespace {

using Json = nlohmann::json;

constexpr const char* kFormat = "int-quantized";

// A feature that octavo does not have: its key must be absent, null or empty.
void expect_absent(const ConfigObject& object, const std::string& key,
                   const std::string& expected = "null: octavo does not support it") {
  if (!object.has(key)) return;
  const Json& value = object.json().at(key);
  if (!(value.is_structured() && value.empty())) object.fail(key, expected);
}

void expect_known_keys(const ConfigObject& object, std::initializer_list<std::string_view> known) {
  for (const std::string& key : object.keys())
    if (std::find(known.begin(), known.end(), key) == known.end())
      expect_absent(object, key, "nothing: octavo does not know this key");
}

void expect_string(const ConfigObject& object, const std::string& key,
                   std::initializer_list<const char*> allowed) {
  const std::string value = object.string(key);
  std::string list;
  for (const char* a : allowed) {
    if (value == a) return;
    list += (list.empty() ? "\"" : "\" or \"") + std::string(a);
  }
  object.fail(key, list + "\"");
}

void check_weights(const ConfigObject& weights) {
  expect_known_keys(weights,
                    {"num_bits", "type", "symmetric", "strategy", "group_size", "block_structure", "dynamic",
                     "actorder", "observer", "observer_kwargs", "scale_dtype", "zp_dtype", "is_mse"});
  if (weights.integer("num_bits") != 8) weights.fail("num_bits", "8");
  expect_string(weights, "type", {"int"});
  if (!weights.boolean_or("symmetric", true))
    weights.fail("symmetric", "true: octavo's weights have no zero points");
  expect_string(weights, "strategy", {"channel", "tensor"});
  if (weights.integer_or("group_size", -1, std::numeric_limits<int32_t>::min()) != -1)
    weights.fail("group_size", "null or -1");
  expect_absent(weights, "block_structure");
  if (weights.has("dynamic") && weights.boolean("dynamic"))
    weights.fail("dynamic", "false: weights are quantised in the file");
  // "weight" (alias "static") orders columns while calibrating only; "group" permutes what is stored.
  if (weights.has("actorder")) expect_string(weights, "actorder", {"weight", "static"});
}

// Scales that a file holds or asks for are coarser than octavo's own: any of these runs, none is followed.
void check_activations(const ConfigObject& activations, QuantizationConfig& result) {
  expect_known_keys(activations,
                    {"num_bits", "type", "symmetric", "strategy", "group_size", "block_structure", "dynamic",
                     "actorder", "observer", "observer_kwargs", "scale_dtype", "zp_dtype", "is_mse"});
  if (activations.integer("num_bits") != 8) activations.fail("num_bits", "8");
  expect_string(activations, "type", {"int"});
  if (!activations.boolean_or("symmetric", true)) activations.fail("symmetric", "true");
  const bool dynamic = activations.boolean_or("dynamic", false);
  if (dynamic)
    expect_string(activations, "strategy", {"token", "tensor"});
  else
    expect_string(activations, "strategy", {"tensor"});
  expect_absent(activations, "block_structure");
  if (activations.string("strategy") == "tensor") result.per_tensor_activations = true;
  if (!dynamic) result.static_activations = true;
}

void check_group(const ConfigObject& group, QuantizationConfig& result) {
  expect_known_keys(group, {"weights", "input_activations", "output_activations", "targets", "format"});
  check_weights(group.object("weights"));
  if (group.has("input_activations")) check_activations(group.object("input_activations"), result);
  expect_absent(group, "output_activations");
  if (group.has("format")) expect_string(group, "format", {kFormat});
  group.strings("targets");
}

QuantizationConfig read_compressed_tensors(const ConfigObject& q) {
  QuantizationConfig result;
  result.layout = QuantizationConfig::Layout::compressed_tensors;
  expect_known_keys(
      q, {"quant_method", "format", "config_groups", "ignore", "kv_cache_scheme", "quantization_status",
          "global_compression_ratio", "sparsity_config", "transform_config", "version", "run_compressed"});
  expect_string(q, "format", {kFormat});
  for (const char* key : {"kv_cache_scheme", "transform_config"})
    expect_absent(q, key);  // known, not supported
  if (q.has("sparsity_config") && !q.json().at("sparsity_config").empty())
    expect_string(q.object("sparsity_config"), "format", {"dense"});
  const ConfigObject groups = q.object("config_groups");
  if (groups.keys().empty()) q.fail("config_groups", "at least one group");
  for (const std::string& name : groups.keys()) check_group(groups.object(name), result);
  result.ignore = q.strings("ignore");
  return result;
}

// transformers writes every field of BitsAndBytesConfig, those of the 4-bit kind with their defaults, too.
QuantizationConfig read_bitsandbytes(const ConfigObject& q) {
  QuantizationConfig result;
  result.layout = QuantizationConfig::Layout::bitsandbytes;
  expect_known_keys(q, {"quant_method", "load_in_8bit", "_load_in_8bit", "load_in_4bit", "_load_in_4bit",
                        "llm_int8_threshold", "llm_int8_skip_modules", "llm_int8_enable_fp32_cpu_offload",
                        "llm_int8_has_fp16_weight", "bnb_4bit_compute_dtype", "bnb_4bit_quant_storage",
                        "bnb_4bit_quant_type", "bnb_4bit_use_double_quant"});
  for (const char* key : {"load_in_4bit", "_load_in_4bit"})
    if (q.boolean_or(key, false)) q.fail(key, "false: octavo reads the 8-bit kind of bitsandbytes");
  if (!q.boolean_or("load_in_8bit", q.boolean_or("_load_in_8bit", false)))
    q.fail("load_in_8bit", "true: octavo reads the 8-bit kind of bitsandbytes");
  if (q.boolean_or("llm_int8_has_fp16_weight", false))
    q.fail("llm_int8_has_fp16_weight", "false: the weights must be INT8 in the file");
  result.outlier_threshold = q.number_or("llm_int8_threshold", 6.0, 0.0, 1e9);
  result.ignore = q.strings("llm_int8_skip_modules");
  return result;
}

}  // namespace

bool QuantizationConfig::ignores(const std::string& module) const {
  return std::find(ignore.begin(), ignore.end(), module) != ignore.end();
}

std::vector<std::string> QuantizationConfig::notes() const {
  std::vector<std::string> notes;
  if (static_activations)
    notes.push_back(
        "the file's static activation scales (input_scale) are not used: octavo scales every token while "
        "running");
  else if (per_tensor_activations)
    notes.push_back(
        "the file asks for one activation scale for all tokens: octavo scales every token by itself");
  if (layout == Layout::bitsandbytes && outlier_threshold > 0)
    notes.push_back(
        fmt::format("bitsandbytes keeps activation columns above {} in floats (llm_int8_threshold): octavo "
                    "quantises all of them, token by token; --quantization w8a16 keeps activations in floats",
                    outlier_threshold));
  return notes;
}

QuantizationConfig read_quantization_config(const ConfigObject& config) {
  expect_absent(config, "compression_config");  // what quantization_config was called before 2024-09
  if (!config.has("quantization_config")) return {};
  const ConfigObject q = config.object("quantization_config");
  expect_string(q, "quant_method", {"compressed-tensors", "bitsandbytes"});
  return q.string("quant_method") == "bitsandbytes" ? read_bitsandbytes(q) : read_compressed_tensors(q);
}

Json make_quantization_config(const std::vector<std::string>& ignore) {
  const Json weights = {{"num_bits", 8},         {"type", "int"},
                        {"symmetric", true},     {"strategy", "channel"},
                        {"group_size", nullptr}, {"block_structure", nullptr},
                        {"dynamic", false},      {"actorder", nullptr},
                        {"observer", "minmax"},  {"observer_kwargs", Json::object()}};
  Json activations = weights;
  activations["strategy"] = "token";
  activations["dynamic"] = true;
  activations["observer"] = nullptr;
  return {{"quant_method", "compressed-tensors"},
          {"format", kFormat},
          {"quantization_status", "compressed"},
          {"global_compression_ratio", nullptr},
          {"kv_cache_scheme", nullptr},
          {"ignore", ignore},
          {"config_groups",
           {{"group_0",
             {{"weights", weights},
              {"input_activations", activations},
              {"output_activations", nullptr},
              {"targets", Json::array({"Linear"})}}}}}};
}

}  // namespace octavo
