#include "ops/gemm_f/gemm_f_simd.h"

#include "simd/float_gemm_kernel.h"

namespace octavo::OCTAVO_ISA {

void gemm_f_columns_f32(const FloatGemm& g, int64_t n_begin, int64_t n_end) {
  float_gemm_columns<float>(g, n_begin, n_end);
}
void gemm_f_columns_f16(const FloatGemm& g, int64_t n_begin, int64_t n_end) {
  float_gemm_columns<F16>(g, n_begin, n_end);
}
void gemm_f_columns_bf16(const FloatGemm& g, int64_t n_begin, int64_t n_end) {
  float_gemm_columns<BF16>(g, n_begin, n_end);
}

}  // namespace octavo::OCTAVO_ISA
