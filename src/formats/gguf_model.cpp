#include "formats/gguf_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numbers>
#include <optional>

#include "formats/in_quotes.h"

namespace octavo {
namespace {

using Json = nlohmann::json;

struct Architecture {
  std::string_view gguf;          // general.architecture, the prefix of the model's keys
  const char* hugging_face;       // config.json: architectures
  const char* model_type;         // config.json: model_type
  bool interleaved_rotary_pairs;  // Q and K have their rows permuted
};
constexpr Architecture kArchitectures[] = {{"llama", "LlamaForCausalLM", "llama", true},
                                           {"qwen2", "Qwen2ForCausalLM", "qwen2", false},
                                           {"qwen3", "Qwen3ForCausalLM", "qwen3", false}};

struct Name {
  std::string_view gguf, hugging_face;
};
constexpr Name kOuterNames[] = {
    {"token_embd", "model.embed_tokens"}, {"output_norm", "model.norm"}, {"output", "lm_head"}};
constexpr Name kLayerNames[] = {
    {"attn_norm", "input_layernorm"},    {"attn_q", "self_attn.q_proj"},
    {"attn_k", "self_attn.k_proj"},      {"attn_v", "self_attn.v_proj"},
    {"attn_output", "self_attn.o_proj"}, {"attn_q_norm", "self_attn.q_norm"},
    {"attn_k_norm", "self_attn.k_norm"}, {"ffn_norm", "post_attention_layernorm"},
    {"ffn_gate", "mlp.gate_proj"},       {"ffn_up", "mlp.up_proj"},
    {"ffn_down", "mlp.down_proj"},
};
constexpr std::string_view kRopeFactors = "rope_freqs.weight";

// Keys behind "<architecture>." that octavo reads, or that change nothing it computes.
constexpr std::string_view kKnownKeys[] = {"context_length",
                                           "embedding_length",
                                           "block_count",
                                           "feed_forward_length",
                                           "vocab_size",
                                           "attention.head_count",
                                           "attention.head_count_kv",
                                           "attention.layer_norm_rms_epsilon",
                                           "attention.key_length",
                                           "attention.value_length",
                                           "rope.dimension_count",
                                           "rope.freq_base",
                                           "rope.scale_linear",
                                           "rope.scaling.type",
                                           "rope.scaling.factor",
                                           "rope.scaling.original_context_length",
                                           "rope.scaling.finetuned",
                                           "expert_count",
                                           "expert_used_count",
                                           "attention.sliding_window",
                                           "attention.causal",
                                           "tensor_data_layout"};

[[noreturn]] void fail(const GgufFile& file, const std::string& problem) {
  throw Error(ErrorKind::bad_model, file.path().string() + ": " + problem);
}

const Architecture& architecture_of(const GgufFile& file) {
  const std::string name = file.metadata().string("general.architecture");
  std::string known;
  for (const Architecture& a : kArchitectures) {
    if (a.gguf == name) return a;
    known += (known.empty() ? "" : ", ") + std::string(a.gguf);
  }
  fail(file, fmt::format(
                 "architecture {} is unknown to octavo's GGUF reader; known are: {}. Many more are read from "
                 "Hugging Face folders",
                 in_quotes(name), known));
}

template <size_t N>
std::string_view translated(const Name (&names)[N], std::string_view name) {
  for (const Name& n : names)
    if (n.gguf == name) return n.hugging_face;
  return {};
}

// "blk.12.attn_q.weight" -> "model.layers.12.self_attn.q_proj.weight"; empty for a name of no known tensor.
std::string hugging_face_name(std::string_view name) {
  const size_t dot = name.rfind('.');
  if (dot == name.npos) return {};
  const std::string_view kind = name.substr(dot);  // ".weight", ".bias"
  std::string_view module = name.substr(0, dot);
  if (kind != ".weight" && kind != ".bias") return {};
  if (const std::string_view outer = translated(kOuterNames, module); !outer.empty())
    return fmt::format("{}{}", outer, kind);
  if (!module.starts_with("blk.")) return {};
  module.remove_prefix(4);
  const size_t end = module.find('.');
  const std::string_view layer = module.substr(0, end);
  const bool number = !layer.empty() && layer.size() <= 5 &&
                      layer.find_first_not_of("0123456789") == layer.npos &&
                      (layer == "0" || layer[0] != '0');
  const std::string_view inner = end == module.npos ? "" : translated(kLayerNames, module.substr(end + 1));
  return number && !inner.empty() ? fmt::format("model.layers.{}.{}{}", layer, inner, kind) : "";
}

// The values behind "<architecture>.".
class Keys {
 public:
  Keys(const ConfigObject& metadata, std::string_view architecture)
      : metadata_(metadata), prefix_(std::string(architecture) + ".") {}
  bool has(const std::string& key) const { return metadata_.has(prefix_ + key); }
  int64_t integer(const std::string& key) const { return metadata_.integer(prefix_ + key); }
  int64_t integer_or(const std::string& key, int64_t fallback, int64_t low = 1) const {
    return metadata_.integer_or(prefix_ + key, fallback, low);
  }
  double number_or(const std::string& key, double fallback) const {
    return metadata_.number_or(prefix_ + key, fallback, 0.0, 1e12);
  }
  std::string string_or(const std::string& key, const std::string& fallback) const {
    return metadata_.string_or(prefix_ + key, fallback);
  }
  [[noreturn]] void fail(const std::string& key, const std::string& expected) const {
    metadata_.fail(prefix_ + key, expected);
  }
  void refuse_unknown() const {
    for (const std::string& key : metadata_.keys())
      if (key.starts_with(prefix_) && std::find(std::begin(kKnownKeys), std::end(kKnownKeys),
                                                key.substr(prefix_.size())) == std::end(kKnownKeys))
        metadata_.fail(key, "nothing: octavo does not know this key, and it may change the model");
  }

 private:
  const ConfigObject& metadata_;
  std::string prefix_;
};

// Llama 3.1 stretches long wavelengths; GGUF stores the outcome for every frequency instead of the rule. The rule has
// four numbers, all published models share three of them, and the largest stretch is the fourth: try that, and check.
Json llama3_scaling(const GgufFile& file, const TensorInfo& tensor, int64_t head_dim, double theta) {
  const auto refuse = [&](const std::string& problem) {
    fail(file, fmt::format("tensor {} is {}, {}", in_quotes(tensor.name), tensor.describe(), problem));
  };
  if (tensor.dtype != DType::f32 || tensor.shape != std::vector<int64_t>{head_dim / 2})
    refuse(fmt::format("expected F32 [{}]", head_dim / 2));
  std::vector<float> factors(static_cast<size_t>(head_dim / 2));
  file.read(tensor, 0, factors.data(), tensor.bytes());
  const double low = 1, high = 4, original = 8192, factor = *std::max_element(factors.begin(), factors.end());
  for (size_t i = 0; i < factors.size(); ++i) {
    const double frequency = std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(head_dim));
    const double turns = original * frequency / (2 * std::numbers::pi);
    const double keep = std::clamp((turns - low) / (high - low), 0.0, 1.0);
    const double expected = 1 / ((1 - keep) / factor + keep);
    if (!(std::abs(factors[i] - expected) <= 1e-3 * expected))
      refuse(fmt::format(
          "whose factor {} is {}, Llama 3.1's rule with factor {} gives {}: octavo does not know this "
          "frequency scaling",
          i, factors[i], factor, expected));
  }
  return {{"rope_type", "llama3"},
          {"factor", factor},
          {"low_freq_factor", low},
          {"high_freq_factor", high},
          {"original_max_position_embeddings", static_cast<int64_t>(original)}};
}

Json rope_scaling(const GgufFile& file, const Keys& keys, int64_t head_dim, double theta) {
  if (const TensorInfo* factors = file.find(kRopeFactors))
    return llama3_scaling(file, *factors, head_dim, theta);
  const double factor = keys.number_or("rope.scaling.factor", keys.number_or("rope.scale_linear", 1.0));
  const std::string type =
      keys.string_or("rope.scaling.type", keys.has("rope.scale_linear") ? "linear" : "none");
  if (type == "none" || (type == "linear" && factor == 1.0)) return nullptr;
  if (type == "linear") return {{"rope_type", "linear"}, {"factor", factor}};
  if (type == "yarn")
    return {{"rope_type", "yarn"},
            {"factor", factor},
            {"original_max_position_embeddings", keys.integer("rope.scaling.original_context_length")}};
  keys.fail("rope.scaling.type", "one of: none, linear, yarn");
}

// Whole models store their weights in one type; that of the first projection stands for all.
const char* float_type(const GgufFile& file) {
  const TensorInfo* t = file.find("blk.0.attn_q.weight");
  if (t && t->dtype == DType::bf16) return "bfloat16";
  return t && t->dtype == DType::f16 ? "float16" : "float32";
}

}  // namespace

ConfigObject gguf_model_config(const GgufFile& file) {
  const Architecture& architecture = architecture_of(file);
  const ConfigObject& metadata = file.metadata();
  if (metadata.integer_or("split.count", 1, 0, 65535) > 1)
    metadata.fail("split.count", "1: octavo reads whole files; join the parts with llama-gguf-split --merge");
  const Keys keys(metadata, architecture.gguf);
  keys.refuse_unknown();
  if (keys.integer_or("expert_count", 0, 0) > 0)
    keys.fail("expert_count", "0: octavo has no mixture of experts");

  const int64_t hidden = keys.integer("embedding_length"), heads = keys.integer("attention.head_count");
  if (!keys.has("attention.key_length") && hidden % heads != 0)
    keys.fail("attention.head_count", fmt::format("a divisor of embedding_length = {}", hidden));
  const int64_t head_dim = keys.integer_or("attention.key_length", hidden / heads);
  for (const char* key : {"attention.value_length", "rope.dimension_count"})
    if (keys.integer_or(key, head_dim) != head_dim)
      keys.fail(key, fmt::format("{}, the size of a head", head_dim));
  const TensorInfo* embedding = file.find("token_embd.weight");
  if (!embedding || embedding->shape.size() != 2) fail(file, "has no matrix \"token_embd.weight\"");
  const double theta = keys.number_or("rope.freq_base", 10000.0);

  Json config = {{"architectures", {architecture.hugging_face}},
                 {"model_type", architecture.model_type},
                 {"dtype", float_type(file)},
                 {"hidden_size", hidden},
                 {"intermediate_size", keys.integer("feed_forward_length")},
                 {"num_hidden_layers", keys.integer("block_count")},
                 {"num_attention_heads", heads},
                 {"num_key_value_heads", keys.integer_or("attention.head_count_kv", heads)},
                 {"head_dim", head_dim},
                 {"vocab_size", embedding->shape[0]},
                 {"max_position_embeddings", keys.integer("context_length")},
                 {"rms_norm_eps", keys.number_or("attention.layer_norm_rms_epsilon", 1e-5)},
                 {"rope_theta", theta},
                 {"rope_scaling", rope_scaling(file, keys, head_dim, theta)},
                 {"tie_word_embeddings", file.find("output.weight") == nullptr},
                 {"hidden_act", "silu"}};
  if (architecture.gguf == "llama") config["attention_bias"] = file.find("blk.0.attn_q.bias") != nullptr;
  if (keys.integer_or("attention.sliding_window", 0, 0) > 0) {
    config["sliding_window"] = keys.integer("attention.sliding_window");
    config["use_sliding_window"] = true;
  }
  if (metadata.has("tokenizer.ggml.bos_token_id"))
    config["bos_token_id"] = metadata.integer("tokenizer.ggml.bos_token_id", 0);
  for (const char* key :
       {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"})
    if (metadata.has(key)) config["eos_token_id"].push_back(metadata.integer(key, 0));
  return ConfigObject::of(std::move(config), file.path().string());
}

ConfigObject read_model_config(const std::filesystem::path& model) {
  if (is_gguf(model)) return gguf_model_config(GgufFile::open(model));
  const bool in_folder = model.extension() == ".safetensors" && !std::filesystem::is_directory(model);
  return ConfigObject::read((in_folder ? model.parent_path() : model) / "config.json");
}

std::vector<GgufTensor> gguf_model_tensors(const GgufFile& file) {
  const Architecture& architecture = architecture_of(file);
  const Keys keys(file.metadata(), architecture.gguf);
  const int64_t heads = keys.integer("attention.head_count"),
                kv_heads = keys.integer_or("attention.head_count_kv", heads);
  std::vector<GgufTensor> tensors;
  for (const TensorInfo& t : file.tensors()) {
    if (t.name == kRopeFactors) continue;
    GgufTensor& tensor = tensors.emplace_back(GgufTensor{t});
    tensor.info.name = hugging_face_name(t.name);
    if (tensor.info.name.empty())
      fail(file, fmt::format("tensor {} is none that octavo knows of a {} model", in_quotes(t.name),
                             architecture.gguf));
    const bool query = t.name.find(".attn_q.") != t.name.npos, key = t.name.find(".attn_k.") != t.name.npos;
    if (!architecture.interleaved_rotary_pairs || !(query || key)) continue;
    const int64_t rows = t.shape[0], parts = query ? heads : kv_heads;
    if (rows % (2 * parts) != 0)
      fail(file, fmt::format("tensor {} is {}: its rows are no multiple of 2 x {} heads", in_quotes(t.name),
                             t.describe(), parts));
    tensor.head_rows = rows / parts;
  }
  return tensors;
}

}  // namespace octavo
