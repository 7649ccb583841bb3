// Octets: eight consecutive elements, the unit of every access of the memory-bound kernels. 16 bytes for f16 and bf16,
// two times 16 for f32, 8 for codes. All arithmetic on them is fp32. Addresses are 16-byte aligned (codes: 8).
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#include "core/dtype.h"
#include "cuda/ptx/convert.cuh"
#include "cuda/ptx/global_memory.cuh"

namespace octavo::cuda {

inline constexpr int kOctet = 8;

// What an octet's loads deliver; unpacked only after all loads of a batch were issued.
template <class T>
struct RawOctet {
  uint4 part[sizeof(T) == 4 ? 2 : 1];
};
template <>
struct RawOctet<int8_t> {
  uint2 part;
};

template <class T>
__device__ __forceinline__ RawOctet<T> load_octet(const T* p) {
  const auto* words = reinterpret_cast<const uint4*>(p);
  if constexpr (sizeof(T) == 4)
    return {{ptx::load_cached(words), ptx::load_cached(words + 1)}};
  else
    return {{ptx::load_cached(words)}};
}
template <>
__device__ __forceinline__ RawOctet<int8_t> load_octet<int8_t>(const int8_t* p) {
  return {ptx::load_cached(reinterpret_cast<const uint2*>(p))};
}
__device__ __forceinline__ void unpack_pair(uint32_t pair, F16, float* out) {
  const float2 f = __half22float2(reinterpret_cast<const __half2&>(pair));
  out[0] = f.x, out[1] = f.y;
}
__device__ __forceinline__ void unpack_pair(uint32_t pair, BF16, float* out) {
  out[0] = __uint_as_float(pair << 16), out[1] = __uint_as_float(pair & 0xffff0000u);
}
__device__ __forceinline__ uint32_t pack_pair(float low, float high, F16) {
  const __half2 h = __floats2half2_rn(low, high);
  return reinterpret_cast<const uint32_t&>(h);
}
__device__ __forceinline__ uint32_t pack_pair(float low, float high, BF16) {
  const __nv_bfloat162 h = __floats2bfloat162_rn(low, high);
  return reinterpret_cast<const uint32_t&>(h);
}

template <class T>
__device__ __forceinline__ void unpack(const RawOctet<T>& raw, float (&out)[kOctet]) {
  if constexpr (sizeof(T) == 4) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      out[4 * i] = __uint_as_float(raw.part[i].x), out[4 * i + 1] = __uint_as_float(raw.part[i].y);
      out[4 * i + 2] = __uint_as_float(raw.part[i].z), out[4 * i + 3] = __uint_as_float(raw.part[i].w);
    }
  } else if constexpr (sizeof(T) == 2) {
    unpack_pair(raw.part[0].x, T{}, out), unpack_pair(raw.part[0].y, T{}, out + 2);
    unpack_pair(raw.part[0].z, T{}, out + 4), unpack_pair(raw.part[0].w, T{}, out + 6);
  } else {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      out[i] = static_cast<float>(static_cast<int8_t>(raw.part.x >> (8 * i)));
      out[4 + i] = static_cast<float>(static_cast<int8_t>(raw.part.y >> (8 * i)));
    }
  }
}

template <class T>
__device__ __forceinline__ RawOctet<T> pack(const float (&v)[kOctet]) {
  RawOctet<T> raw;
  if constexpr (sizeof(T) == 4) {
    raw.part[0] = make_uint4(__float_as_uint(v[0]), __float_as_uint(v[1]), __float_as_uint(v[2]),
                             __float_as_uint(v[3]));
    raw.part[1] = make_uint4(__float_as_uint(v[4]), __float_as_uint(v[5]), __float_as_uint(v[6]),
                             __float_as_uint(v[7]));
  } else {
    raw.part[0] = make_uint4(pack_pair(v[0], v[1], T{}), pack_pair(v[2], v[3], T{}),
                             pack_pair(v[4], v[5], T{}), pack_pair(v[6], v[7], T{}));
  }
  return raw;
}

template <class T>
__device__ __forceinline__ void store_octet(T* p, const RawOctet<T>& raw) {
  auto* words = reinterpret_cast<uint4*>(p);
  ptx::store(words, raw.part[0]);
  if constexpr (sizeof(T) == 4) ptx::store(words + 1, raw.part[1]);
}

// Codes of eight values; |v * inverse| <= 127.5 is the caller's promise, so that -128 cannot appear. An inverse of 0 (a row
// of zeros, or with NaN or Inf) gives zeros.
__device__ __forceinline__ uint2 codes_of(const float (&v)[kOctet], float inverse) {
  const auto four = [&](int e) {
    return ptx::pack_codes(__fmul_rn(v[e], inverse), __fmul_rn(v[e + 1], inverse),
                           __fmul_rn(v[e + 2], inverse), __fmul_rn(v[e + 3], inverse));
  };
  const uint32_t all = inverse == 0.0f ? 0u : ~0u;
  return make_uint2(four(0) & all, four(4) & all);
}
__device__ __forceinline__ void store_codes(int8_t* p, uint2 codes) {
  ptx::store(reinterpret_cast<uint2*>(p), codes);
}

// One element, for rows that are not aligned.
template <class T>
__device__ __forceinline__ float load_element(const T* p) {
  return to_float(*p);
}
template <>
__device__ __forceinline__ float load_element<F16>(const F16* p) {
  return __half2float(*reinterpret_cast<const __half*>(p));
}
template <class T>
__device__ __forceinline__ void store_element(T* p, float v) {
  *p = from_float<T>(v);
}
template <>
__device__ __forceinline__ void store_element<F16>(F16* p, float v) {
  *reinterpret_cast<__half*>(p) = __float2half_rn(v);
}

// The value after storing it as T.
template <class T>
__device__ __forceinline__ float rounded(float v) {
  T stored;
  store_element(&stored, v);
  return load_element(&stored);
}

// A parameter of every row (weight, bias); its dtype is chosen at run time, the same for all threads.
struct RowParameter {
  const void* data = nullptr;  // [width], or null
  DType dtype = DType::f32;
  int64_t stride = 1;  // elements; octets need 1
};
__device__ __forceinline__ float load_parameter(const RowParameter& p, int64_t column) {
  if (p.dtype == DType::f16) return load_element(static_cast<const F16*>(p.data) + column * p.stride);
  if (p.dtype == DType::bf16) return load_element(static_cast<const BF16*>(p.data) + column * p.stride);
  return static_cast<const float*>(p.data)[column * p.stride];
}

}  // namespace octavo::cuda
