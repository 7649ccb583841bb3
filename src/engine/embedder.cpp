#include "engine/embedder.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "formats/json_file.h"

namespace octavo {
namespace {

namespace fs = std::filesystem;

// sentence-transformers keeps what follows the encoder in modules.json.
void check_modules(const fs::path& folder) {
  const fs::path path = folder / "modules.json";
  if (!fs::exists(path)) return;
  for (const auto& module : read_json_file(path)) {
    const bool typed = module.is_object() && module.contains("type") && module["type"].is_string();
    const std::string type = typed ? module["type"].get<std::string>() : "";
    const std::string name = type.substr(type.rfind('.') + 1);  // "sentence_transformers.models.Pooling"
    if (name != "Transformer" && name != "Pooling" && name != "Normalize")
      throw Error(
          ErrorKind::bad_model,
          fmt::format("{}: module \"{}\" is unknown to octavo; known are Transformer, Pooling, Normalize",
                      path.string(), type));
  }
}

Pooling read_pooling(const fs::path& folder) {
  const fs::path path = folder / "1_Pooling" / "config.json";
  if (!fs::exists(path)) return Pooling::mean;
  const ConfigObject config = ConfigObject::read(path);
  std::vector<std::string> modes;  // pooling_mode_cls_token: true, pooling_mode_mean_tokens: true, ...
  for (const std::string& key : config.keys())
    if (key.starts_with("pooling_mode_") && config.boolean_or(key, false)) modes.push_back(key);
  const std::string mode = modes.empty() ? config.string_or("pooling_mode", "") : modes.front();
  if (modes.size() <= 1 && (mode == "pooling_mode_mean_tokens" || mode == "mean")) return Pooling::mean;
  if (modes.size() <= 1 && (mode == "pooling_mode_cls_token" || mode == "cls")) return Pooling::cls;
  config.fail(mode.empty() ? "pooling_mode" : mode,
              "mean or cls pooling, and no other; choose one with --pooling");
}

// Tokens of a text that the folder asks for at most.
int64_t read_max_tokens(const fs::path& folder, int64_t otherwise) {
  const fs::path path = folder / "sentence_bert_config.json";
  return fs::exists(path) ? ConfigObject::read(path).integer_or("max_seq_length", otherwise) : otherwise;
}

int threads_of(const EngineOptions& o) { return o.threads > 0 ? o.threads : std::max(1, cpu_facts().cores); }

void expect_encoder(const ModelConfig& config) {
  if (!config.encoder)
    throw Error(ErrorKind::bad_model,
                fmt::format("{} is no encoder, so that it has no vectors of texts; octavo "
                            "embed serves BertModel and its kin",
                            config.architecture));
}

}  // namespace

Pooling parse_pooling(const std::string& name) {
  if (name == "mean") return Pooling::mean;
  if (name == "cls") return Pooling::cls;
  throw Error(ErrorKind::usage, fmt::format("--pooling {}: unknown; known are mean, cls", name));
}

Embedder::Embedder(Transformer model, const EmbedderOptions& options)
    : model_(std::move(model)), options_(options) {
  const ModelConfig& c = model_.config();
  expect_encoder(c);
  if (!options_.pooling) options_.pooling = Pooling::mean;
  capacity_ = max_tokens_ = Engine::choose_context(c, options.engine);
  pool_ = std::make_unique<ThreadPool>(threads_of(options.engine));
  Context ctx;
  ctx.isa = options.engine.isa, ctx.pool = pool_.get();
  model_.reserve(ctx, capacity_, 0, Engine::cache_shape(c, options.engine, capacity_));
}

Embedder Embedder::load(const std::string& folder, const EmbedderOptions& options,
                        const Transformer::Progress& progress) {
  const ModelConfig config = ModelConfig::load(folder);
  expect_encoder(config);
  Engine::choose_context(config, options.engine);  // refuses what does not fit before anything is read
  check_modules(folder);
  EmbedderOptions chosen = options;
  if (!chosen.pooling) chosen.pooling = read_pooling(folder);
  Tokenizer tokenizer = load_tokenizer(folder, options.engine.tokenizer);
  if (tokenizer.vocab_size() > config.vocab)
    throw Error(ErrorKind::bad_model,
                fmt::format("{}: the tokenizer has {} tokens, the embedding only {} rows (config.json: "
                            "vocab_size)",
                            folder, tokenizer.vocab_size(), config.vocab));
  ThreadPool loading_pool(threads_of(options.engine));
  Context ctx;
  ctx.isa = options.engine.isa, ctx.pool = &loading_pool;
  Embedder embedder(Transformer::load(folder, options.engine.quantization, ctx, progress), chosen);
  embedder.tokenizer_ = std::move(tokenizer);
  if (options.engine.context == 0)
    embedder.max_tokens_ = std::min(embedder.capacity_, read_max_tokens(folder, embedder.capacity_));
  return embedder;
}

std::vector<int32_t> Embedder::encode(const std::string& text, size_t index) {
  std::vector<int32_t> ids = tokenizer_->encode(text);
  tokens_seen_ += static_cast<int64_t>(ids.size());
  if (static_cast<int64_t>(ids.size()) <= max_tokens_) return ids;
  if (!options_.truncate)
    throw Error(ErrorKind::usage,
                fmt::format("text {} has {} tokens, the model takes {}; shorten it, or cut it with "
                            "--truncate",
                            index + 1, ids.size(), max_tokens_));
  tokens_seen_ -= static_cast<int64_t>(ids.size()) - max_tokens_;
  ++texts_cut_;
  const int32_t last = ids.back();
  ids.resize(static_cast<size_t>(max_tokens_));
  if (tokenizer_->is_special(last)) ids.back() = last;  // the text is cut, not its end token
  return ids;
}

std::vector<std::vector<float>> Embedder::embed(const std::vector<std::string>& texts,
                                                const std::function<void(int64_t)>& progress) {
  std::vector<std::vector<int32_t>> ids;
  for (size_t i = 0; i < texts.size(); ++i) ids.push_back(encode(texts[i], i));
  return embed_ids(ids, progress);
}

std::vector<std::vector<float>> Embedder::embed_ids(const std::vector<std::vector<int32_t>>& texts,
                                                    const std::function<void(int64_t)>& progress) {
  for (size_t i = 0; i < texts.size(); ++i) {
    const auto n = static_cast<int64_t>(texts[i].size());
    if (n == 0 || n > max_tokens_)
      throw Error(ErrorKind::usage, fmt::format("text {} has {} tokens, expected 1 to {}", i + 1,
                                                texts[i].size(), max_tokens_));
  }
  Context ctx;
  ctx.isa = options_.engine.isa, ctx.pool = pool_.get();
  std::vector<std::vector<float>> vectors;
  while (vectors.size() < texts.size()) {
    std::vector<int32_t> ids, positions, q_start = {0};
    for (size_t i = vectors.size(); i < texts.size(); ++i) {  // as many texts as fit one call
      if (static_cast<int64_t>(ids.size() + texts[i].size()) > capacity_) break;
      for (size_t p = 0; p < texts[i].size(); ++p) positions.push_back(static_cast<int32_t>(p));
      ids.insert(ids.end(), texts[i].begin(), texts[i].end());
      q_start.push_back(static_cast<int32_t>(ids.size()));
    }
    const ConstTensor hidden = model_.encode(ctx, {.ids = ids, .positions = positions, .q_start = q_start});
    for (size_t b = 0; b + 1 < q_start.size(); ++b)
      vectors.push_back(pool(hidden.as<float>() + q_start[b] * width(), q_start[b + 1] - q_start[b]));
    if (progress) progress(static_cast<int64_t>(vectors.size()));
  }
  return vectors;
}

// hidden: [tokens, width].
std::vector<float> Embedder::pool(const float* hidden, int64_t tokens) const {
  const int64_t rows = options_.pooling == Pooling::cls ? 1 : tokens;
  std::vector<double> sum(static_cast<size_t>(width()), 0.0);
  for (int64_t t = 0; t < rows; ++t)
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += hidden[t * width() + static_cast<int64_t>(i)];
  double squares = 0;
  for (double& value : sum) value /= static_cast<double>(rows), squares += value * value;
  const double length = options_.normalize ? std::max(std::sqrt(squares), 1e-12) : 1.0;
  std::vector<float> vector;
  for (const double value : sum) vector.push_back(static_cast<float>(value / length));
  return vector;
}

}  // namespace octavo
