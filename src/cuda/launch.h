// The only launcher. Every kernel starts through launch(): the stream is required, errors carry the kernel's name and
// shape, attributes are set once per kernel and device. Include in .cu files; no fmt in here.
#pragma once
#include <cuda_runtime_api.h>

#include <cstdint>
#include <type_traits>

#include "core/context.h"

namespace octavo::cuda {

struct LaunchShape {
  const char* kernel;  // for messages
  dim3 grid, block;
  int64_t shared_bytes = 0;  // dynamic; above 48 KB the kernel's attribute is raised
  int shared_percent =
      -1;           // of the first-level cache that several blocks want for it; -1: the driver's choice
  int cluster = 1;  // blocks of a cluster, along x (sm_90)
  // Programmatic dependent launch: the kernel may become resident before the work in front of it has finished. It then
  // must call ptx::grid_dependency_wait() in every thread before its first access to global memory.
  bool overlap = false;
};

// What launch() asks about a kernel, cached per kernel and device.
struct KernelFacts {
  int ptx_version = 0;  // 80: compiled from compute_80, so it has no griddepcontrol in it whatever the device
  int registers = 0;
  int64_t static_shared_bytes = 0, local_bytes = 0;
};
KernelFacts kernel_facts(const void* kernel, int64_t shared_bytes, int shared_percent = -1);

// How many clusters of this shape (its grid aside) the device runs at once; cached. Throws when the build holds no code
// of this kernel with clusters and bulk copies (sm_90).
int64_t resident_clusters(const void* kernel, const LaunchShape& shape);

// The stream of the context; throws usage when it has none.
cudaStream_t stream_of(const Context& ctx, const char* kernel);
// Throws Error: usage for an impossible shape, no_device when the GPU has no code in this build, device_fault (and every
// later launch of the process too) after an error that a CUDA context does not survive.
void expect_launched(cudaError_t status, const LaunchShape& shape);
void expect_healthy();

template <class... Params, class... Args>
void launch(const Context& ctx, const LaunchShape& shape, void (*kernel)(Params...), Args... args) {
  expect_healthy();
  const void* function = reinterpret_cast<const void*>(kernel);
  const KernelFacts facts = kernel_facts(function, shape.shared_bytes, shape.shared_percent);

  cudaLaunchAttribute attributes[2];
  cudaLaunchConfig_t config{};
  config.gridDim = shape.grid, config.blockDim = shape.block;
  config.dynamicSmemBytes = static_cast<size_t>(shape.shared_bytes);
  config.stream = stream_of(ctx, shape.kernel);
  config.attrs = attributes;
  if (shape.cluster > 1) {
    auto& a = attributes[config.numAttrs++];
    a.id = cudaLaunchAttributeClusterDimension;
    a.val.clusterDim.x = static_cast<unsigned>(shape.cluster), a.val.clusterDim.y = 1, a.val.clusterDim.z = 1;
  }
  // NOTE: code compiled from compute_80 has no wait in it, so on a Hopper device it must not overlap.
  if (shape.overlap && facts.ptx_version >= 90) {
    auto& a = attributes[config.numAttrs++];
    a.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    a.val.programmaticStreamSerializationAllowed = 1;
  }
  void* pointers[] = {static_cast<void*>(&args)...};
  static_assert(sizeof...(Params) == sizeof...(Args), "a kernel gets all its parameters");
  static_assert((std::is_same_v<Params, Args> && ...), "arguments have exactly the kernel's parameter types");
  expect_launched(cudaLaunchKernelExC(&config, function, pointers), shape);
}

}  // namespace octavo::cuda
