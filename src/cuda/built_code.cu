// A kernel that does nothing, to ask whether this build holds code that the current GPU can run.
#include "cuda/device.h"

namespace octavo::cuda {

namespace {
__global__ void nothing() {}
}  // namespace

void expect_usable(int device) {
  static bool usable[kMaxDevices] = {};
  if (usable[device]) return;
  cudaFuncAttributes attributes;
  expect_success(cudaFuncGetAttributes(&attributes, nothing), "asking for this GPU's code");
  usable[device] = true;
}

}  // namespace octavo::cuda
