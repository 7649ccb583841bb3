// INT8 codes as 16-bit floats, exactly, without a conversion instruction (I2F runs at a quarter of the rate of what is
// used here; H200: 16 against 64 a clock and multiprocessor).
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <type_traits>

#include "core/dtype.h"
#include "cuda/ptx/lop3.cuh"

namespace octavo {

// Codes 0, 1 and codes 2, 3 of a word, a pair of T each.
struct CodePairs {
  uint32_t low, high;
};

// The byte u = code + 128 under the exponent of 1024 is 1024 + u; less 1152 it is the code.
__device__ __forceinline__ CodePairs code_pairs(uint32_t word, F16) {
  const uint32_t u = word ^ 0x80808080u;
  const auto shifted = [](uint32_t pair) {
    const __half2 v = __hsub2(reinterpret_cast<const __half2&>(pair), __half2half2(__ushort_as_half(0x6480)));
    return reinterpret_cast<const uint32_t&>(v);
  };
  return {shifted(__byte_perm(u, 0x64646464u, 0x4140)), shifted(__byte_perm(u, 0x64646464u, 0x4342))};
}

// NOTE: bf16 holds seven bits under an exponent, one too few for that. The seven low bits and the sign bit, each under
// the exponent of 128, are 128 + (code & 127) and 128 or 256: their difference is the code.
__device__ __forceinline__ CodePairs code_pairs(uint32_t word, BF16) {
  const uint32_t magnitude = word & 0x7f7f7f7fu, sign = word & 0x80808080u;
  const auto difference = [&](uint32_t selector) {
    const uint32_t a = __byte_perm(magnitude, 0x43434343u, selector),
                   b = __byte_perm(sign, 0x43434343u, selector);
    const __nv_bfloat162 v =
        __hsub2(reinterpret_cast<const __nv_bfloat162&>(a), reinterpret_cast<const __nv_bfloat162&>(b));
    return reinterpret_cast<const uint32_t&>(v);
  };
  return {difference(0x4140), difference(0x4342)};
}

// The same four codes over kCodeScale as pairs 0, 2 (low) and 1, 3 (high): fewer operations, a product must pair x alike.
template <class T>
constexpr float kCodeScale = std::is_same_v<T, BF16> ? 64 : 1;

__device__ __forceinline__ CodePairs code_pairs_apart(uint32_t word, F16) {
  const auto shifted = [](uint32_t bytes) {
    const uint32_t pair = cuda::ptx::and_xor(bytes, 0x00ff00ffu, 0x64806480u);  // 1024 + (code ^ 128)
    const __half2 v = __hsub2(reinterpret_cast<const __half2&>(pair), __half2half2(__ushort_as_half(0x6480)));
    return reinterpret_cast<const uint32_t&>(v);
  };
  return {shifted(word), shifted(word >> 8)};
}
// NOTE: code ^ 128 alone is a subnormal bf16, 2^-133 (code + 128), and the product is not flushed: times 2^127, minus 2, it
// is code / 64. Three operations of the slow pipe a word instead of five.
__device__ __forceinline__ CodePairs code_pairs_apart(uint32_t word, BF16) {
  const auto shifted = [](uint32_t bytes) {
    const uint32_t pair = cuda::ptx::and_xor(bytes, 0x00ff00ffu, 0x00800080u);
    const __nv_bfloat162 v = __hfma2(reinterpret_cast<const __nv_bfloat162&>(pair),
                                     __bfloat162bfloat162(__ushort_as_bfloat16(0x7f00)),   // 2^127
                                     __bfloat162bfloat162(__ushort_as_bfloat16(0xc000)));  // -2
    return reinterpret_cast<const uint32_t&>(v);
  };
  return {shifted(word), shifted(word >> 8)};
}

// One pair of a word: codes 0 and 1 (selector 0x4140) or 2 and 3 (0x4342).
__device__ __forceinline__ uint32_t code_pair(uint32_t word, uint32_t selector, F16) {
  const uint32_t pair = __byte_perm(word ^ 0x80808080u, 0x64646464u, selector);
  const __half2 v = __hsub2(reinterpret_cast<const __half2&>(pair), __half2half2(__ushort_as_half(0x6480)));
  return reinterpret_cast<const uint32_t&>(v);
}
__device__ __forceinline__ uint32_t code_pair(uint32_t word, uint32_t selector, BF16) {
  const uint32_t pair = __byte_perm(word, 0, selector);
  const uint32_t a = (pair & 0x007f007fu) | 0x43004300u, b = (pair & 0x00800080u) | 0x43004300u;
  const __nv_bfloat162 v =
      __hsub2(reinterpret_cast<const __nv_bfloat162&>(a), reinterpret_cast<const __nv_bfloat162&>(b));
  return reinterpret_cast<const uint32_t&>(v);
}

}  // namespace octavo
