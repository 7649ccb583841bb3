// gemm_w8a8 on Hopper, many tokens, with GELU, SwiGLU's product, a residual, rows' amax or INT8 out: one tile for all, whose warpgroups
// work in turn, so that the epilogue of one runs beside the products of the other.
#include "ops/gemm_w8a8/gemm_w8a8_cuda.h"
#include "ops/gemm_w8a8/gemm_w8a8_many.cuh"

namespace octavo {
namespace {

template <class Y>
void run_policy(const Context& ctx, const GemmW8A8Args& a, const Int8Plan& plan) {
  if (a.residual) return run_tiles<Tile128x128InTurn, Y, Int8Policy::residual>(ctx, a, plan);
  if constexpr (sizeof(Y) == 2)
    if (a.activation == GemmActivation::none)
      return run_tiles<Tile128x128InTurn, Y, Int8Policy::amax>(ctx, a, plan);
  switch (a.activation) {
    case GemmActivation::gelu_erf: return run_tiles<Tile128x128InTurn, Y, Int8Policy::gelu_erf>(ctx, a, plan);
    case GemmActivation::gelu_tanh:
      return run_tiles<Tile128x128InTurn, Y, Int8Policy::gelu_tanh>(ctx, a, plan);
    default: return run_tiles<Tile128x128InTurn, Y, Int8Policy::silu_mul>(ctx, a, plan);
  }
}

}  // namespace

void gemm_w8a8_fused(const Context& ctx, const GemmW8A8Args& a, const Int8Plan& plan) {
  switch (a.y.dtype()) {
    case DType::f32: return run_policy<float>(ctx, a, plan);
    case DType::f16: return run_policy<F16>(ctx, a, plan);
    case DType::bf16: return run_policy<BF16>(ctx, a, plan);
    default: return run_tiles<Tile128x128InTurn, int8_t>(ctx, a, plan);
  }
}

}  // namespace octavo
