// An element of a tensor as a Real, whatever its dtype, for the specification.
#pragma once
#include "core/dtype.h"
#include "core/tensor.h"

namespace octavo {

template <class Real>
Real load_element(DType dtype, const void* p, int64_t i) {
  switch (dtype) {
    case DType::f64: return static_cast<Real>(static_cast<const double*>(p)[i]);
    case DType::f32: return static_cast<Real>(static_cast<const float*>(p)[i]);
    case DType::f16: return static_cast<Real>(to_float(static_cast<const F16*>(p)[i]));
    case DType::bf16: return static_cast<Real>(to_float(static_cast<const BF16*>(p)[i]));
    default: return static_cast<Real>(static_cast<const int8_t*>(p)[i]);
  }
}

template <class Real>
void store_element(const Tensor& t, int64_t i, Real value) {
  switch (t.dtype()) {
    case DType::f64: static_cast<double*>(t.data())[i] = static_cast<double>(value); break;
    case DType::f32: static_cast<float*>(t.data())[i] = static_cast<float>(value); break;
    case DType::f16: static_cast<F16*>(t.data())[i] = to_f16(static_cast<float>(value)); break;
    default: static_cast<BF16*>(t.data())[i] = to_bf16(static_cast<float>(value));
  }
}

}  // namespace octavo
