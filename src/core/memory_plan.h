// The bytes table that `octavo plan` prints, computed by the same functions that allocate when the model runs.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace octavo {

struct MemoryPlan {
  struct Row {
    std::string what;
    int64_t bytes = 0;
  };
  std::vector<Row> rows;
  int64_t total() const {
    int64_t sum = 0;
    for (const Row& r : rows) sum += r.bytes;
    return sum;
  }
};

}  // namespace octavo
