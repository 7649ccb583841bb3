#pragma once
#include "simd/float_gemm.h"
#include "simd/per_isa.h"

// Outputs [0, m) x [n_begin, n_end); w is i8.
OCTAVO_PER_ISA(void gemm_w8a16_columns(const FloatGemm& g, int64_t n_begin, int64_t n_end))
