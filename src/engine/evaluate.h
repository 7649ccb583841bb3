// What a quantised model loses against the same model unquantised, in one pass over a text, both side by
// side: no logits are stored (for 128k words they would be gigabytes).
#pragma once
#include <cstdint>
#include <functional>
#include <span>

#include "engine/engine.h"

namespace octavo {

struct Evaluation {
  int64_t tokens = 0;  // predictions compared
  int64_t windows = 0;
  double perplexity_reference = 0, perplexity = 0;
  double mean_kl = 0, p99_kl = 0, max_kl = 0;  // nats, KL(reference || candidate)
  double top1_agreement = 0;  // share of predictions with the same most likely token (ties: lowest id)
  double seconds_reference = 0, seconds = 0;
};

struct EvaluateOptions {
  int64_t window = 0;      // tokens of a window, the start token included; 0: the engines' context
  int64_t max_tokens = 0;  // 0: the whole text
};

// log p(target) by logits f32 [n].
double token_log_probability(const float* logits, int64_t n, int32_t target);

// `ids`: the text without a start token. It is cut into windows; each starts with `start` (absent: none) and
// is teacher-forced through both engines, every token after the window's first being predicted. Both engines
// need logit_rows >= prefill_chunk.
Evaluation evaluate(Engine& reference, Engine& candidate, std::span<const int32_t> ids,
                    std::optional<int32_t> start, const EvaluateOptions& options,
                    const std::function<void(int64_t done, int64_t total)>& progress = {});

}  // namespace octavo
