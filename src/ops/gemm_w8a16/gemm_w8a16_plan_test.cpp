#include "ops/gemm_w8a16/gemm_w8a16_plan.h"

#include <gtest/gtest.h>

#include <set>

namespace octavo {
namespace {

constexpr int kH200Cores = 132;

// What lets the blocks of the next launch in beside those of this one.
TEST(GemmW8A16Plan, TwoBlocksFitTheSharedMemoryOfAMultiprocessor) {
  constexpr int64_t kShared = 228 * 1024, kReserved = 1024;
  for (const int64_t k : {128, 4096, 8192, 14336, 28672})
    for (const int64_t n : {16, 4096, 8192, 28672, 128256}) {
      const StreamPlan plan = plan_stream(n, k, kH200Cores, false);
      EXPECT_LE(2 * (stream_shared_bytes(plan) + kReserved), kShared) << n << " " << k;
      EXPECT_LE(plan.stages, kMostStages);
    }
}

TEST(GemmW8A16Plan, LongRowsOfFewFeaturesAreSplitOverACluster) {
  EXPECT_EQ(plan_stream(4096, 4096, kH200Cores, false).split, 1);
  EXPECT_EQ(plan_stream(28672, 4096, kH200Cores, false).split, 1);
  EXPECT_EQ(plan_stream(4096, 14336, kH200Cores, false).split, 2);
  EXPECT_EQ(plan_stream(8192, 8192, kH200Cores, false).split, 2);
  EXPECT_EQ(plan_stream(28672, 8192, kH200Cores, false).split, 1);  // more tiles than a batch
}

TEST(GemmW8A16Plan, WeightsAreReadEarlyOnlyWhereTheCallerSaysSo) {
  EXPECT_FALSE(plan_stream(4096, 4096, kH200Cores, false).early);
  EXPECT_TRUE(plan_stream(4096, 4096, kH200Cores, true).early);
}

TEST(GemmW8A16Plan, RowsOfTheTensorCoresAreAPermutation) {
  for (int g = 0; g < 8; ++g) EXPECT_EQ(row_of_feature(feature_of_row(g)), g);
  // Lanes 0 to 7 read parts 0 to 3 of rows 0 and 1, which the swizzle must not put into the same banks.
  EXPECT_EQ(feature_of_row(0) ^ feature_of_row(1), 4);
}

TEST(GemmW8A16Plan, TilesAreVisitedOnce) {
  for (const TileGrid grid :
       {TileGrid{1, 1, 8}, TileGrid{16, 224, 8}, TileGrid{13, 7, 4}, TileGrid{3, 5, 8}}) {
    std::set<std::pair<int, int>> seen;
    for (int i = 0; i < grid.count(); ++i) {
      const TilePlace at = place_of(grid, i);
      EXPECT_TRUE(at.row >= 0 && at.row < grid.rows && at.column >= 0 && at.column < grid.columns);
      seen.emplace(at.row, at.column);
    }
    EXPECT_EQ(static_cast<int>(seen.size()), grid.count());
  }
}

TEST(GemmW8A16Plan, TokensChooseTheTile) {
  EXPECT_EQ(plan_many(9, 4096).tile, ManyTile::t64);
  EXPECT_EQ(plan_many(64, 4096).tile, ManyTile::t64);
  EXPECT_EQ(plan_many(65, 4096).tile, ManyTile::t256);
  EXPECT_EQ(plan_many(4096, 4096).tile, ManyTile::t256);
}

}  // namespace
}  // namespace octavo
