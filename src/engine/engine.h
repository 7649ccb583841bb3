// A model, its tokenizer and one sequence: prompt in chunks, decode token by token, text out as it comes.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/context.h"
#include "core/memory_plan.h"
#include "core/thread_pool.h"
#include "model/transformer.h"
#include "ops/sample/sample.h"
#include "tokenizer/tokenizer.h"

namespace octavo {

struct EngineOptions {
  Quantization quantization = Quantization::auto_;
  std::optional<DType> kv_dtype;  // f32 | f16 | i8; absent: f32 for unquantised weights, else f16
  int64_t context = 0;            // tokens; 0: the model's, at most kDefaultContext
  int64_t prefill_chunk = 256;    // tokens a forward call takes at most
  int64_t logit_rows = 1;         // rows of logits a forward call may be asked for (eval wants more than one)
  int threads = 0;                // 0: one per core
  Isa isa = best_isa();
  std::string tokenizer;      // folder or file to take the tokenizer from; empty: the model's own
  int64_t memory_budget = 0;  // bytes of the plan's total; 0: no limit. The context shrinks to fit; less than
                              // kLeastContext tokens left is Error(out_of_memory) with the table's total

  static constexpr int64_t kDefaultContext = 8192, kLeastContext = 128;
};

struct GenerateOptions {
  int64_t max_tokens = 128;  // < 0: until the end of text or the context
  SamplingOptions sampling;
  uint64_t seed = 0;
  std::vector<std::string> stop;
  bool ignore_eos = false;
  // Keep the KV cache of the tokens that the prompt shares with the sequence before it (a chat's earlier turns). An
  // earlier answer then stays as decode computed it, which may differ in the last bits from computing it as a prompt.
  bool reuse_prefix = false;
};

enum class FinishReason { end_of_text, stop_string, max_tokens, context_full, cancelled };
const char* name_of(FinishReason r);

struct Timings {
  int64_t prompt_tokens = 0, generated_tokens = 0;
  int64_t reused_tokens = 0;  // of the prompt, found in the KV cache
  double prefill_s = 0,
         decode_s = 0;  // decode_s spans generated_tokens - 1 steps: the first token comes from prefill
  double prefill_tokens_per_s() const {
    return prefill_s > 0 ? static_cast<double>(prompt_tokens - reused_tokens) / prefill_s : 0;
  }
  double decode_tokens_per_s() const {
    return decode_s > 0 ? static_cast<double>(generated_tokens - 1) / decode_s : 0;
  }
};

struct Generation {
  std::string text;
  std::vector<int32_t> ids;
  FinishReason finish = FinishReason::max_tokens;
  Timings timings;
};

// A model's tokenizer: of a folder, a tokenizer.json or a .gguf file; `instead`, when given, in its place.
Tokenizer load_tokenizer(const std::string& model, const std::string& instead = {});

class Engine {
 public:
  using Progress = Transformer::Progress;
  // `folder`: a Hugging Face folder or a .gguf file. Throws Error: bad_model, out_of_memory (budget), no_device (isa),
  // usage.
  static Engine load(const std::string& folder, const EngineOptions& options, const Progress& progress = {});
  // Around a model that is already in memory; no tokenizer, so only feed() works.
  Engine(Transformer model, const EngineOptions& options);
  Engine(Engine&&) = default;

  // What load() will allocate, from config.json alone.
  static MemoryPlan plan(const ModelConfig& config, const EngineOptions& options);
  // The context that load() will choose: `-c`, the model's, or what the memory budget leaves.
  static int64_t choose_context(const ModelConfig& config, const EngineOptions& options);
  // The KV cache for a context of that many tokens; without layers for an encoder, which has none.
  static KvCacheShape cache_shape(const ModelConfig& config, const EngineOptions& options, int64_t context);

  // on_text gets pieces of valid UTF-8 as they become final; returning false cancels. Starts a new sequence.
  Generation generate(std::span<const int32_t> prompt, const GenerateOptions& options,
                      const std::function<bool(std::string_view)>& on_text = {});
  std::vector<int32_t> encode(
      std::string_view text) const;  // with the special tokens that the tokenizer adds

  // Lower level: appends ids to the sequence and returns logits f32 [last_rows, vocab] of its last rows,
  // valid until the next call. Ids are taken in chunks of prefill_chunk; only the last chunk's rows can be
  // asked for.
  ConstTensor feed(std::span<const int32_t> ids, Phase phase, int64_t last_rows);
  void restart() { sequence_.clear(); }
  int64_t length() const { return static_cast<int64_t>(sequence_.size()); }  // tokens in the sequence

  const Transformer& model() const { return model_; }
  const Tokenizer& tokenizer() const { return *tokenizer_; }
  const EngineOptions& options() const { return options_; }  // with context and kv_dtype filled in
  const KvCacheShape& cache_shape() const { return cache_.shape(); }
  ThreadPool& pool() { return *pool_; }
  Context context() const;
  // From now on `observer` sees the inputs of linear layers (weights/linear.h); null: nobody.
  void observe(LinearObserver* observer) { model_.observe(observer); }
  bool ends_text(int32_t id) const;

 private:
  void check_ids(std::span<const int32_t> ids) const;
  // Forgets what comes behind the tokens that `prompt` begins with, all but its last; returns how many are kept.
  int64_t rewind_to_common_prefix(std::span<const int32_t> prompt);
  Transformer model_;
  EngineOptions options_;
  std::optional<Tokenizer> tokenizer_;
  std::vector<int32_t> end_ids_;
  std::unique_ptr<ThreadPool> pool_;
  KvCache cache_;
  std::vector<int32_t> sequence_;  // the tokens in the KV cache
};

}  // namespace octavo
