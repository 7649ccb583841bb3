// lop3: any function of three words, bit by bit. The compiler makes two instructions of (a & constant) ^ constant.
#pragma once
#include <cstdint>

namespace octavo::cuda::ptx {

// (a & mask) ^ bits, one instruction.
__device__ __forceinline__ uint32_t and_xor(uint32_t a, uint32_t mask, uint32_t bits) {
  uint32_t d;
  asm("lop3.b32 %0, %1, %2, %3, 0x6a;" : "=r"(d) : "r"(a), "r"(mask), "r"(bits));  // (0xf0 & 0xcc) ^ 0xaa
  return d;
}

}  // namespace octavo::cuda::ptx
