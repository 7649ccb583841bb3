// Scratch of the forward pass. Sub-layers share what is never alive together.
#pragma once
#include <array>

#include "model/transformer.h"

namespace octavo {

enum Slot {
  kStream,
  kDelta,
  kBranch,  // the attention's output where attention and MLP lie beside each other
  kHidden,
  kQkv,
  kAttended,
  kMlpIn,
  kMlp,
  kCodes,
  kScales,
  kPositionRows,
  kLogits,
  kWorkspace,
  kSlots
};

// Bytes of every slot for up to max_tokens new tokens a call.
std::array<int64_t, kSlots> slot_bytes(const ModelConfig& config, Quantization quantization,
                                       const Context& ctx, int64_t max_tokens, int64_t max_logit_rows,
                                       const KvCacheShape& cache);

}  // namespace octavo
