#include "weights/quantization_config.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "harness/expect_error.h"

namespace octavo {
namespace {

using harness::expect_error;
using Json = nlohmann::json;

QuantizationConfig read(const Json& config) {
  return read_quantization_config(ConfigObject::parse(config.dump(), "config.json"));
}

// As llm-compressor writes it for its W8A8 scheme.
Json w8a8() {
  return Json::parse(R"({"quantization_config": {
    "config_groups": {"group_0": {
      "format": "int-quantized",
      "input_activations": {"actorder": null, "block_structure": null, "dynamic": true, "group_size": null, "num_bits": 8,
        "observer": null, "observer_kwargs": {}, "scale_dtype": null, "strategy": "token", "symmetric": true, "type": "int", "zp_dtype": null},
      "output_activations": null,
      "targets": ["Linear"],
      "weights": {"actorder": null, "block_structure": null, "dynamic": false, "group_size": null, "num_bits": 8,
        "observer": "memoryless_minmax", "observer_kwargs": {}, "scale_dtype": null, "strategy": "channel", "symmetric": true,
        "type": "int", "zp_dtype": null}}},
    "format": "int-quantized", "global_compression_ratio": null, "ignore": ["lm_head", "re:.*gate$"], "kv_cache_scheme": null,
    "quant_method": "compressed-tensors", "quantization_status": "compressed", "sparsity_config": {}, "transform_config": {},
    "version": "0.12.2"}})");
}

TEST(QuantizationConfig, AbsentMeansFloats) {
  EXPECT_FALSE(read(Json::object()).present());
  EXPECT_FALSE(read({{"quantization_config", nullptr}}).present());
}

TEST(QuantizationConfig, ReadsWhatLlmCompressorWrites) {
  const QuantizationConfig q = read(w8a8());
  EXPECT_TRUE(q.present());
  EXPECT_TRUE(q.ignores("lm_head"));
  EXPECT_FALSE(q.ignores("model.lm_head"));
  EXPECT_FALSE(q.ignores("mlp.gate"));  // patterns are not evaluated: what is stored decides
}

TEST(QuantizationConfig, ReadsWhatOctavoWrites) {
  const QuantizationConfig q = read({{"quantization_config", make_quantization_config({"lm_head"})}});
  EXPECT_TRUE(q.present());
  EXPECT_EQ(q.ignore, std::vector<std::string>{"lm_head"});
}

TEST(QuantizationConfig, WeightOnlyAndPerTensorAreAccepted) {
  Json config = w8a8();
  Json& group = config["quantization_config"]["config_groups"]["group_0"];
  group["input_activations"] = nullptr;
  group["weights"]["strategy"] = "tensor";
  group["weights"]["actorder"] = "weight";
  config["quantization_config"]["moe_sparsity_config"] = nullptr;  // unknown, but it asks for nothing
  EXPECT_TRUE(read(config).present());
}

TEST(QuantizationConfig, StaticAndPerTensorActivationsAreReadPastAndSaid) {
  EXPECT_TRUE(read(w8a8()).notes().empty());
  Json config = w8a8();
  Json& activations = config["quantization_config"]["config_groups"]["group_0"]["input_activations"];
  activations["strategy"] = "tensor";
  const QuantizationConfig dynamic = read(config);
  EXPECT_FALSE(dynamic.static_activations);
  ASSERT_EQ(dynamic.notes().size(), 1u);
  EXPECT_NE(dynamic.notes()[0].find("one activation scale for all tokens"), std::string::npos);
  activations["dynamic"] = false;
  const QuantizationConfig fixed = read(config);
  EXPECT_TRUE(fixed.static_activations);
  ASSERT_EQ(fixed.notes().size(), 1u);
  EXPECT_NE(fixed.notes()[0].find("input_scale"), std::string::npos);
}

// As transformers 5.23 writes it, the fields of the 4-bit kind included.
Json bitsandbytes() {
  return Json::parse(R"({"quantization_config": {
    "_load_in_4bit": false, "_load_in_8bit": true, "bnb_4bit_compute_dtype": "float32", "bnb_4bit_quant_storage": "uint8",
    "bnb_4bit_quant_type": "fp4", "bnb_4bit_use_double_quant": false, "llm_int8_enable_fp32_cpu_offload": false,
    "llm_int8_has_fp16_weight": false, "llm_int8_skip_modules": ["lm_head"], "llm_int8_threshold": 6.0,
    "load_in_4bit": false, "load_in_8bit": true, "quant_method": "bitsandbytes"}})");
}

TEST(QuantizationConfig, ReadsBitsandbytes) {
  const QuantizationConfig q = read(bitsandbytes());
  EXPECT_EQ(q.layout, QuantizationConfig::Layout::bitsandbytes);
  EXPECT_TRUE(q.ignores("lm_head"));
  ASSERT_EQ(q.notes().size(), 1u);
  EXPECT_NE(q.notes()[0].find("above 6"), std::string::npos);
  Json config = bitsandbytes();
  config["quantization_config"]["llm_int8_threshold"] = 0.0;
  EXPECT_TRUE(read(config).notes().empty());
  const std::vector<std::tuple<std::string, Json, std::string>> cases = {
      {"load_in_4bit", true, "load_in_4bit\" is true, expected false: octavo reads the 8-bit kind"},
      {"_load_in_4bit", true, "_load_in_4bit\" is true"},
      {"load_in_8bit", false, "load_in_8bit\" is false, expected true"},
      {"load_in_8bit", "yes", "load_in_8bit\" is \"yes\", expected true or false"},
      {"llm_int8_has_fp16_weight", true, "llm_int8_has_fp16_weight\" is true, expected false"},
      {"llm_int8_threshold", -1, "llm_int8_threshold\" is -1"},
      {"llm_int8_threshold", "6", "llm_int8_threshold\" is \"6\""},
      {"llm_int8_skip_modules", "lm_head",
       "llm_int8_skip_modules\" is \"lm_head\", expected an array of strings"},
      {"llm_int8_surprise", 1, "llm_int8_surprise\" is 1, expected nothing: octavo does not know this key"},
      {"quant_method", "awq",
       "quant_method\" is \"awq\", expected \"compressed-tensors\" or \"bitsandbytes\""},
  };
  for (const auto& [key, value, message] : cases) {
    SCOPED_TRACE(key + " = " + value.dump());
    config = bitsandbytes();
    config["quantization_config"][key] = value;
    expect_error(ErrorKind::bad_model, message, [&] { read(config); });
  }
}

TEST(QuantizationConfig, RefusesByKeyAndValue) {
  const std::string w = "/quantization_config/config_groups/group_0/weights/",
                    a = "/quantization_config/config_groups/group_0/input_activations/",
                    g = "/quantization_config/config_groups/group_0/", q = "/quantization_config/";
  struct Case {
    std::string pointer;
    Json value;
    std::string message;
  };
  const std::vector<Case> cases = {
      {w + "num_bits", 4, "weights.num_bits\" is 4, expected 8"},
      {w + "type", "float", "weights.type\" is \"float\", expected \"int\""},
      {w + "symmetric", false, "weights.symmetric\" is false, expected true"},
      {w + "strategy", "group", "weights.strategy\" is \"group\", expected \"channel\" or \"tensor\""},
      {w + "group_size", 128, "weights.group_size\" is 128"},
      {w + "block_structure", Json::array({128, 128}), "weights.block_structure\" is [128,128]"},
      {w + "dynamic", true, "weights.dynamic\" is true"},
      {w + "actorder", "group", "weights.actorder\" is \"group\""},
      {w + "permutation", 1, "weights.permutation\" is 1, expected nothing: octavo does not know this key"},
      {a + "num_bits", 4, "input_activations.num_bits\" is 4"},
      {a + "type", "float", "input_activations.type\""},
      {a + "symmetric", false, "input_activations.symmetric\" is false"},
      {a + "strategy", "group",
       "input_activations.strategy\" is \"group\", expected \"token\" or \"tensor\""},
      {a + "dynamic", false, "input_activations.strategy\" is \"token\", expected \"tensor\""},
      {a + "dynamic", "local", "input_activations.dynamic\" is \"local\", expected true or false"},
      {g + "output_activations", Json{{"num_bits", 8}}, "output_activations\""},
      {g + "format", "pack-quantized", "group_0.format\" is \"pack-quantized\""},
      {g + "targets", "Linear", "group_0.targets\" is \"Linear\", expected an array of strings"},
      {g + "weights", nullptr, "group_0.weights\" is missing"},
      {g + "extra", 1, "group_0.extra\" is 1, expected nothing: octavo does not know this key"},
      {q + "quant_method", "gptq",
       "quant_method\" is \"gptq\", expected \"compressed-tensors\" or \"bitsandbytes\""},
      {q + "format", "pack-quantized",
       "quantization_config.format\" is \"pack-quantized\", expected \"int-quantized\""},
      {q + "kv_cache_scheme", Json{{"num_bits", 8}}, "kv_cache_scheme\""},
      {q + "transform_config", Json{{"R1", 1}}, "transform_config\""},
      {q + "sparsity_config", Json{{"format", "sparse-24-bitmask"}},
       "sparsity_config.format\" is \"sparse-24-bitmask\""},
      {q + "config_groups", Json::object(), "config_groups\" is {}, expected at least one group"},
      {q + "config_groups", Json{{"W8A8", Json::array({"Linear"})}},
       "config_groups.W8A8\" is [\"Linear\"], expected an object"},
      {q + "surprise", true, "surprise\" is true, expected nothing: octavo does not know this key"},
      {q + "ignore", "lm_head", "ignore\" is \"lm_head\", expected an array of strings"},
      {"/quantization_config", "int8", "\"quantization_config\" is \"int8\", expected an object"},
      {"/compression_config", Json{{"format", "dense"}}, "\"compression_config\" is"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.pointer + " = " + c.value.dump());
    Json config = w8a8();
    config[Json::json_pointer(c.pointer)] = c.value;
    expect_error(ErrorKind::bad_model, c.message, [&] { read(config); });
  }
}

}  // namespace
}  // namespace octavo
