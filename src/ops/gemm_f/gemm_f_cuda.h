// The CUDA side of gemm_f: cuBLASLt for dense matrices of one type, a simple kernel for everything else.
#pragma once
#include "ops/gemm_f/gemm_f.h"

namespace octavo {

// x and w of one type, y of it or f32, K above 0, rows that do not overlap.
bool gemm_f_fits_cublaslt(const GemmFArgs& args, const DeviceFacts& facts);
void gemm_f_cublaslt(const Context& ctx, const GemmFArgs& args);
int64_t gemm_f_cublaslt_workspace_bytes(const Context& ctx, const GemmFArgs& args);

// Any types, strides and alignments.
void gemm_f_any(const Context& ctx, const GemmFArgs& args);

// y = product + bias, rounded once. product: [M, N] f32, dense.
void gemm_f_add_bias(const Context& ctx, const float* product, const GemmFArgs& args);

}  // namespace octavo
