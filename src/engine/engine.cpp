#include "engine/engine.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <numeric>

#include "engine/stop_strings.h"
#include "tokenizer/gguf_tokenizer.h"

namespace octavo {
namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

int threads_of(const EngineOptions& o) { return o.threads > 0 ? o.threads : std::max(1, cpu_facts().cores); }

MemoryPlan plan_for_context(const ModelConfig& config, const EngineOptions& options, int64_t context) {
  MemoryPlan plan = Transformer::plan_weights(config, options.quantization);
  const KvCacheShape cache = Engine::cache_shape(config, options, context);
  plan.rows.push_back(
      {fmt::format("KV cache: {} tokens in {}", context, name_of(cache.dtype)), cache.code_bytes()});
  if (cache.scale_bytes() > 0) plan.rows.push_back({"KV cache: scales", cache.scale_bytes()});
  Context ctx;
  ctx.isa = options.isa;
  ThreadPool pool(threads_of(options));
  ctx.pool = &pool;
  // An encoder takes a text at once, and makes no logits.
  const int64_t chunk = config.encoder ? context : std::min(options.prefill_chunk, context);
  const int64_t logit_rows = config.encoder ? 0 : options.logit_rows;
  for (auto& row :
       Transformer::plan_activations(config, options.quantization, ctx, chunk, logit_rows, cache).rows)
    plan.rows.push_back(std::move(row));
  return plan;
}

// A decoder that has seen the prompt, so that the answer's first token keeps its leading space (SentencePiece
// drops it only at the start of a text).
StreamDecoder decoder_after(const Tokenizer& tokenizer, std::span<const int32_t> prompt) {
  StreamDecoder decoder(tokenizer);
  for (int32_t id : prompt) decoder.push(id);
  return decoder;
}

}  // namespace

Tokenizer load_tokenizer(const std::string& model, const std::string& instead) {
  const std::string& path = instead.empty() ? model : instead;
  return is_gguf(path) ? load_gguf_tokenizer(GgufFile::open(path)) : Tokenizer::load(path);
}

const char* name_of(FinishReason r) {
  switch (r) {
    case FinishReason::end_of_text: return "end of text";
    case FinishReason::stop_string: return "stop string";
    case FinishReason::max_tokens: return "token limit";
    case FinishReason::context_full: return "context full";
    default: return "cancelled";
  }
}

KvCacheShape Engine::cache_shape(const ModelConfig& c, const EngineOptions& o, int64_t context) {
  KvCacheShape shape;
  shape.dtype = c.encoder
                    ? DType::f32
                    : o.kv_dtype.value_or(o.quantization == Quantization::none ? DType::f32 : DType::f16);
  shape.layers = c.encoder ? 0 : c.layers, shape.kv_heads = c.kv_heads, shape.head_dim = c.head_dim;
  shape.tokens = context;
  return shape;
}

int64_t Engine::choose_context(const ModelConfig& config, const EngineOptions& options) {
  if (options.context > config.max_positions)
    throw Error(ErrorKind::usage,
                fmt::format("-c {}: the model was trained for a context of {} tokens; ask for at most that",
                            options.context, config.max_positions));
  const int64_t wanted =
      options.context > 0 ? options.context : std::min(config.max_positions, EngineOptions::kDefaultContext);
  const auto total = [&](int64_t context) { return plan_for_context(config, options, context).total(); };
  if (options.memory_budget <= 0 || total(wanted) <= options.memory_budget) return wanted;
  const int64_t least = std::min(wanted, EngineOptions::kLeastContext);
  if (options.context > 0 || total(least) > options.memory_budget)
    throw Error(ErrorKind::out_of_memory,
                fmt::format("--memory-budget {} bytes: the model needs {} bytes with a context of {} tokens "
                            "and {} with {}; raise the "
                            "budget, lower -c, or use --kv-cache-dtype int8",
                            options.memory_budget, total(wanted), wanted, total(least), least));
  int64_t fits = least, too_large = wanted;
  while (too_large - fits > KvView::kPageTokens) {
    const int64_t middle = (fits + too_large) / 2;
    (total(middle) <= options.memory_budget ? fits : too_large) = middle;
  }
  return fits;
}

MemoryPlan Engine::plan(const ModelConfig& config, const EngineOptions& options) {
  return plan_for_context(config, options, choose_context(config, options));
}

Engine::Engine(Transformer model, const EngineOptions& options)
    : model_(std::move(model)), options_(options) {
  const ModelConfig& c = model_.config();
  options_.context = choose_context(c, options);
  options_.prefill_chunk = std::min(options.prefill_chunk, options_.context);
  const KvCacheShape shape = cache_shape(c, options, options_.context);
  options_.kv_dtype = shape.dtype;
  options_.threads = threads_of(options);
  pool_ = std::make_unique<ThreadPool>(options_.threads);
  cache_ = KvCache(shape);
  model_.reserve(context(), options_.prefill_chunk, options_.logit_rows, shape);
}

Engine Engine::load(const std::string& folder, const EngineOptions& options, const Progress& progress) {
  if (!std::filesystem::is_directory(folder) && !is_gguf(folder))
    throw Error(ErrorKind::bad_model,
                fmt::format("{}: no such model folder; give a Hugging Face folder with config.json and "
                            "*.safetensors, or a .gguf file",
                            folder));
  const ModelConfig config = ModelConfig::load(folder);
  if (config.encoder)
    throw Error(ErrorKind::bad_model,
                fmt::format("{}: {} is an encoder and generates no text; octavo embed makes "
                            "vectors with it",
                            folder, config.architecture));
  choose_context(config, options);  // refuses what does not fit before anything is read
  Tokenizer tokenizer = load_tokenizer(folder, options.tokenizer);
  if (tokenizer.vocab_size() > config.vocab)
    throw Error(ErrorKind::bad_model,
                fmt::format("{}: the tokenizer has {} tokens, the embedding only {} rows (config.json: "
                            "vocab_size)",
                            folder, tokenizer.vocab_size(), config.vocab));
  const GenerationDefaults defaults = GenerationDefaults::load(folder);
  ThreadPool loading_pool(threads_of(options));
  Context ctx;
  ctx.isa = options.isa, ctx.pool = &loading_pool;
  Engine engine(Transformer::load(folder, options.quantization, ctx, progress), options);
  engine.end_ids_ = config.eos_ids;
  engine.end_ids_.insert(engine.end_ids_.end(), defaults.eos_ids.begin(), defaults.eos_ids.end());
  if (engine.end_ids_.empty() && tokenizer.eos_id()) engine.end_ids_.push_back(*tokenizer.eos_id());
  engine.tokenizer_ = std::move(tokenizer);
  return engine;
}

Context Engine::context() const {
  Context ctx;
  ctx.isa = options_.isa;
  ctx.pool = pool_.get();
  return ctx;
}

bool Engine::ends_text(int32_t id) const {
  return std::find(end_ids_.begin(), end_ids_.end(), id) != end_ids_.end();
}

std::vector<int32_t> Engine::encode(std::string_view text) const {
  std::vector<int32_t> ids = tokenizer_->encode(text);
  // A tokenizer without a post-processor adds nothing; the model still expects its start token.
  if (ids.empty() && model_.config().bos_id) ids.push_back(*model_.config().bos_id);
  return ids;
}

void Engine::check_ids(std::span<const int32_t> ids) const {
  for (int32_t id : ids)
    if (id < 0 || id >= model_.config().vocab)
      throw Error(ErrorKind::usage, fmt::format("token id {} is outside the vocabulary of {} tokens", id,
                                                model_.config().vocab));
}

ConstTensor Engine::feed(std::span<const int32_t> ids, Phase phase, int64_t last_rows) {
  check_ids(ids);
  const auto total = static_cast<int64_t>(ids.size());
  if (length() + total > options_.context)
    throw Error(
        ErrorKind::usage,
        fmt::format("{} tokens after {} exceed the context of {} tokens; shorten the prompt or raise -c "
                    "(the model allows {})",
                    total, length(), options_.context, model_.config().max_positions));
  ConstTensor logits;
  for (int64_t done = 0; done < total;) {
    const int64_t n = std::min(options_.prefill_chunk, total - done);
    std::vector<int32_t> positions(static_cast<size_t>(n)), sequences(static_cast<size_t>(n), 0);
    std::iota(positions.begin(), positions.end(), static_cast<int32_t>(length()));
    const int32_t q_start[2] = {0, static_cast<int32_t>(n)}, kv_len[1] = {static_cast<int32_t>(length() + n)};
    Batch batch;
    batch.ids = ids.subspan(static_cast<size_t>(done), static_cast<size_t>(n));
    batch.positions = positions, batch.sequences = sequences, batch.q_start = q_start, batch.kv_len = kv_len;
    batch.phase = phase;
    batch.first_logit_row = n - std::min(n, done + n == total ? last_rows : 1);
    logits = model_.forward(context(), batch, cache_);
    sequence_.insert(sequence_.end(), batch.ids.begin(), batch.ids.end());
    done += n;
  }
  return logits;
}

int64_t Engine::rewind_to_common_prefix(std::span<const int32_t> prompt) {
  const size_t most = std::min(sequence_.size(), prompt.size() - 1);
  size_t kept = 0;
  while (kept < most && sequence_[kept] == prompt[kept]) ++kept;
  sequence_.resize(kept);
  return static_cast<int64_t>(kept);
}

Generation Engine::generate(std::span<const int32_t> prompt, const GenerateOptions& options,
                            const std::function<bool(std::string_view)>& on_text) {
  if (prompt.empty())
    throw Error(ErrorKind::usage, "the prompt has no tokens and the model no start token; give a prompt");
  const auto prompt_tokens = static_cast<int64_t>(prompt.size());
  if (prompt_tokens >= options_.context)
    throw Error(
        ErrorKind::usage,
        fmt::format("the prompt has {} tokens, the context {}: no room for an answer; shorten the prompt or "
                    "raise -c (the model allows {})",
                    prompt_tokens, options_.context, model_.config().max_positions));
  Generation result;
  result.timings.prompt_tokens = prompt_tokens;
  std::vector<int32_t> history(prompt.begin(), prompt.end());
  StreamDecoder decoder = decoder_after(*tokenizer_, prompt);
  StopStrings stops(options.stop);
  bool cancelled = false;
  const auto show = [&](const std::string& piece) {
    result.text += piece;
    if (!piece.empty() && on_text && !on_text(piece)) cancelled = true;
  };

  Context ctx = context();
  SampleArgs sampling;
  sampling.options = options.sampling, sampling.seed = options.seed;
  sampling.logits = ConstTensor(nullptr, DType::f32, {model_.config().vocab});
  Buffer workspace(sample_workspace_bytes(ctx, sampling));
  ctx.workspace = Tensor(workspace.data(), DType::u8, {workspace.bytes()});

  const int64_t limit = options.max_tokens < 0 ? options_.context : options.max_tokens;
  if (!options.reuse_prefix) restart();
  const int64_t kept = rewind_to_common_prefix(prompt);
  result.timings.reused_tokens = kept;
  const auto prefill_start = std::chrono::steady_clock::now();
  ConstTensor logits = feed(prompt.subspan(static_cast<size_t>(kept)), Phase::prefill, 1);
  result.timings.prefill_s = seconds_since(prefill_start);
  const auto decode_start = std::chrono::steady_clock::now();
  result.finish = FinishReason::max_tokens;
  while (static_cast<int64_t>(result.ids.size()) < limit) {
    int32_t id = 0;
    sampling.logits = ConstTensor(logits.data(), DType::f32, {model_.config().vocab});
    sampling.history = ConstTensor::of(history.data(), {static_cast<int64_t>(history.size())});
    sampling.step = result.ids.size();
    sampling.id = Tensor::of(&id, {1});
    sample(ctx, sampling);
    if (ends_text(id) && !options.ignore_eos) {
      result.finish = FinishReason::end_of_text;
      break;
    }
    result.ids.push_back(id), history.push_back(id);
    show(stops.push(decoder.push(id)));
    if (cancelled || stops.stopped()) {
      result.finish = cancelled ? FinishReason::cancelled : FinishReason::stop_string;
      break;
    }
    if (static_cast<int64_t>(result.ids.size()) == limit) break;
    if (length() == options_.context) {
      result.finish = FinishReason::context_full;
      break;
    }
    logits = feed(std::span(&id, 1), Phase::decode, 1);
  }
  result.timings.decode_s = seconds_since(decode_start);
  result.timings.generated_tokens = static_cast<int64_t>(result.ids.size());
  if (result.finish != FinishReason::stop_string && result.finish != FinishReason::cancelled) {
    show(stops.push(decoder.finish()));
    if (!stops.stopped()) show(stops.finish());
  }
  return result;
}

}  // namespace octavo
