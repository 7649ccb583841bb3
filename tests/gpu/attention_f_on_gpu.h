// The cases of attention_f on a GPU: the CPU's, and what the tensor-core kernels add to them.
#pragma once
#include "harness/op_case.h"

namespace octavo::gpu {

std::vector<harness::OpCase> attention_f_on_gpu();

}  // namespace octavo::gpu
