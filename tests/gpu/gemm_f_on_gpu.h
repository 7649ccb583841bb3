// gemm_f's cases on a GPU: each with a workspace, a few without, and the simple kernel where cuBLASLt would be chosen.
#pragma once
#include <vector>

#include "harness/op_case.h"

namespace octavo::gpu {

std::vector<harness::OpCase> gemm_f_on_gpu();

}  // namespace octavo::gpu
