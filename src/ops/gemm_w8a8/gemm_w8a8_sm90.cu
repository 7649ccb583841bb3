// gemm_w8a8 on Hopper, many tokens and a plain epilogue (gemm_w8a8_many.cuh), and the choice between the Hopper kernels:
//   y[m][n] = fma(float(sum_k x[m][k] w[n][k]) * w_scale[n], x_scale[m], bias[n])
#include "cuda/device.h"
#include "ops/gemm_w8a8/gemm_w8a8_cuda.h"
#include "ops/gemm_w8a8/gemm_w8a8_many.cuh"

namespace octavo {
namespace {

template <class Y>
void run_plain(const Context& ctx, const GemmW8A8Args& a, const Int8Plan& plan) {
  if (plan.tile == Int8Tile::m128_n256)
    run_tiles<Tile128x256, Y>(ctx, a, plan);
  else
    run_tiles<Tile128x128InTurn, Y>(ctx, a, plan);
}

bool is_plain(const GemmW8A8Args& a) {
  return a.activation == GemmActivation::none && !a.residual && !a.y_amax && a.y.dtype() != DType::i8;
}

}  // namespace

bool gemm_w8a8_fits_sm90(const GemmW8A8Args& a, const DeviceFacts& facts) {
  if (facts.compute_capability != 90 || a.x.dim(0) >= INT32_MAX / 2 || a.w.dim(0) >= INT32_MAX / 2)
    return false;
  if (a.x.dim(0) == 0 || a.w.dim(0) == 0) return true;  // nothing to do
  // NOTE: a build without sm_90a code has kernels that trap; they need no registers.
  const auto* kernel = reinterpret_cast<const void*>(gemm_w8a8_tiles<Tile128x256, float, Int8Policy::scales>);
  return cuda::tensor_map_takes(matrix_of(a.x)) && cuda::tensor_map_takes(matrix_of(a.w)) &&
         cuda::kernel_facts(kernel, 0).registers >= 128;
}

void gemm_w8a8_with_plan(const Context& ctx, const GemmW8A8Args& a, const Int8Plan& plan) {
  if (a.y.numel() == 0) return;
  if (!can_run(plan) || plan.split > tiles_over(a.x.dim(1), kDepthOfBlock))
    throw Error(ErrorKind::usage, "gemm_w8a8: this tile cannot split k that way");
  if (is_few(plan.tile)) return gemm_w8a8_few(ctx, a, plan);
  if (!is_plain(a)) return gemm_w8a8_fused(ctx, a, plan);
  if (is_some(plan.tile) && size_of(a.y.dtype()) == 2) return gemm_w8a8_some(ctx, a, plan);
  switch (a.y.dtype()) {
    case DType::f32: return run_plain<float>(ctx, a, plan);
    case DType::f16: return run_plain<F16>(ctx, a, plan);
    case DType::bf16: return run_plain<BF16>(ctx, a, plan);
    default: return run_plain<int32_t>(ctx, a, plan);
  }
}

void gemm_w8a8_sm90(const Context& ctx, const GemmW8A8Args& a) {
  gemm_w8a8_with_plan(
      ctx, a,
      plan_int8(a.x.dim(0), a.w.dim(0), tiles_over(a.x.dim(1), kDepthOfBlock),
                cuda::device_facts(cuda::current_device()).cores, is_plain(a) && size_of(a.y.dtype()) == 2));
}

}  // namespace octavo
