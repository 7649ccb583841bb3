#include "launch_test_kernels.h"

#include "cuda/launch.h"

namespace octavo::gpu_test {
namespace {

__global__ void add_one(int* values, int count) {
  extern __shared__ int scratch[];
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i >= count) return;
  scratch[threadIdx.x] = values[i];
  values[i] = scratch[threadIdx.x] + 1;
}

__global__ void write_nowhere(int* nowhere) { nowhere[threadIdx.x] = 1; }

}  // namespace

void launch_add_one(const Context& ctx, int* values, int count, const LaunchRequest& r) {
  cuda::launch(ctx,
               {.kernel = "add_one",
                .grid = dim3(r.blocks),
                .block = dim3(r.threads),
                .shared_bytes = r.shared_bytes,
                .cluster = r.cluster},
               add_one, values, count);
}

void launch_write_nowhere(const Context& ctx) {
  cuda::launch(ctx, {.kernel = "write_nowhere", .grid = dim3(1), .block = dim3(32)}, write_nowhere,
               reinterpret_cast<int*>(8));
}

}  // namespace octavo::gpu_test
