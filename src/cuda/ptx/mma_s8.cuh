// mma.sync of bytes and what feeds it (sm_80): cp.async, ldmatrix.
#pragma once
#include <cstdint>

#include "cuda/ptx/mbarrier.cuh"

namespace octavo::cuda::ptx {

// 16 bytes from global to shared memory, past the registers: the first `bytes` of them, then zeros. Both addresses on 16.
__device__ __forceinline__ void copy_async(void* to_shared, const void* from, int bytes) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to_shared)), "l"(from),
               "r"(bytes)
               : "memory");
}
// Four bytes, or zeros.
__device__ __forceinline__ void copy_word_async(void* to_shared, const void* from, bool exists) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared_address(to_shared)), "l"(from),
               "r"(exists ? 4 : 0)
               : "memory");
}
__device__ __forceinline__ void copy_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Until at most kPending of this thread's groups are unfinished.
template <int kPending>
__device__ __forceinline__ void copy_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

// Four 8 x 16-byte matrices: lane 8 i + r gives the address of row r of matrix i; a lane's word i is bytes 4 (lane % 4) to
// 4 (lane % 4) + 3 of row lane / 4 of matrix i.
__device__ __forceinline__ void load_matrices(uint32_t (&words)[4], uint32_t row_of_lane) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
               : "r"(row_of_lane)
               : "memory");
}
__device__ __forceinline__ void load_matrices(uint32_t (&words)[4], const void* row_of_lane) {
  load_matrices(words, shared_address(row_of_lane));
}

// d[16][8] += a[16][32] b[8][32]^T. a: rows 0-7 and 8-15 of k 0-15, then of k 16-31; b: k 0-15, then 16-31; each as
// load_matrices gives them. d: row lane / 4 + 8 i, column 2 (lane % 4) + c is d[2 i + c].
__device__ __forceinline__ void mma_s8(int32_t* d, const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, "
      "%1, %2, %3};"
      : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// d = start + the product.
__device__ __forceinline__ void mma_s8_from(int32_t* d, const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                                            int32_t start) {
  asm volatile(
      "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%10, %10, %10, %10};"
      : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "r"(start));
}

// The same with a unsigned.
__device__ __forceinline__ void mma_u8s8(int32_t* d, const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, "
      "%1, %2, %3};"
      : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
__device__ __forceinline__ void mma_u8s8_from(int32_t* d, const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                                              int32_t start) {
  asm volatile(
      "mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%10, %10, %10, %10};"
      : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "r"(start));
}

}  // namespace octavo::cuda::ptx
