// gemm_w8a8 on Hopper, up to 256 tokens, y of 16 bits, scales and a bias: tiles of such sizes that every multiprocessor has work.
#include "ops/gemm_w8a8/gemm_w8a8_cuda.h"
#include "ops/gemm_w8a8/gemm_w8a8_many.cuh"

namespace octavo {

void gemm_w8a8_some(const Context& ctx, const GemmW8A8Args& a, const Int8Plan& plan) {
  switch (plan.tile) {
    case Int8Tile::m64_n32: return run_tiles<Tile64x32, EitherHalf>(ctx, a, plan);
    case Int8Tile::m64_n64: return run_tiles<Tile64x64, EitherHalf>(ctx, a, plan);
    case Int8Tile::m64_n128: return run_tiles<Tile64x128, EitherHalf>(ctx, a, plan);
    case Int8Tile::m64_n112: return run_tiles<Tile64x112, EitherHalf>(ctx, a, plan);
    default: return run_tiles<Tile128x112, EitherHalf>(ctx, a, plan);
  }
}

}  // namespace octavo
