// Every op that has CUDA kernels, with its cases: what octavo_verify runs.
#pragma once
#include <string>
#include <vector>

#include "harness/op_case.h"

namespace octavo::gpu {

struct OpEntry {
  std::string name;
  std::vector<harness::OpCase> (*cases)();
};
const std::vector<OpEntry>& all_ops();

}  // namespace octavo::gpu
