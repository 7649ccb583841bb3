// Words of global memory that threads of different grids tell each other, without an order to anything else: hints. And what
// such a hint is about: the multiprocessor, a line of L2.
#pragma once
#include <cstdint>

namespace octavo::cuda::ptx {

__device__ __forceinline__ uint32_t load_relaxed(const uint32_t* p) {
  uint32_t v;
  asm volatile("ld.relaxed.gpu.global.u32 %0, [%1];" : "=r"(v) : "l"(p) : "memory");
  return v;
}
__device__ __forceinline__ void store_relaxed(uint32_t* p, uint32_t v) {
  asm volatile("st.relaxed.gpu.global.u32 [%0], %1;" ::"l"(p), "r"(v) : "memory");
}

// Number of this multiprocessor.
__device__ __forceinline__ uint32_t core_id() {
  uint32_t id;
  asm volatile("mov.u32 %0, %%smid;" : "=r"(id));
  return id;
}

// Brings a line of 128 bytes into L2.
__device__ __forceinline__ void prefetch_to_l2(const void* p) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"(p) : "memory");
}

}  // namespace octavo::cuda::ptx
