// The specification of sample: sorts the whole vocabulary.
#pragma once
#include "ops/sample/sample.h"

namespace octavo {

struct SampleRefMemory {
  struct Token {
    uint64_t weight;
    float logit;
    int32_t id;
  };
  Token* tokens;  // [V]
  uint8_t* seen;  // [V] bytes
};

// The id for checked arguments, or -1 when no token can be chosen (a NaN, or all logits -inf).
int32_t sample_ref(const SampleArgs& args, const SampleRefMemory& memory);

}  // namespace octavo
