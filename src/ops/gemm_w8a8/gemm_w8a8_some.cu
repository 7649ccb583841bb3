// gemm_w8a8 on Hopper, Up to 256 tokens, y of 16 bits, scales and a bias: tiles so small that every multiprocessor has one.
#include "ops/gemm_w8a8/gemm_w8a8_cuda.h"
#include "ops/gemm_w8a8/gemm_w8a8_many.cuh"

namespace octavo {
namespace {

template <class Y>
void run_some(const Context& ctx, const GemmW8A8Args& a, const Int8Plan& plan) {
  switch (plan.tile) {
    case Int8Tile::m64_n128: return run_tiles<Tile64x128, Y>(ctx, a, plan);
    case Int8Tile::m64_n32: return run_tiles<Tile64x32, Y>(ctx, a, plan);
    case Int8Tile::m64_n64: return run_tiles<Tile64x64, Y>(ctx, a, plan);
    case Int8Tile::m64_n64_shared: return run_tiles<Tile64x64Shared, Y>(ctx, a, plan);
    default: return run_tiles<Tile128x256Alone, Y>(ctx, a, plan);
  }
}

}  // namespace

void gemm_w8a8_some(const Context& ctx, const GemmW8A8Args& a, const Int8Plan& plan) {
  if (a.y.dtype() == DType::f16)
    run_some<F16>(ctx, a, plan);
  else
    run_some<BF16>(ctx, a, plan);
}

}  // namespace octavo
