#include "weights/quantization_config.h"

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

// octavo quantises activations by token when it runs; a file that was calibrated for anything else would lose
// accuracy.
void check_activations(const ConfigObject& activations) {
  expect_known_keys(activations,
                    {"num_bits", "type", "symmetric", "strategy", "group_size", "block_structure", "dynamic",
                     "actorder", "observer", "observer_kwargs", "scale_dtype", "zp_dtype", "is_mse"});
  if (activations.integer("num_bits") != 8) activations.fail("num_bits", "8");
  expect_string(activations, "type", {"int"});
  if (!activations.boolean_or("symmetric", true)) activations.fail("symmetric", "true");
  expect_string(activations, "strategy", {"token"});
  if (!activations.boolean_or("dynamic", false))
    activations.fail("dynamic", "true: octavo has no static activation scales");
  expect_absent(activations, "block_structure");
}

void check_group(const ConfigObject& group) {
  expect_known_keys(group, {"weights", "input_activations", "output_activations", "targets", "format"});
  check_weights(group.object("weights"));
  if (group.has("input_activations")) check_activations(group.object("input_activations"));
  expect_absent(group, "output_activations");
  if (group.has("format")) expect_string(group, "format", {kFormat});
  group.strings("targets");
}

}  // namespace

bool QuantizationConfig::ignores(const std::string& module) const {
  return std::find(ignore.begin(), ignore.end(), module) != ignore.end();
}

QuantizationConfig read_quantization_config(const ConfigObject& config) {
  QuantizationConfig result;
  expect_absent(config, "compression_config");  // what quantization_config was called before 2024-09
  if (!config.has("quantization_config")) return result;
  const ConfigObject q = config.object("quantization_config");
  expect_string(q, "quant_method", {"compressed-tensors"});
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
  for (const std::string& name : groups.keys()) check_group(groups.object(name));
  result.present = true;
  result.ignore = q.strings("ignore");
  return result;
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
