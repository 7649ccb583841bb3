// mma.sync of 16-bit floats with fp32 sums (sm_80), and the transposing ldmatrix for right operands whose n is contiguous.
//   d[16][8] += a[16][16] b[8][16]^T
// With g = lane / 4, c = lane % 4: a[0], a[1] are rows g and g + 8 at k 2c and 2c + 1, a[2], a[3] the same rows 8 further
// in k; b0, b1 are column g at k 2c, 2c + 1 and 8 further; d[2 i + j] is row g + 8 i, column 2c + j.
#pragma once
#include <cstdint>

#include "core/dtype.h"
#include "cuda/ptx/mbarrier.cuh"

namespace octavo::cuda::ptx {

__device__ __forceinline__ void mma_f16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                                        F16) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, "
      "%1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
__device__ __forceinline__ void mma_f16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                                        BF16) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// As load_matrices (mma_s8.cuh) of 8 x 8 16-bit elements, each matrix transposed: a lane's word i is column lane / 4, rows
// 2 (lane % 4) and the next, of matrix i.
__device__ __forceinline__ void load_matrices_transposed(uint32_t (&words)[4], const void* row_of_lane) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
               : "r"(shared_address(row_of_lane))
               : "memory");
}

}  // namespace octavo::cuda::ptx
