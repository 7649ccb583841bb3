// griddepcontrol (sm_90): programmatic dependent launch. A kernel that a launch may overlap with its predecessor calls
// grid_dependency_wait before its first access to global memory, in every thread. Older architectures: nothing to do.
#pragma once

namespace octavo::cuda::ptx {

// Returns when the grids before this one have finished and their writes are visible.
__device__ __forceinline__ void grid_dependency_wait() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// Lets the next grid start once every block of this one has come here; its own wait still holds it until we are done.
__device__ __forceinline__ void grid_dependency_release() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

}  // namespace octavo::cuda::ptx
