#pragma once
#include "simd/float_gemm.h"
#include "simd/per_isa.h"

// Outputs [0, m) x [n_begin, n_end), one kernel for each type of w.
OCTAVO_PER_ISA(void gemm_f_columns_f32(const FloatGemm& g, int64_t n_begin, int64_t n_end))
OCTAVO_PER_ISA(void gemm_f_columns_f16(const FloatGemm& g, int64_t n_begin, int64_t n_end))
OCTAVO_PER_ISA(void gemm_f_columns_bf16(const FloatGemm& g, int64_t n_begin, int64_t n_end))
