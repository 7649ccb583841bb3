// What warpgroups need besides their products (sm_90a): registers moved between them, barriers of some of a block's
// threads, and 8 x 8 matrices of 16-bit elements from registers to shared memory.
#pragma once
#include <cstdint>

#include "cuda/ptx/mbarrier.cuh"

namespace octavo::cuda::ptx {

// Registers of each thread of this warpgroup from here on; kCount is a multiple of 8. Every warp of it comes here.
template <int kCount>
__device__ __forceinline__ void give_registers_back() {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kCount));
#endif
}
template <int kCount>
__device__ __forceinline__ void take_registers() {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kCount));
#endif
}

// threadIdx.x, read again at every call, so that a kernel short of registers keeps none of what is computed from it.
__device__ __forceinline__ int thread_index() {
  int index;
  asm volatile("mov.u32 %0, %%tid.x;" : "=r"(index));
  return index;
}

// Nothing asynchronous that follows is waited for before `value`, which is never negative, is known.
// NOTE: ptxas moves wgmma.wait_group in front of arithmetic that should run meanwhile; a branch on its result stops that.
__device__ __forceinline__ void finish_before(float value) {
  if (value < 0.0f) __trap();
}

// Barrier `id` (1 to 15; 0 is __syncthreads) of `threads` threads: arrive and wait, or arrive only.
__device__ __forceinline__ void named_barrier_sync(int id, int threads) {
  asm volatile("barrier.cta.sync.aligned %0, %1;" ::"r"(id), "r"(threads) : "memory");
}
__device__ __forceinline__ void named_barrier_arrive(int id, int threads) {
  asm volatile("barrier.cta.arrive.aligned %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

// Four 8 x 8 matrices (any GPU): lane 8 i + r gives the address of row r of matrix i; a lane's word i holds row lane / 4, columns
// 2 (lane % 4) and the next, of matrix i.
__device__ __forceinline__ void store_matrices(void* row_of_lane, const uint32_t (&words)[4]) {
#if __CUDA_ARCH__ >= 900
  asm volatile(
      "stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(shared_address(row_of_lane)),
      "r"(words[0]), "r"(words[1]), "r"(words[2]), "r"(words[3])
      : "memory");
#else
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int row = static_cast<int>(threadIdx.x) % 32 / 4, word = static_cast<int>(threadIdx.x) % 4;
    const uint32_t address = __shfl_sync(~0u, shared_address(row_of_lane), 8 * i + row) + 4 * word;
    asm volatile("st.shared.b32 [%0], %1;" ::"r"(address), "r"(words[i]) : "memory");
  }
#endif
}

// The same with the matrices transposed: a lane's word i is column lane / 4, rows 2 (lane % 4) and the next. sm_90.
__device__ __forceinline__ void store_matrices_transposed(void* row_of_lane, const uint32_t (&words)[4]) {
#if __CUDA_ARCH__ >= 900
  asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(
                   shared_address(row_of_lane)),
               "r"(words[0]), "r"(words[1]), "r"(words[2]), "r"(words[3])
               : "memory");
#endif
}

}  // namespace octavo::cuda::ptx
