#include "cuda/launch.h"

#include <fmt/format.h>

#include <mutex>
#include <unordered_map>

#include "cuda/device.h"

namespace octavo::cuda {

KernelFacts kernel_facts(const void* kernel, int64_t shared_bytes) {
  struct Known {
    KernelFacts facts;
    int64_t shared_limit = 48 * 1024;
  };
  static std::mutex mutex;
  static std::unordered_map<const void*, Known> known[kMaxDevices];
  const int device = current_device();
  const std::lock_guard lock(mutex);
  const auto [entry, is_new] = known[device].try_emplace(kernel);
  Known& k = entry->second;
  if (is_new) {
    cudaFuncAttributes a;
    const cudaError_t status = cudaFuncGetAttributes(&a, kernel);
    if (status != cudaSuccess) {
      known[device].erase(entry);
      expect_success(status, "loading a kernel");
    }
    k.facts = {a.ptxVersion, a.numRegs, static_cast<int64_t>(a.sharedSizeBytes), static_cast<int64_t>(a.localSizeBytes)};
  }
  if (shared_bytes > k.shared_limit) {
    const int64_t limit = device_facts(device).shared_bytes_per_block;
    if (shared_bytes > limit)
      throw Error(ErrorKind::usage, fmt::format("a kernel asks for {} bytes of shared memory, a block of this GPU has {}",
                                                shared_bytes, limit));
    expect_success(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared_bytes)),
                   "raising a kernel's shared memory");
    k.shared_limit = shared_bytes;
  }
  return k.facts;
}

cudaStream_t stream_of(const Context& ctx, const char* kernel) {
  if (ctx.backend != Backend::cuda || !ctx.stream)
    throw Error(ErrorKind::usage, fmt::format("{}: the context has no CUDA stream; make one with octavo::cuda::Stream", kernel));
  return static_cast<cudaStream_t>(ctx.stream);
}

void expect_launched(cudaError_t status, const LaunchShape& s) {
  if (status == cudaSuccess) return;
  expect_success(status, fmt::format("{}: launch of grid ({}, {}, {}), block ({}, {}, {}), cluster {}, {} bytes of shared memory",
                                     s.kernel, s.grid.x, s.grid.y, s.grid.z, s.block.x, s.block.y, s.block.z, s.cluster,
                                     s.shared_bytes));
}

}  // namespace octavo::cuda
