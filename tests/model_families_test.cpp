// A tiny random model of every family, made with transformers (tools/make_goldens_families.py): logits at every position
// in one prefill, token by token and in chunks of 3; hidden states and embeddings of encoders; what a config may not say.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "engine/embedder.h"
#include "formats/tensor_folder.h"
#include "harness/expect_error.h"
#include "harness/isa_test.h"
#include "harness/temp_folder.h"
#include "model_parity.h"

namespace octavo {
namespace {

using harness::TempFolder;
namespace fs = std::filesystem;

const std::string kFamilies = kGoldens + "families/";
constexpr size_t kVocab = 97, kHidden = 44;

struct Golden {
  std::string name;     // as messages call it
  std::string weights;  // folder with model.safetensors
  std::string config = "config.json", expected = "expected.safetensors";
};

const std::vector<Golden> kDecoders = {
    {"mistral", "mistral"},
    {"qwen2", "qwen2"},
    {"qwen3", "qwen3"},
    {"phi3", "phi3"},
    {"phi3 longrope", "phi3_longrope"},
    {"llama, llama3 scaling", "llama_rope", "config_llama3.json", "expected_llama3.safetensors"},
    {"llama, linear scaling", "llama_rope", "config_linear.json", "expected_linear.safetensors"},
    {"llama, dynamic scaling", "llama_rope", "config_dynamic.json", "expected_dynamic.safetensors"},
    {"llama, yarn scaling", "llama_rope", "config_yarn.json", "expected_yarn.safetensors"},
    {"gpt2", "gpt2"},
    {"gpt2, old names", "gpt2_old"},
    {"gpt neox", "gpt_neox"},
    {"gpt neox, sequential", "gpt_neox_sequential"},
};

// The golden as a model folder.
struct ModelFolder {
  TempFolder folder;
  Expected expected;
  explicit ModelFolder(const Golden& g) : expected(read_expected(kFamilies + g.weights + "/" + g.expected)) {
    fs::copy(kFamilies + g.weights + "/model.safetensors", folder / "model.safetensors");
    fs::copy(kFamilies + g.weights + "/" + g.config, folder / "config.json");
  }
  std::string path() const { return folder.path().string(); }
};

EngineOptions exact(Isa isa, Quantization q = Quantization::none) {
  EngineOptions o;
  o.quantization = q, o.kv_dtype = DType::f32, o.isa = isa, o.threads = 2;
  return o;
}

class ModelFamilies : public harness::IsaTest {};

TEST_P(ModelFamilies, LogitsAgreeWithTransformersAtEveryPosition) {
  for (const Golden& golden : kDecoders) {
    const ModelFolder m(golden);
    ASSERT_EQ(m.expected.ids().size(), 29u);
    for (const int64_t chunk : {64, 1, 3}) {
      // Frequencies that depend on the length of the sequence make logits depend on the steps, in transformers too.
      const auto steps = m.expected.floats.find("logits_steps_of_" + std::to_string(chunk));
      const std::vector<float>& want = steps == m.expected.floats.end() ? m.expected.logits() : steps->second;
      const std::vector<float> got = logits_in_chunks(m.path(), m.expected.ids(), chunk, exact(GetParam()));
      EXPECT_LE(worst_relative(got, want, kVocab), 1e-4) << golden.name << ", chunks of " << chunk;
    }
  }
}

// The INT8 modes stay near: a wrong scale or row order would be far off.
TEST_P(ModelFamilies, Int8LogitsStayNear) {
  for (const Golden& golden : kDecoders) {
    const ModelFolder m(golden);
    for (const Quantization q : {Quantization::w8a16, Quantization::w8a8, Quantization::auto_}) {
      const double worst =
          worst_relative(logits_in_chunks(m.path(), m.expected.ids(), 64, exact(GetParam(), q)),
                         m.expected.logits(), kVocab);
      EXPECT_LE(worst, q == Quantization::w8a16 ? 0.05 : 0.1) << golden.name << ", " << name_of(q);
      EXPECT_GT(worst, 1e-5) << golden.name << ": not quantised?";
    }
  }
}

TEST_P(ModelFamilies, Int8CacheStaysNear) {
  for (const Golden& golden : kDecoders) {
    const ModelFolder m(golden);
    EngineOptions o = exact(GetParam());
    for (const auto& [dtype, tolerance] : {std::pair{DType::f16, 2e-3}, std::pair{DType::i8, 0.05}}) {
      o.kv_dtype = dtype;
      EXPECT_LE(
          worst_relative(logits_in_chunks(m.path(), m.expected.ids(), 64, o), m.expected.logits(), kVocab),
          tolerance)
          << golden.name << ", " << name_of(dtype);
    }
  }
}

// Design 3: the whole W8A8 mode depends neither on how the prompt is cut nor on the number of threads.
TEST_P(ModelFamilies, W8A8HasTheSameBitsForEveryChunkingAndThreadCount) {
  for (const Golden& golden : kDecoders) {
    const ModelFolder m(golden);
    EngineOptions o = exact(GetParam(), Quantization::w8a8);
    const std::vector<float> whole = logits_in_chunks(m.path(), m.expected.ids(), 64, o);
    if (!m.expected.floats.contains("logits_steps_of_3"))  // else frequencies depend on the cut
      for (const int64_t chunk : {2, 7})
        EXPECT_EQ(logits_in_chunks(m.path(), m.expected.ids(), chunk, o), whole) << golden.name;
    o.threads = 3;
    EXPECT_EQ(logits_in_chunks(m.path(), m.expected.ids(), 64, o), whole) << golden.name;
  }
}

TEST_P(ModelFamilies, PlanIsWhatLoadingTakes) {
  std::vector<Golden> all = kDecoders;
  all.push_back({"bert", "bert"}), all.push_back({"bert, old names", "bert_old"});
  for (const Golden& golden : all) {
    const ModelFolder m(golden);
    const ModelConfig config = ModelConfig::load(m.path());
    for (const Quantization q : {Quantization::none, Quantization::auto_}) {
      const Transformer model = Transformer::load(m.path(), q, ctx);
      EXPECT_EQ(Transformer::plan_weights(config, q).total(), model.weight_bytes()) << golden.name;
      EXPECT_EQ(Transformer::random(config, Quantization::auto_, 1).weight_bytes(),
                Transformer::plan_weights(config, Quantization::auto_).total())
          << golden.name;
    }
    int64_t stored = 0;
    const TensorFolder files = TensorFolder::open(m.path());
    for (const TensorInfo* t : files.tensors())
      if (!t->name.starts_with("cls.") && !t->name.starts_with("pooler.") &&
          !t->name.ends_with(".attn.bias")) {
        int64_t elements = 1;
        for (const int64_t n : t->shape) elements *= n;
        stored += elements;
      }
    EXPECT_EQ(config.parameters(), stored) << golden.name;
  }
}

// Both ways of writing the names: all texts in one batch, and one by one.
TEST_P(ModelFamilies, HiddenStatesOfEncodersAgreeWithTransformers) {
  for (const char* name : {"bert", "bert_old"}) {
    const Expected e = read_expected(kFamilies + name + "/expected.safetensors");
    std::vector<int32_t> positions, q_start = {0};
    for (const int32_t length : e.integers.at("lengths")) {
      for (int32_t i = 0; i < length; ++i) positions.push_back(i);
      q_start.push_back(q_start.back() + length);
    }
    const auto total = static_cast<int64_t>(positions.size());
    for (const Quantization q : {Quantization::none, Quantization::w8a16, Quantization::w8a8}) {
      Transformer model = Transformer::load(kFamilies + name, q, ctx);
      model.reserve(ctx, total, 0, {.dtype = DType::f32, .tokens = total});
      const auto encode = [&](size_t first, size_t end) {  // texts first .. end
        const auto at = static_cast<size_t>(q_start[first]), n = static_cast<size_t>(q_start[end]) - at;
        std::vector<int32_t> starts;
        for (size_t b = first; b <= end; ++b) starts.push_back(q_start[b] - q_start[first]);
        const ConstTensor h =
            model.encode(ctx, {.ids = std::span(e.ids()).subspan(at, n),
                               .positions = std::span(positions).subspan(at, n),
                               .token_types = std::span(e.integers.at("token_types")).subspan(at, n),
                               .q_start = starts});
        return std::vector<float>(h.as<float>(), h.as<float>() + h.numel());
      };
      const std::vector<float> together = encode(0, 4);
      std::vector<float> apart;
      for (size_t b = 0; b < 4; ++b) {
        const std::vector<float> one = encode(b, b + 1);
        apart.insert(apart.end(), one.begin(), one.end());
      }
      const double tolerance = q == Quantization::none ? 1e-4 : 0.1;
      EXPECT_LE(worst_relative(together, e.floats.at("hidden"), kHidden), tolerance)
          << name << ", " << name_of(q);
      EXPECT_LE(worst_relative(apart, e.floats.at("hidden"), kHidden), tolerance)
          << name << ", " << name_of(q);
      if (q == Quantization::w8a8) EXPECT_EQ(together, apart);
    }
  }
}

TEST_P(ModelFamilies, EmbeddingsAreNormalisedMeans) {
  for (const char* name : {"bert", "bert_old"}) {
    const Expected e = read_expected(kFamilies + name + "/expected.safetensors");
    EmbedderOptions options;
    options.engine = exact(GetParam());
    Embedder embedder(Transformer::load(kFamilies + name, Quantization::none, ctx), options);
    // The third text has token types 0 only, as texts of `octavo embed` do.
    const int32_t first = e.integers.at("lengths")[0] + e.integers.at("lengths")[1];
    const std::vector<int32_t> ids(e.ids().begin() + first,
                                   e.ids().begin() + first + e.integers.at("lengths")[2]);
    const std::vector<float>& all = e.floats.at("embeddings");
    const std::vector<float> want(all.begin() + 2 * kHidden, all.begin() + 3 * kHidden);
    const auto got = embedder.embed_ids({ids, ids, {5}, ids});
    ASSERT_EQ(got.size(), 4u);
    for (const size_t i : {0, 1, 3}) EXPECT_LE(worst_relative(got[i], want, kHidden), 1e-4) << name;
    EXPECT_GT(worst_relative(got[2], want, kHidden), 0.1);
  }
}

OCTAVO_EVERY_ISA(ModelFamilies);

// A copy of a golden whose config.json has one value replaced (or removed, for null given as a discarded value).
ModelConfig config_with(const std::string& golden, const std::string& pointer, const nlohmann::json& value) {
  std::ifstream in(kFamilies + golden);
  auto config = nlohmann::json::parse(in);
  config[nlohmann::json::json_pointer(pointer)] = value;
  const TempFolder folder;
  folder.write("config.json", config.dump());
  return ModelConfig::load(folder.path().string());
}

void expect_refused(const std::string& golden, const std::string& pointer, const nlohmann::json& value,
                    const std::string& part_of_message) {
  SCOPED_TRACE(golden + " " + pointer);
  harness::expect_error(ErrorKind::bad_model, part_of_message, [&] { config_with(golden, pointer, value); });
}

TEST(FamilyConfig, ValuesThatOctavoCannotServeAreNamed) {
  expect_refused("mistral/config.json", "/hidden_act", "relu", "\"hidden_act\" is \"relu\"");
  expect_refused("mistral/config.json", "/sliding_window", "wide", "sliding_window");
  expect_refused("qwen2/config.json", "/layer_types", {"full_attention"}, "layer_types");
  expect_refused("qwen2/config.json", "/layer_types",
                 {"full_attention", "chunked_attention", "full_attention"}, "layer_types");
  expect_refused("qwen3/config.json", "/head_dim", nullptr, "head_dim");
  expect_refused("phi3/config.json", "/rope_parameters/partial_rotary_factor", 0.4, "partial_rotary_factor");
  expect_refused("phi3_longrope/config.json", "/rope_parameters/short_factor", {1.0, 2.0}, "short_factor");
  expect_refused("phi3_longrope/config.json", "/rope_parameters/long_factor", {1.0, 2.0, "x", 3.0},
                 "long_factor");
  expect_refused("phi3_longrope/config.json", "/rope_parameters/long_factor", {1.0, 2.0, -1.0, 3.0},
                 "long_factor");
  expect_refused("llama_rope/config_yarn.json", "/rope_parameters/rope_type", "proportional",
                 "one of: default, linear, dynamic, yarn, llama3, longrope");
  expect_refused("llama_rope/config_llama3.json", "/rope_parameters/high_freq_factor", 0.5,
                 "high_freq_factor");
  expect_refused("llama_rope/config_linear.json", "/rope_parameters/factor", nullptr, "factor");
  expect_refused("gpt2/config.json", "/activation_function", "relu", "activation_function");
  expect_refused("gpt2/config.json", "/scale_attn_by_inverse_layer_idx", true,
                 "scale_attn_by_inverse_layer_idx");
  expect_refused("gpt2/config.json", "/scale_attn_weights", false, "scale_attn_weights");
  expect_refused("gpt2/config.json", "/n_head", 7, "n_head");
  expect_refused("gpt_neox/config.json", "/hidden_act", "swish", "hidden_act");
  expect_refused("gpt_neox/config.json", "/num_key_value_heads", 1, "num_key_value_heads");
  expect_refused("bert/config.json", "/is_decoder", true, "is_decoder");
  expect_refused("bert/config.json", "/position_embedding_type", "relative_key", "position_embedding_type");
  expect_refused("bert/config.json", "/architectures", {"BertForSequenceClassification"},
                 "known are: LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM, "
                 "Phi3ForCausalLM, GPT2LMHeadModel, GPTNeoXForCausalLM, BertModel");
}

TEST(FamilyConfig, OldAndNewKeysMeanTheSame) {
  // transformers 4 has rope_theta and rope_scaling at the top, and Phi-3's first files call longrope "su".
  const std::string golden = "phi3_longrope/config.json";
  std::ifstream in(kFamilies + golden);
  auto rope = nlohmann::json::parse(in)["rope_parameters"];
  rope["type"] = "su", rope.erase("rope_type"), rope.erase("rope_theta");
  auto config = nlohmann::json::parse(std::ifstream(kFamilies + golden));
  config.erase("rope_parameters"), config["rope_scaling"] = rope, config["rope_theta"] = 5000.0;
  const TempFolder folder;
  folder.write("config.json", config.dump());
  const ModelConfig old = ModelConfig::load(folder.path().string()),
                    now = config_with(golden, "/use_cache", true);
  for (const int64_t length : {8, 20}) EXPECT_EQ(rope_inv_freq(old, length), rope_inv_freq(now, length));
  EXPECT_EQ(old.rope_scaling.attention_factor, now.rope_scaling.attention_factor);
  EXPECT_NE(rope_inv_freq(now, 16), rope_inv_freq(now, 17));

  EXPECT_EQ(config_with("mistral/config.json", "/sliding_window", nullptr).window(0), 0);
  EXPECT_EQ(config_with("qwen2/config.json", "/use_sliding_window", false).window(2), 0);
  EXPECT_EQ(config_with("gpt2/config.json", "/n_inner", nullptr).ffn, 4 * 44);
  // Scalings that stretch the context raise its limit.
  EXPECT_EQ(config_with("llama_rope/config_dynamic.json", "/use_cache", true).max_positions, 64);
  EXPECT_EQ(config_with("llama_rope/config_yarn.json", "/max_position_embeddings", 16).max_positions, 64);
}

}  // namespace
}  // namespace octavo
