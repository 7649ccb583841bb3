// Chooses the next token of one sequence from its logits. Order: repetition penalty, temperature, top-k, top-p, min-p
// (as Hugging Face's logits processors, min-p on the temperature-scaled distribution). temperature 0 is greedy.
// Ties go to the lowest id, everywhere: the same seed gives the same text on every backend and instruction set
// whose logits agree. NaN logits are an error (CPU).
#pragma once
#include <cstdint>

#include "core/context.h"

namespace octavo {

struct SamplingOptions {
  float temperature = 1.0f;         // >= 0
  int top_k = 0;                    // 0: off
  float top_p = 1.0f;               // (0, 1]; 1: off
  float min_p = 0.0f;               // [0, 1]; 0: off
  float repetition_penalty = 1.0f;  // > 0; 1: off (Keskar et al., arXiv 1909.05858)
};

struct SampleArgs {
  ConstTensor logits;   // [V] f32 | f16 | bf16
  ConstTensor history;  // optional: [L] i32 ids that the repetition penalty looks at
  SamplingOptions options;
  uint64_t seed = 0;  // with `step`: the counter-based random draw (one uniform number a token)
  uint64_t step = 0;  // index of the token in its sequence
  Tensor id;          // [1] i32
};

int64_t sample_workspace_bytes(const Context& ctx, const SampleArgs& args);
void sample(const Context& ctx, const SampleArgs& args);
KernelInfo sample_variant(const Context& ctx, const SampleArgs& args);

}  // namespace octavo
