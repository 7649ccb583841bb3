// Texts to vectors with an encoder (BERT and the sentence encoders made of it): the pooled last hidden states, as
// sentence-transformers makes them.
#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/engine.h"

namespace octavo {

enum class Pooling { mean, cls };                // the mean over all tokens; the first token
Pooling parse_pooling(const std::string& name);  // mean | cls; throws usage

struct EmbedderOptions {
  EngineOptions engine;  // quantization, threads, isa, memory_budget; context: tokens of a text at most
  std::optional<Pooling> pooling;  // absent: what the folder says (1_Pooling/config.json), else mean
  bool normalize = true;           // to length 1
  bool truncate = false;           // cut a text that is too long; else it is an error
};

class Embedder {
 public:
  // Throws Error: bad_model (also for a model that is no encoder), out_of_memory, no_device, usage.
  static Embedder load(const std::string& folder, const EmbedderOptions& options,
                       const Transformer::Progress& progress = {});
  // Around a model that is already in memory; no tokenizer, so only embed_ids() works.
  Embedder(Transformer model, const EmbedderOptions& options);

  // One vector [width] for each text, in order; several texts share a forward call. `progress`: texts done.
  // Throws Error(usage) naming a text that is too long or has no tokens.
  std::vector<std::vector<float>> embed(const std::vector<std::string>& texts,
                                        const std::function<void(int64_t)>& progress = {});
  // The same of token ids, special tokens included; none may be empty or longer than max_tokens().
  std::vector<std::vector<float>> embed_ids(const std::vector<std::vector<int32_t>>& texts,
                                            const std::function<void(int64_t)>& progress = {});

  const Transformer& model() const { return model_; }
  int64_t width() const { return model_.config().hidden; }
  int64_t max_tokens() const { return max_tokens_; }    // of a text
  int64_t tokens_seen() const { return tokens_seen_; }  // by embed() so far
  int64_t texts_cut() const { return texts_cut_; }
  const EmbedderOptions& options() const { return options_; }

 private:
  std::vector<int32_t> encode(const std::string& text, size_t index);
  std::vector<float> pool(const float* hidden, int64_t tokens) const;

  Transformer model_;
  EmbedderOptions options_;
  std::optional<Tokenizer> tokenizer_;
  std::unique_ptr<ThreadPool> pool_;
  int64_t capacity_ = 0, max_tokens_ = 0, tokens_seen_ = 0,
          texts_cut_ = 0;  // capacity_: tokens of a forward call
};

}  // namespace octavo
