#include "cuda/launch.h"

#include <fmt/format.h>

#include <map>
#include <mutex>
#include <tuple>
#include <unordered_map>

#include "cuda/device.h"

namespace octavo::cuda {

KernelFacts kernel_facts(const void* kernel, int64_t shared_bytes, int shared_percent) {
  struct Known {
    KernelFacts facts;
    int64_t shared_limit = 48 * 1024;
    int shared_percent = -1;
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
    k.facts = {a.ptxVersion, a.numRegs, static_cast<int64_t>(a.sharedSizeBytes),
               static_cast<int64_t>(a.localSizeBytes)};
    k.shared_limit -= k.facts.static_shared_bytes;  // the limit is on both together
  }
  if (shared_percent != k.shared_percent) {
    expect_success(
        cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout, shared_percent),
        "dividing a kernel's first-level cache");
    k.shared_percent = shared_percent;
  }
  if (shared_bytes > k.shared_limit) {
    const int64_t limit = device_facts(device).shared_bytes_per_block;
    if (shared_bytes > limit)
      throw Error(ErrorKind::usage,
                  fmt::format("a kernel asks for {} bytes of shared memory, a block of this GPU has {}",
                              shared_bytes, limit));
    expect_success(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                        static_cast<int>(shared_bytes)),
                   "raising a kernel's shared memory");
    k.shared_limit = shared_bytes;
  }
  return k.facts;
}

int64_t resident_clusters(const void* kernel, const LaunchShape& shape) {
  static std::mutex mutex;
  static std::map<std::tuple<int, const void*, unsigned, int64_t, int>, int64_t> known;
  const int device = current_device();
  const KernelFacts facts = kernel_facts(kernel, shape.shared_bytes);
  if (facts.ptx_version < 90)
    throw Error(
        ErrorKind::no_device,
        fmt::format("{}: this build has no sm_90 code of the kernel (it was compiled for {}); add 90a to "
                    "CMAKE_CUDA_ARCHITECTURES",
                    shape.kernel, facts.ptx_version));
  const std::lock_guard lock(mutex);
  const auto [entry, is_new] =
      known.try_emplace({device, kernel, shape.block.x, shape.shared_bytes, shape.cluster}, 0);
  if (!is_new && entry->second > 0) return entry->second;

  // Or the driver may leave L1 the memory that the blocks' slots were counted on.
  expect_success(cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                                      cudaSharedmemCarveoutMaxShared),
                 "preferring shared memory");
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeClusterDimension;
  attribute.val.clusterDim.x = static_cast<unsigned>(shape.cluster), attribute.val.clusterDim.y = 1,
  attribute.val.clusterDim.z = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(shape.cluster)), config.blockDim = shape.block;
  config.dynamicSmemBytes = static_cast<size_t>(shape.shared_bytes);
  config.attrs = &attribute, config.numAttrs = 1;
  int clusters = 0;
  if (shape.cluster > 1) {
    expect_launched(cudaOccupancyMaxActiveClusters(&clusters, kernel, &config), shape);
  } else {
    expect_launched(
        cudaOccupancyMaxActiveBlocksPerMultiprocessor(&clusters, kernel, static_cast<int>(shape.block.x),
                                                      static_cast<size_t>(shape.shared_bytes)),
        shape);
    clusters *= device_facts(device).cores;
  }
  if (clusters < 1)
    throw Error(
        ErrorKind::usage,
        fmt::format("{}: no cluster of {} blocks of {} threads and {} bytes of shared memory fits this GPU",
                    shape.kernel, shape.cluster, shape.block.x, shape.shared_bytes));
  return entry->second = clusters;
}

cudaStream_t stream_of(const Context& ctx, const char* kernel) {
  if (ctx.backend != Backend::cuda || !ctx.stream)
    throw Error(
        ErrorKind::usage,
        fmt::format("{}: the context has no CUDA stream; make one with octavo::cuda::Stream", kernel));
  return static_cast<cudaStream_t>(ctx.stream);
}

void expect_launched(cudaError_t status, const LaunchShape& s) {
  if (status == cudaSuccess) return;
  expect_success(
      status,
      fmt::format(
          "{}: launch of grid ({}, {}, {}), block ({}, {}, {}), cluster {}, {} bytes of shared memory",
          s.kernel, s.grid.x, s.grid.y, s.grid.z, s.block.x, s.block.y, s.block.z, s.cluster,
          s.shared_bytes));
}

}  // namespace octavo::cuda
