// What octavo_gpu_bench times: cases of the ops by their own builders.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "harness/op_case.h"

namespace octavo::bench {

struct BenchCase {
  std::string op, name, dtype;
  harness::OpCase op_case;
  bool dependent = false;            // a graph of 100 nodes on one set of data instead of rotating sets
  int swap_from = -1, swap_to = -1;  // dependent: arguments that change places between nodes
};
std::vector<BenchCase> bench_cases();

}  // namespace octavo::bench
