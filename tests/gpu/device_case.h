// A case of an op on the GPU: its arguments in device memory with their canaries, runs, repeats, and the way back.
#pragma once
#include <vector>

#include "cuda/device.h"
#include "harness/op_case.h"

namespace octavo::gpu {

// How arguments lie in device memory.
enum class Placement {
  canaried,  // as in the HostTensor: canaries on both sides, all arguments in one allocation
  exact,     // each argument in an allocation of exactly its size, for compute-sanitizer
};

struct DeviceRun {
  std::vector<harness::HostTensor> after;  // the arguments after the first call
  int64_t repeats = 0;                     // further calls
  uint32_t differing_words = 0;            // of all repeats against the first call; 0: bitwise the same
};

// Runs the case once, then `repeats` times more, each time from the original arguments. `after`: tensors as `before`, their bytes
// written over (made by the caller: making them takes longer than the run, and the GPU waits for one case at a time).
DeviceRun run_on_device(const cuda::Stream& stream, const harness::OpCase& op_case,
                        const std::vector<harness::HostTensor>& before,
                        std::vector<harness::HostTensor> after, Placement placement, int64_t repeats);

}  // namespace octavo::gpu
