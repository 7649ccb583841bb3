// 16- and 8-byte accesses to global memory with cache hints. Volatile: they stay in program order, so that loads written
// together are in flight together. NOTE: never ld.global.nc: with programmatic dependent launch the data may have been
// written while this grid was already resident.
#pragma once
#include <cstdint>

namespace octavo::cuda::ptx {

// NOTE: without L1::no_allocate, which cost 5 % of the bandwidth (H200, silu_mul 16384x8192: 4,143 against 4,380 GB/s).
__device__ __forceinline__ uint4 load_cached(const uint4* p) {
  uint4 v;
  asm volatile("ld.global.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(p)
               : "memory");
  return v;
}

__device__ __forceinline__ uint2 load_cached(const uint2* p) {
  uint2 v;
  asm volatile("ld.global.v2.u32 {%0, %1}, [%2];" : "=r"(v.x), "=r"(v.y) : "l"(p) : "memory");
  return v;
}

// Brings a line into the caches; nobody waits for it.
__device__ __forceinline__ void touch(const int32_t* p) {
  asm volatile("{ .reg .b32 unused; ld.global.b32 unused, [%0]; }" ::"l"(p) : "memory");
}

__device__ __forceinline__ void store(uint4* p, uint4 v) {
  asm volatile("st.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(p), "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w)
               : "memory");
}

__device__ __forceinline__ void store(uint2* p, uint2 v) {
  asm volatile("st.global.v2.u32 [%0], {%1, %2};" ::"l"(p), "r"(v.x), "r"(v.y) : "memory");
}

// For data that nobody reads soon: first to leave L2.
__device__ __forceinline__ void store_streaming(uint4* p, uint4 v) {
  asm volatile("st.global.cs.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(p), "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w)
               : "memory");
}

}  // namespace octavo::cuda::ptx
