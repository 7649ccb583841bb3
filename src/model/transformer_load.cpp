// How a model comes into memory. One walk over its weights asks a source for each of them: a Hugging Face folder, random
// numbers for a bench, or a count of the bytes that loading will take.
#include <fmt/format.h>

#include <algorithm>

#include "model/family.h"
#include "model/transformer.h"
#include "octavo/ops.h"
#include "weights/weight_loader.h"

namespace octavo {

// The names of a family as a file spells them.
class ModuleNames {
 public:
  explicit ModuleNames(const TensorNames& names) : names_(names), prefix_(names.prefix), head_(names.head) {}
  // Files may lack the prefix, and call the head lm_head whatever its own name was (transformers 5 on GPT-NeoX).
  ModuleNames(const TensorNames& names, const WeightLoader& loader) : ModuleNames(names) {
    if (loader.has(fmt::format("{}.weight", names.token_embedding))) prefix_ = "";
    if (!loader.has(fmt::format("{}.weight", head_)) && loader.has("lm_head.weight")) head_ = "lm_head";
  }
  const TensorNames& of() const { return names_; }
  std::string head() const { return std::string(head_); }
  std::string global(std::string_view name) const { return fmt::format("{}{}", prefix_, name); }
  std::string in_layer(int64_t index, std::string_view name) const {
    return fmt::format("{}{}{}", prefix_, fmt::format(fmt::runtime(names_.layer), index), name);
  }

 private:
  const TensorNames& names_;
  std::string_view prefix_, head_;
};

class WeightSource {
 public:
  WeightSource(Quantization q) : storage(q == Quantization::none ? Storage::floats : Storage::int8) {}
  virtual ~WeightSource() = default;
  virtual void begin_section(const char*) {}  // of the bytes table
  // Row blocks of one matrix, below each other.
  virtual LinearWeight linear(const LinearRequest& request) = 0;
  virtual FloatVector vector(const std::string& tensor, int64_t size) = 0;
  // Learned positions, floats whatever the mode: f32 [position_rows, hidden]; row t * max_positions + p is the sum of the
  // embeddings of position p and token type t.
  virtual LinearWeight positions(const ModuleNames& names, const ModelConfig& c) = 0;

  const Storage storage;
};

namespace {

LinearWeight float_table(int64_t rows, int64_t width) {
  LinearWeight w;
  w.out_features = rows, w.in_features = width;
  w.elements = Buffer(rows * width * static_cast<int64_t>(sizeof(float)));
  return w;
}

float element(const LinearWeight& w, int64_t i) {
  if (w.dtype == DType::f32) return w.elements.as<float>()[i];
  return w.dtype == DType::f16 ? to_float(w.elements.as<F16>()[i]) : to_float(w.elements.as<BF16>()[i]);
}

class FolderSource : public WeightSource {
 public:
  FolderSource(WeightLoader& loader, Quantization q) : WeightSource(q), loader_(loader) {}
  LinearWeight linear(const LinearRequest& request) override { return loader_.load_linear(request, storage); }
  FloatVector vector(const std::string& tensor, int64_t size) override {
    // The first BERT files call the weight and bias of a layer norm gamma and beta.
    if (!loader_.has(tensor))
      for (const auto& [name, old] : {std::pair{".weight", ".gamma"}, std::pair{".bias", ".beta"}})
        if (const std::string other = tensor.substr(0, tensor.rfind('.')) + old;
            tensor.ends_with(name) && loader_.has(other))
          return loader_.load_vector(other, size);
    return loader_.load_vector(tensor, size);
  }
  LinearWeight positions(const ModuleNames& names, const ModelConfig& c) override {
    const auto load = [&](std::string_view name, int64_t rows) {
      return loader_.load_table(names.global(name), rows, c.hidden, Storage::floats);
    };
    const LinearWeight of_position = load(names.of().position_embedding, c.max_positions);
    const LinearWeight of_type =
        c.token_types > 0 ? load(names.of().token_type_embedding, c.token_types) : LinearWeight();
    LinearWeight sums = float_table(c.position_rows(), c.hidden);
    for (int64_t row = 0; row < c.position_rows(); ++row)
      for (int64_t i = 0; i < c.hidden; ++i)
        sums.elements.as<float>()[row * c.hidden + i] =
            element(of_position, row % c.max_positions * c.hidden + i) +
            (c.token_types > 0 ? element(of_type, row / c.max_positions * c.hidden + i) : 0.0f);
    return sums;
  }

 private:
  WeightLoader& loader_;
};

class RandomSource : public WeightSource {
 public:
  RandomSource(Quantization q, uint64_t seed) : WeightSource(q), state_(seed | 1) {}
  LinearWeight linear(const LinearRequest& request) override {
    LinearWeight w;
    w.in_features = request.in_features, w.storage = storage;
    for (const LinearPart& part : request.parts) w.out_features += part.rows;
    if (request.bias) w.has_bias = true, w.bias_values = Buffer(w.out_features * 4, true);
    storage == Storage::int8 ? draw_codes(w) : draw_floats(w);
    return w;
  }
  FloatVector vector(const std::string& tensor, int64_t size) override {
    FloatVector v{size, Buffer(size * 4)};
    std::fill_n(v.values.as<float>(), size, tensor.ends_with(".bias") ? 0.0f : 1.0f);
    return v;
  }
  LinearWeight positions(const ModuleNames&, const ModelConfig& c) override {
    LinearWeight w = float_table(c.position_rows(), c.hidden);
    for (int64_t i = 0; i < c.position_rows() * c.hidden; ++i) w.elements.as<float>()[i] = next_float();
    return w;
  }

 private:
  static constexpr float kSigma = 0.02f;

  uint64_t next() {  // xorshift64*
    state_ ^= state_ >> 12, state_ ^= state_ << 25, state_ ^= state_ >> 27;
    return state_ * 0x2545f4914f6cdd1dull;
  }
  float next_float() {  // uniform, standard deviation kSigma
    return static_cast<float>(static_cast<int32_t>(next() >> 32)) * 0x1p-31f * kSigma * 1.7320508f;
  }
  void draw_floats(LinearWeight& w) {
    w.dtype = DType::bf16;
    w.elements = Buffer(w.out_features * w.in_features * 2);
    for (int64_t i = 0; i < w.out_features * w.in_features; ++i)
      w.elements.as<BF16>()[i] = to_bf16(next_float());
  }
  // Normal numbers are slow to draw by the billion: a bench only needs codes that look like a quantised normal row.
  void draw_codes(LinearWeight& w) {
    const int64_t n = w.out_features, k = w.in_features;
    w.dtype = DType::i8;
    w.elements = Buffer(n * int8_pitch(k), true);
    w.scales = Buffer(n * 4), w.code_sums = Buffer(n * 4);
    for (int64_t row = 0; row < n; ++row) {
      int8_t* codes = w.elements.as<int8_t>() + row * int8_pitch(k);
      int32_t sum = 0;
      for (int64_t i = 0; i < k; i += 8) {
        const uint64_t bits = next();
        for (int64_t j = 0; j < std::min<int64_t>(8, k - i); ++j) {
          const auto code = static_cast<int8_t>(static_cast<int8_t>(bits >> (8 * j)) / 2);  // [-64, 63]
          codes[i + j] = code;
          sum += code;
        }
      }
      w.scales.as<float>()[row] = kSigma / 36.8f;  // the codes' standard deviation is 36.8
      w.code_sums.as<int32_t>()[row] = sum;
    }
  }

  uint64_t state_;
};

// Hands out nothing and counts.
class PlanSource : public WeightSource {
 public:
  PlanSource(Quantization q, DType floats) : WeightSource(q), floats_(floats) {}
  MemoryPlan plan;

  void begin_section(const char* what) override {
    const std::string name = std::string("weights: ") + what;
    const auto row = std::ranges::find(plan.rows, name, &MemoryPlan::Row::what);
    section_ = static_cast<size_t>(row - plan.rows.begin());
    if (row == plan.rows.end()) plan.rows.push_back({name, 0});
  }
  LinearWeight linear(const LinearRequest& request) override {
    int64_t rows = 0;
    for (const LinearPart& part : request.parts) rows += part.rows;
    count(LinearWeight::planned_bytes(rows, request.in_features, storage, floats_, request.bias));
    return {};
  }
  FloatVector vector(const std::string&, int64_t size) override {
    count(size * static_cast<int64_t>(sizeof(float)));
    return {};
  }
  LinearWeight positions(const ModuleNames&, const ModelConfig& c) override {
    count(c.position_rows() * c.hidden * static_cast<int64_t>(sizeof(float)));
    return {};
  }

 private:
  void count(int64_t bytes) { plan.rows[section_].bytes += bytes; }
  DType floats_;
  size_t section_ = 0;
};

// Names of the file that forward() has no use for.
void ignore_unneeded(const TensorNames& names, WeightLoader& loader) {
  for (const TensorInfo* tensor : loader.files().tensors()) {
    const auto matches = [&](const auto& parts, auto test) {
      return std::ranges::any_of(parts, [&](std::string_view p) { return !p.empty() && test(p); });
    };
    if (matches(names.ignored_ends, [&](std::string_view p) { return tensor->name.ends_with(p); }) ||
        matches(names.ignored_starts, [&](std::string_view p) { return tensor->name.starts_with(p); }))
      loader.ignore(tensor->name);
  }
}

}  // namespace

void Transformer::make_weights(WeightSource& source, const ModuleNames& names) {
  const ModelConfig& c = config_;
  const TensorNames& n = names.of();
  const auto norm = [&](const std::string& module) {
    source.begin_section("norms");
    Norm made{.weight = source.vector(module + ".weight", c.hidden), .bias = {}};
    if (c.norm == NormKind::layer) made.bias = source.vector(module + ".bias", c.hidden);
    return made;
  };
  const auto product = [&](std::vector<LinearPart> parts, int64_t in_features, bool bias) {
    return source.linear(
        {.parts = std::move(parts), .in_features = in_features, .bias = bias, .transposed = n.transposed});
  };
  const auto table = [&](const std::string& module) {
    return source.linear({.parts = {{module, c.vocab}}, .in_features = c.hidden});
  };

  source.begin_section(c.tied_embeddings ? "embedding and head (tied)" : "embedding");
  embedding_ = table(names.global(n.token_embedding));
  if (c.positions == PositionKind::learned)
    source.begin_section("positions"), positions_ = source.positions(names, c);
  if (!n.embedding_norm.empty()) embedding_norm_ = norm(names.global(n.embedding_norm));
  for (int64_t l = 0; l < c.layers; ++l) {
    const auto name = [&](std::string_view module) { return names.in_layer(l, module); };
    Layer& layer = layers_.emplace_back();
    layer.attention_norm = norm(name(n.attention_norm));
    source.begin_section("attention");
    layer.qkv = product(n.qkv[1].empty() ? std::vector<LinearPart>{{name(n.qkv[0]), c.qkv_width()}}
                                         : std::vector<LinearPart>{{name(n.qkv[0]), c.q_width()},
                                                                   {name(n.qkv[1]), c.kv_width()},
                                                                   {name(n.qkv[2]), c.kv_width()}},
                        c.hidden, c.qkv_bias);
    layer.out = product({{name(n.attention_out), c.hidden}}, c.q_width(), c.attention_out_bias);
    if (c.qk_norm) {
      source.begin_section("norms");
      layer.q_norm = source.vector(name(n.q_norm) + ".weight", c.head_dim);
      layer.k_norm = source.vector(name(n.k_norm) + ".weight", c.head_dim);
    }
    layer.mlp_norm = norm(name(n.mlp_norm));
    source.begin_section("feed-forward");
    layer.mlp_in = product(
        n.mlp_in[1].empty() ? std::vector<LinearPart>{{name(n.mlp_in[0]), c.mlp_in_width()}}
                            : std::vector<LinearPart>{{name(n.mlp_in[0]), c.ffn}, {name(n.mlp_in[1]), c.ffn}},
        c.hidden, c.mlp_bias);
    layer.mlp_out = product({{name(n.mlp_out), c.hidden}}, c.ffn, c.mlp_bias);
  }
  if (!n.final_norm.empty()) final_norm_ = norm(names.global(n.final_norm));
  if (!c.encoder && !c.tied_embeddings) source.begin_section("head"), head_ = table(names.head());
}

Transformer Transformer::load(const std::string& folder, Quantization quantization, const Context& ctx,
                              const Progress& progress) {
  Transformer m;
  m.config_ = ModelConfig::load(folder);
  m.quantization_ = quantization;
  WeightLoader loader = WeightLoader::open(folder, ctx);
  if (progress) loader.on_progress(progress);
  const ModuleNames names(find_family(m.config_.architecture)->names, loader);
  ignore_unneeded(names.of(), loader);
  if (m.config_.tied_embeddings)
    loader.ignore(names.head() + ".weight");  // some writers store it a second time
  FolderSource source(loader, quantization);
  m.make_weights(source, names);
  loader.finish();
  return m;
}

Transformer Transformer::random(const ModelConfig& config, Quantization quantization, uint64_t seed) {
  Transformer m;
  m.config_ = config;
  m.quantization_ = quantization;
  RandomSource source(quantization, seed);
  m.make_weights(source, ModuleNames(find_family(config.architecture)->names));
  return m;
}

MemoryPlan Transformer::plan_weights(const ModelConfig& config, Quantization quantization) {
  Transformer m;
  m.config_ = config;
  PlanSource source(quantization, config.float_dtype());
  m.make_weights(source, ModuleNames(find_family(config.architecture)->names));
  return source.plan;
}

}  // namespace octavo
