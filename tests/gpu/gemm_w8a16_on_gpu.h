// Cases of gemm_w8a16 for a GPU: the CPU's, every M up to 17, and every plan by force.
#pragma once
#include <vector>

#include "harness/op_case.h"

namespace octavo::gpu {

std::vector<harness::OpCase> gemm_w8a16_on_gpu();

}  // namespace octavo::gpu
