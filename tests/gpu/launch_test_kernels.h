// Two kernels for launch_test: one that adds 1, one that faults.
#pragma once
#include <cstdint>

#include "core/context.h"

namespace octavo::gpu_test {

struct LaunchRequest {
  unsigned blocks = 1, threads = 128;
  int64_t shared_bytes = 512;  // an int for each thread
  int cluster = 1;
};

// values[0..count) += 1
void launch_add_one(const Context& ctx, int* values, int count, const LaunchRequest& request);
void launch_write_nowhere(const Context& ctx);  // an address that no allocation has: the context is lost

}  // namespace octavo::gpu_test
