// The specification of gemm_w8a8: sums in s64, the epilogue as the contract writes it. Exact, so there is no Real.
#pragma once
#include "ops/gemm_w8a8/gemm_w8a8.h"

namespace octavo {

// Columns [n_begin, n_end) of y.
void gemm_w8a8_ref(const GemmW8A8Args& args, int64_t n_begin, int64_t n_end);

inline void gemm_w8a8_ref(const GemmW8A8Args& args) { gemm_w8a8_ref(args, 0, args.w.dim(0)); }

}  // namespace octavo
