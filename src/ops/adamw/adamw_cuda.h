// The CUDA side of adamw: one launch for all tensors of one pair of types, then one that counts the step.
#pragma once
#include "ops/adamw/adamw.h"

namespace octavo {

void adamw_multi_tensor(const Context& ctx, const AdamWArgs& args);

}  // namespace octavo
