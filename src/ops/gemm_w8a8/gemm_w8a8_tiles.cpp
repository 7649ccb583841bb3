#include "ops/gemm_w8a8/gemm_w8a8_tiles.h"

#include <algorithm>

namespace octavo {
namespace {

constexpr int kInt8OpsPerClock = 8192;          // of a multiprocessor of sm_90: wgmma s8
constexpr int64_t kEpilogueClocks = 1500;       // of a tile, where nothing hides it
constexpr int64_t kClocksPerWeightBlock = 620;  // 128 x 128 codes at an even share of 4.7 TB/s, 1.8 GHz
constexpr int64_t kJoinClocks = 2500;           // a cluster's sums meet: two waits of about a microsecond

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Clocks of the busiest multiprocessor.
int64_t clocks_of(const Int8Plan& plan, int64_t m, int64_t n, int64_t k_blocks, int cores) {
  const Int8TileShape s = shape_of(plan.tile);
  const int64_t blocks_of_cluster = is_few(plan.tile) ? plan.split : s.cluster;
  const int64_t m_cluster = is_few(plan.tile) || !s.share_w ? s.m : s.m * s.cluster;
  const int64_t n_cluster = is_few(plan.tile) || s.share_w ? s.n : s.n * s.cluster;
  const int64_t rounds =
      ceil_div(ceil_div(m, m_cluster) * ceil_div(n, n_cluster), cores * s.per_core / blocks_of_cluster);
  const int64_t products = int64_t{2} * s.m * s.n * kDepthOfBlock / kInt8OpsPerClock;
  if (is_few(plan.tile))
    return rounds * s.per_core * ceil_div(k_blocks, plan.split) * std::max(products, kClocksPerWeightBlock) +
           (plan.split > 1 ? kJoinClocks : kEpilogueClocks) + rounds * kEpilogueClocks / 4;
  // In turn, only the last tile's epilogue shows; else its second half is hidden by the other warpgroup's products.
  const int64_t shown =
      plan.tile == Int8Tile::m128_n128_in_turn ? kEpilogueClocks : rounds * kEpilogueClocks / 2;
  return rounds * k_blocks * products + shown;
}

}  // namespace

Int8Plan plan_int8(int64_t m, int64_t n, int64_t k_blocks, int cores) {
  const Int8Tile few = m <= 16   ? Int8Tile::few16
                       : m <= 32 ? Int8Tile::few32
                       : m <= 64 ? Int8Tile::few64
                                 : Int8Tile::few128;
  Int8Plan best;
  int64_t least = INT64_MAX;
  const auto consider = [&](const Int8Plan& plan) {
    const int64_t clocks = clocks_of(plan, m, n, k_blocks, cores);
    if (clocks < least) least = clocks, best = plan;
  };
  if (m > 64)
    for (const Int8Tile tile : {Int8Tile::m128_n256, Int8Tile::m256_n128, Int8Tile::m128_n128_in_turn})
      consider({.tile = tile});
  if (m <= 512)
    for (const int split : {1, 2, 4, 8})
      if (split <= k_blocks && split <= cores) consider({.tile = few, .split = split, .group = 1});
  return best;
}

}  // namespace octavo
