// Cases of gemm_w8a8 for a GPU: the CPU's, every M around the small tiles, and every plan of the Hopper kernels by force.
#pragma once
#include <vector>

#include "harness/op_case.h"

namespace octavo::gpu {

std::vector<harness::OpCase> gemm_w8a8_on_gpu();

}  // namespace octavo::gpu
