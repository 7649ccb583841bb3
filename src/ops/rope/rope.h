// Rotary position embedding (Su et al., arXiv 2104.09864) of the first rotary_dim elements of every head:
//   (a, b) -> (a cos - b sin, b cos + a sin) * attention_factor, angle = position * inv_freq[i], cos and sin in fp32
// half_split pairs element i with i + rotary_dim/2 (Hugging Face Llama), interleaved pairs 2i with 2i+1 (GPT-J, llama2.c).
#pragma once
#include "core/context.h"

namespace octavo {

enum class RopeStyle { half_split, interleaved };

struct RopeArgs {
  ConstTensor x;          // [T, H, D] f32 | f16 | bf16; any token and head stride, unit stride in D
  Tensor out;             // [T, H, D], x's dtype; may be x's memory
  ConstTensor positions;  // [T] i32
  ConstTensor inv_freq;   // [rotary_dim / 2] f32, frequency scaling (llama3, yarn, ...) already applied
  RopeStyle style = RopeStyle::half_split;
  float attention_factor = 1.0f;  // yarn's mscale
};

void rope(const Context& ctx, const RopeArgs& args);
KernelInfo rope_variant(const Context& ctx, const RopeArgs& args);

}  // namespace octavo
