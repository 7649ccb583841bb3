// Values that the compiler leaves as they are where this stands: it computes nothing from them earlier, and does not
// compute them again later.
#pragma once
#include <cstdint>

#include "cuda/ptx/mbarrier.cuh"

namespace octavo::cuda::ptx {

template <class T>
__device__ __forceinline__ T* kept(T* p) {
  asm volatile("" : "+l"(p));
  return p;
}
__device__ __forceinline__ uint32_t kept(uint32_t v) {
  asm volatile("" : "+r"(v));
  return v;
}
__device__ __forceinline__ uint4 kept(uint4 v) {
  asm volatile("" : "+r"(v.x), "+r"(v.y), "+r"(v.z), "+r"(v.w));
  return v;
}

// 16 bytes of shared memory.
__device__ __forceinline__ uint4 load_shared(uint32_t address) {
  uint4 v;
  asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "r"(address)
               : "memory");
  return v;
}

}  // namespace octavo::cuda::ptx
