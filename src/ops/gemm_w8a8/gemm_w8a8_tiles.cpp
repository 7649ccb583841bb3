#include "ops/gemm_w8a8/gemm_w8a8_tiles.h"

#include <initializer_list>

namespace octavo {
namespace {

constexpr int kInt8OpsPerClock = 8192;  // of a multiprocessor of sm_90: wgmma s8
constexpr int64_t kEpilogueClocks = 1500;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Clocks of the busiest multiprocessor with a tile for many tokens. (128 x 128 in turn: an operand byte serves fewer products;
// measured 1.06 times the others' time at 8192 x 8192 x 8192, equal at 1024 x 4096 x 4096.)
int64_t clocks_of(Int8Tile tile, int64_t m, int64_t n, int64_t k_blocks, int cores) {
  const Int8TileShape s = shape_of(tile);
  const int64_t m_cluster = s.share_w ? s.m * s.cluster : s.m, n_cluster = s.share_w ? s.n : s.n * s.cluster;
  const int64_t rounds = ceil_div(ceil_div(m, m_cluster) * ceil_div(n, n_cluster), cores / s.cluster);
  const int64_t products = int64_t{2} * s.m * s.n * kDepthOfBlock / kInt8OpsPerClock;
  const int64_t clocks = rounds * k_blocks * products;
  return tile == Int8Tile::m128_n128_in_turn ? clocks * 106 / 100 + kEpilogueClocks
                                             : clocks + kEpilogueClocks;
}

Int8Plan plan_for_few(int64_t m, int64_t n, int64_t k_blocks, int cores) {
  constexpr int kWide = 256;
  if (ceil_div(n, kWide) >= cores * 3 / 4)  // every multiprocessor has a tile of 256 features
    return {.tile = m <= 16   ? Int8Tile::few16_wide
                    : m <= 64 ? Int8Tile::few64_wide
                              : Int8Tile::m128_n256_alone,
            .group = 1,
            .lead = 0};
  const Int8Tile tile = m <= 16   ? Int8Tile::few16
                        : m <= 32 ? Int8Tile::few32
                        : m <= 64 ? Int8Tile::few64
                                  : Int8Tile::few128;
  // Enough blocks for every multiprocessor. NOTE: with one block a multiprocessor (few128), clusters of four do not fill the
  // GPU: 32 of them took 19 us, 32 clusters of two 13 (H200, 128x4096x4096).
  const int most = tile == Int8Tile::few128 ? 2 : kMostSplit;
  const int64_t tiles = ceil_div(n, shape_of(tile).n) * ceil_div(m, shape_of(tile).m);
  int split = 1;
  while (split < most && tiles * split * 5 / 4 < cores && 2 * split <= k_blocks) split *= 2;
  return {.tile = tile, .split = split, .group = 1, .lead = 0};
}

}  // namespace

Int8Plan plan_int8(int64_t m, int64_t n, int64_t k_blocks, int cores) {
  if (m <= 128 || (m <= 256 && n * m <= int64_t{cores} * 128 * 128))
    return plan_for_few(m, n, k_blocks, cores);
  Int8Plan best;
  int64_t least = INT64_MAX;
  for (const Int8Tile tile : {Int8Tile::m128_n256, Int8Tile::m256_n128, Int8Tile::m128_n128_in_turn}) {
    const int64_t clocks = clocks_of(tile, m, n, k_blocks, cores);
    if (clocks < least) least = clocks, best.tile = tile;
  }
  return best;
}

}  // namespace octavo
