// The one INT8 quantiser of octavo: the same bits on the CPU, on CUDA and from Python (design 3).
//   symmetric; amax in fp32 over the row; scale = amax / 127; q = clamp(rint_half_even(x * (127 / amax)), -127, 127)
//   amax < 2^-120 counts as a zero row: codes 0, scale 1.  A row with NaN or Inf: codes 0, scale NaN.
// Compile without fast-math, without ftz and with -ffp-contract=off: both divisions and the product are IEEE fp32.
#pragma once
#include <bit>
#include <cmath>
#include <cstdint>

#include "core/dtype.h"

namespace octavo {

inline constexpr float kSmallestAmax = 0x1p-120f;

// How one row is coded, derived from its amax. Pass NaN or Inf as amax for a row that holds one.
struct RowCoding {
  float scale;    // value of one code step
  float inverse;  // 127 / amax; 0 for zero rows and for rows with NaN or Inf
};

OCTAVO_HD inline RowCoding row_coding(float amax) {
  // NOTE: !(x <= max) is true for NaN too, without <cmath> classification that fast-math may drop.
  if (!(amax <= 3.402823466e38f)) return {std::bit_cast<float>(0x7fc00000u), 0.0f};
  if (amax < kSmallestAmax) return {1.0f, 0.0f};
#if defined(__CUDA_ARCH__)
  return {__fdiv_rn(amax, 127.0f), __fdiv_rn(127.0f, amax)};
#else
  return {amax / 127.0f, 127.0f / amax};
#endif
}

// The code of one value; inverse == 0 gives 0 for every x, NaN included.
OCTAVO_HD inline int8_t quantize(float x, float inverse) {
  if (inverse == 0.0f) return 0;
#if defined(__CUDA_ARCH__)
  const float r = rintf(__fmul_rn(x, inverse));
#else
  const float r = std::nearbyint(x * inverse);
#endif
  return static_cast<int8_t>(r < -127.0f ? -127.0f : (r > 127.0f ? 127.0f : r));
}

}  // namespace octavo
