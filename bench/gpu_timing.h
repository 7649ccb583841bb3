// Time of one call inside a replayed CUDA graph of many, its inputs rotated so that none is in L2.
#pragma once
#include <functional>

#include "cuda/device.h"

namespace octavo::bench {

struct Times {
  double p20 = 0, p50 = 0, p80 = 0;  // ms of one call
};

// Captures call(i) for i in [0, calls), replays it, divides by calls. Dependent or independent is up to the calls.
Times time_graph(const cuda::Stream& stream, int calls, const std::function<void(int)>& call,
                 double budget_ms = 120);

// Sets of data needed so that together they are at least four times the L2 (and at least two).
int sets_beyond_l2(int64_t bytes_of_a_set, const DeviceFacts& facts);

}  // namespace octavo::bench
