// Element types and the scalar conversions between them. No dependencies; usable from host and device code.
#pragma once
#include <bit>
#include <cstdint>

#if defined(__CUDACC__)
#define OCTAVO_HD __host__ __device__
#else
#define OCTAVO_HD
#endif

namespace octavo {

enum class DType : uint8_t { f64, f32, f16, bf16, i64, i32, i8, u8 };

constexpr int64_t size_of(DType t) {
  switch (t) {
    case DType::f64:
    case DType::i64: return 8;
    case DType::f32:
    case DType::i32: return 4;
    case DType::f16:
    case DType::bf16: return 2;
    default: return 1;
  }
}

constexpr const char* name_of(DType t) {
  constexpr const char* names[] = {"f64", "f32", "f16", "bf16", "i64", "i32", "i8", "u8"};
  return names[static_cast<int>(t)];
}

constexpr bool is_float(DType t) { return t <= DType::bf16; }

// 16-bit floats as stored bits; arithmetic happens after to_float. Layout-compatible with CUDA's __half and __nv_bfloat16.
struct F16 {
  uint16_t bits;
};
struct BF16 {
  uint16_t bits;
};

OCTAVO_HD inline float to_float(float x) { return x; }

OCTAVO_HD inline float to_float(BF16 x) { return std::bit_cast<float>(static_cast<uint32_t>(x.bits) << 16); }

// IEEE binary16 -> binary32, exact for every bit pattern (NaN payloads are kept, quietened).
OCTAVO_HD inline float to_float(F16 h) {
  const uint32_t sign = static_cast<uint32_t>(h.bits & 0x8000u) << 16;
  const uint32_t magnitude = h.bits & 0x7fffu;
  if (magnitude >= 0x7c00u) {  // Inf, NaN
    const uint32_t quiet = magnitude > 0x7c00u ? 0x00400000u : 0u;
    return std::bit_cast<float>(sign | 0x7f800000u | ((magnitude & 0x3ffu) << 13) | quiet);
  }
  if (magnitude >= 0x0400u) return std::bit_cast<float>(sign | ((magnitude << 13) + 0x38000000u));
  const float subnormal = static_cast<float>(magnitude) * 0x1p-24f;
  return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(subnormal));
}

// binary32 -> bfloat16, round to nearest even; NaN stays NaN.
OCTAVO_HD inline BF16 to_bf16(float x) {
  const uint32_t u = std::bit_cast<uint32_t>(x);
  if ((u & 0x7fffffffu) > 0x7f800000u) return {static_cast<uint16_t>((u >> 16) | 0x40u)};
  return {static_cast<uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16)};
}

// binary32 -> binary16, round to nearest even; overflow gives Inf, NaN stays NaN.
OCTAVO_HD inline F16 to_f16(float x) {
  const uint32_t u = std::bit_cast<uint32_t>(x);
  const uint16_t sign = static_cast<uint16_t>((u >> 16) & 0x8000u);
  const uint32_t magnitude = u & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return {static_cast<uint16_t>(sign | 0x7e00u | ((magnitude >> 13) & 0x3ffu))};
  if (magnitude >= 0x477ff000u) return {static_cast<uint16_t>(sign | 0x7c00u)};  // >= 65520 rounds to Inf
  if (magnitude >= 0x38800000u) {                                                // normal in binary16
    const uint32_t rounded = magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1u);
    return {static_cast<uint16_t>(sign | (rounded >> 13))};
  }
  // Subnormal: adding 0.5 in fp32 puts the last kept bit at 2^-24 and lets the hardware round to even.
  const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
  return {static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(shifted) - 0x3f000000u))};
}

template <class T>
OCTAVO_HD inline T from_float(float x);
template <>
OCTAVO_HD inline float from_float<float>(float x) {
  return x;
}
template <>
OCTAVO_HD inline F16 from_float<F16>(float x) {
  return to_f16(x);
}
template <>
OCTAVO_HD inline BF16 from_float<BF16>(float x) {
  return to_bf16(x);
}

template <class T>
struct DTypeOf;
template <>
struct DTypeOf<double> {
  static constexpr DType value = DType::f64;
};
template <>
struct DTypeOf<float> {
  static constexpr DType value = DType::f32;
};
template <>
struct DTypeOf<F16> {
  static constexpr DType value = DType::f16;
};
template <>
struct DTypeOf<BF16> {
  static constexpr DType value = DType::bf16;
};
template <>
struct DTypeOf<int64_t> {
  static constexpr DType value = DType::i64;
};
template <>
struct DTypeOf<int32_t> {
  static constexpr DType value = DType::i32;
};
template <>
struct DTypeOf<int8_t> {
  static constexpr DType value = DType::i8;
};
template <>
struct DTypeOf<uint8_t> {
  static constexpr DType value = DType::u8;
};

}  // namespace octavo
