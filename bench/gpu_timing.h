// How a GPU bench takes its times: inside a replayed CUDA graph of many calls, their inputs rotated so that none is in L2;
// and for matrix-bound work in bursts and sustained (docs/benchmarking.md).
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

// Mean ms of `calls` calls between two events.
double between_events(const cuda::Stream& stream, int calls, const std::function<void()>& call);

// ms of one call, of which guess_ms is a first estimate. Burst: 3 ms of calls, at least `least_calls`, after 0.1 s of idle,
// the median of three. Sustained: the second half of 0.4 s back to back.
double burst_ms(const cuda::Stream& stream, double guess_ms, const std::function<void()>& call,
                int least_calls = 7);
double sustained_ms(const cuda::Stream& stream, double guess_ms, const std::function<void()>& call);

// Sets of data needed so that together they are at least four times the L2 (and at least two).
int sets_beyond_l2(int64_t bytes_of_a_set, const DeviceFacts& facts);

}  // namespace octavo::bench
