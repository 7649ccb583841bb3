// The specification of gemm_w8a8: sums in s64, the epilogue as the contract writes it, activations by the references of
// their ops in Real (double for the reference, float for the plain version). All else is exact, whatever Real is.
#pragma once
#include <cmath>

#include "ops/gemm_w8a8/gemm_w8a8.h"

namespace octavo {

// Columns [n_begin, n_end) of the product; both even with silu_mul.
template <class Real>
void gemm_w8a8_ref(const GemmW8A8Args& args, int64_t n_begin, int64_t n_end);

// y_amax from y, where it was asked for.
void gemm_w8a8_raise_amax(const GemmW8A8Args& args);

template <class Real = double>
void gemm_w8a8_ref(const GemmW8A8Args& args) {
  gemm_w8a8_ref<Real>(args, 0, args.w.dim(0));
  if (args.y_amax) gemm_w8a8_raise_amax(args);
}

// INT8 out: inverse = 1 / y_scale.
inline int8_t gemm_w8a8_code(float v, float inverse) {
  const float r = std::nearbyint(v * inverse);
  return std::isnan(r) ? int8_t{0} : static_cast<int8_t>(std::fmin(std::fmax(r, -127.0f), 127.0f));
}

}  // namespace octavo
