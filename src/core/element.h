// One element of a tensor of any dtype, read and written as Real: for references, where clarity matters and
// speed does not. Writing rounds once, half to even; an f64 tensor keeps the value unrounded.
#pragma once
#include <cmath>

#include "core/tensor.h"

namespace octavo {

namespace element {

template <class... Index>
int64_t offset(const ConstTensor& t, Index... index) {
  int64_t at = 0;
  int d = 0;
  ((at += static_cast<int64_t>(index) * t.stride(d++)), ...);
  return at;
}

// double -> float with the last bit set when inexact, so that a second rounding to 16 bits gives what one
// would.
inline float round_to_odd(double x) {
  const float nearest = static_cast<float>(x);
  if (std::isnan(x) || static_cast<double>(nearest) == x) return nearest;
  uint32_t bits = std::bit_cast<uint32_t>(nearest);
  if (std::abs(static_cast<double>(nearest)) > std::abs(x)) --bits;  // towards zero
  return std::bit_cast<float>(bits | 1u);
}

}  // namespace element

// load_at<double>(x, row, column)
template <class Real, class... Index>
Real load_at(const ConstTensor& t, Index... index) {
  const int64_t at = element::offset(t, index...);
  switch (t.dtype()) {
    case DType::f64: return static_cast<Real>(static_cast<const double*>(t.data())[at]);
    case DType::f32: return static_cast<Real>(static_cast<const float*>(t.data())[at]);
    case DType::f16: return static_cast<Real>(to_float(static_cast<const F16*>(t.data())[at]));
    case DType::bf16: return static_cast<Real>(to_float(static_cast<const BF16*>(t.data())[at]));
    case DType::i64: return static_cast<Real>(static_cast<const int64_t*>(t.data())[at]);
    case DType::i32: return static_cast<Real>(static_cast<const int32_t*>(t.data())[at]);
    case DType::i8: return static_cast<Real>(static_cast<const int8_t*>(t.data())[at]);
    default: return static_cast<Real>(static_cast<const uint8_t*>(t.data())[at]);
  }
}

// store_at(y, value, row, column); float dtypes only.
template <class Real, class... Index>
void store_at(const Tensor& t, Real value, Index... index) {
  const int64_t at = element::offset(t, index...);
  switch (t.dtype()) {
    case DType::f64: static_cast<double*>(t.data())[at] = static_cast<double>(value); return;
    case DType::f32: static_cast<float*>(t.data())[at] = static_cast<float>(value); return;
    case DType::f16:
      static_cast<F16*>(t.data())[at] = to_f16(element::round_to_odd(static_cast<double>(value)));
      return;
    case DType::bf16:
      static_cast<BF16*>(t.data())[at] = to_bf16(element::round_to_odd(static_cast<double>(value)));
      return;
    default:
      throw Error(ErrorKind::usage, std::string("store_at: ") + name_of(t.dtype()) + " is not a float type");
  }
}

}  // namespace octavo
