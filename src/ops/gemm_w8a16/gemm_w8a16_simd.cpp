#include "ops/gemm_w8a16/gemm_w8a16_simd.h"

#include "simd/float_gemm_kernel.h"

namespace octavo::OCTAVO_ISA {

void gemm_w8a16_columns(const FloatGemm& g, int64_t n_begin, int64_t n_end) {
  float_gemm_columns<int8_t>(g, n_begin, n_end);
}

}  // namespace octavo::OCTAVO_ISA
