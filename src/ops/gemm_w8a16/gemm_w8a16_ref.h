// The specification of gemm_w8a16. Real is double for the reference, float for the plain version that errors are
// measured against. y may be f64 too: then it is stored unrounded.
#pragma once
#include "ops/gemm_w8a16/gemm_w8a16.h"

namespace octavo {

// Columns [n_begin, n_end) of y.
template <class Real>
void gemm_w8a16_ref(const GemmW8A16Args& args, int64_t n_begin, int64_t n_end);

template <class Real>
void gemm_w8a16_ref(const GemmW8A16Args& args) {
  gemm_w8a16_ref<Real>(args, 0, args.y.dim(1));
}

}  // namespace octavo
