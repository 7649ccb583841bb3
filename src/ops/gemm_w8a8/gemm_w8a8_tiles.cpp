#include "ops/gemm_w8a8/gemm_w8a8_tiles.h"

#include <initializer_list>

namespace octavo {
namespace {

constexpr int kInt8OpsPerClock = 8192;  // of a multiprocessor of sm_90: wgmma s8
constexpr int64_t kEpilogueClocks = 1500;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Weights that stay in L2 (50 MB) while x passes by. Then tiles follow each other along N, so that x passes once.
constexpr int64_t kResidentBytes = int64_t{24} << 20;
bool stays_in_l2(int64_t n, int64_t k_blocks) { return n * k_blocks * kDepthOfBlock <= kResidentBytes; }

// Clocks of the busiest multiprocessor with a tile for many tokens. 128 x 128 in turn hides its epilogue, but an operand byte
// serves fewer products: measured 1.06 times the other's time at 8192 x 8192 x 8192, 0.97 times where the weights stay in L2.
int64_t clocks_of(Int8Tile tile, int64_t m, int64_t n, int64_t k_blocks, int cores) {
  const Int8TileShape s = shape_of(tile);
  const int64_t rounds = ceil_div(ceil_div(m, s.m * s.cluster) * ceil_div(n, s.n), cores / s.cluster);
  const int64_t products = int64_t{2} * s.m * s.n * kDepthOfBlock / kInt8OpsPerClock;
  const int64_t clocks = rounds * k_blocks * products;
  const int64_t percent = tile == Int8Tile::m128_n256 ? 100 : stays_in_l2(n, k_blocks) ? 97 : 106;
  return clocks * percent / 100 + kEpilogueClocks;
}

// Enough blocks for every multiprocessor, one each: the second place of it is the next kernel's, which loads its weights there.
Int8Plan plan_for_few(int64_t m, int64_t n, int64_t k_blocks, int cores) {
  const Int8Tile tile = m <= 16 ? Int8Tile::few16 : Int8Tile::few64;
  const int64_t tiles = ceil_div(n, shape_of(tile).n) * ceil_div(m, shape_of(tile).m);
  int split = 1;
  while (split < kMostSplit && tiles * split * 5 / 4 < cores && 2 * split <= k_blocks) split *= 2;
  return {.tile = tile, .split = split, .group = 1};
}

// Up to 256 tokens, each choice as measured at N = 4096 and 28672, K = 4096 and 14336 (op page). Where tiles of 64 features are too
// many for one a multiprocessor, 112 features: two tiles each at N = 28672, or 64 x 128 where those fit. Where x counts beside the
// weights, the first stages of both come first; where several blocks read each weight, the next kernel's start together.
Int8Plan plan_for_some(int64_t m, int64_t n, int64_t k_blocks, int cores) {
  constexpr int kFirst = 3;
  const bool long_k = k_blocks >= 64;
  const auto fits = [&](Int8Tile tile) {
    return ceil_div(m, shape_of(tile).m) * ceil_div(n, shape_of(tile).n) <= cores;
  };
  if (m <= 64) {
    if ((m <= 32 || long_k) && fits(Int8Tile::m64_n32)) return {.tile = Int8Tile::m64_n32};
    if (fits(Int8Tile::m64_n64)) return {.tile = Int8Tile::m64_n64, .early = kFirst};
    return {.tile = Int8Tile::m64_n112};
  }
  if (fits(Int8Tile::m64_n64))
    return {.tile = Int8Tile::m64_n64, .release = Int8Release::after_products, .early = kFirst};
  if (fits(Int8Tile::m64_n128))
    return {.tile = Int8Tile::m64_n128,
            .release = m > 128 && long_k ? Int8Release::at_end : Int8Release::after_products,
            .early = kFirst};
  if (m <= 128) return {.tile = Int8Tile::m128_n112, .release = Int8Release::after_products, .early = kFirst};
  return {.tile = Int8Tile::m128_n128_in_turn, .early = kFirst};
}

}  // namespace

Int8Plan plan_int8(int64_t m, int64_t n, int64_t k_blocks, int cores, bool plain) {
  if (m <= 128 && !plain) return plan_for_few(m, n, k_blocks, cores);
  if (m <= 256 && plain) return plan_for_some(m, n, k_blocks, cores);
  Int8Plan best;
  int64_t least = INT64_MAX;
  for (const Int8Tile tile : {Int8Tile::m128_n256, Int8Tile::m128_n128_in_turn}) {
    const int64_t clocks = clocks_of(tile, m, n, k_blocks, cores);
    if (clocks < least) least = clocks, best.tile = tile;
  }
  if (best.tile == Int8Tile::m128_n128_in_turn && stays_in_l2(n, k_blocks)) best.group = 1;
  return best;
}

}  // namespace octavo
