#include "ops/gemm_w8a16/gemm_w8a16_plan.h"

#include <gtest/gtest.h>

#include <set>

namespace octavo {
namespace {

constexpr int64_t kH200Shared = 227 * 1024;

FewPlan plan_for(int64_t m, int64_t k) { return plan_few(m, k, FewSource::tma, false); }

TEST(GemmW8A16Plan, FewTokensFitTheSharedMemoryOfABlock) {
  for (int64_t m = 1; m <= kFewTokens; ++m)
    for (const int64_t k : {1, 128, 4096, 8192, 14336, 28672}) {
      const FewPlan plan = plan_for(m, k);
      EXPECT_LE(few_shared_bytes(plan, m, k), kH200Shared) << m << " " << k;
      EXPECT_LE(plan.slots, kMostSlots);
    }
}

TEST(GemmW8A16Plan, ManyActivationsAreSplitOverACluster) {
  EXPECT_EQ(plan_for(1, 14336).split, 1);
  EXPECT_EQ(plan_for(8, 4096).split, 1);
  EXPECT_EQ(plan_for(8, 14336).split, 2);
  EXPECT_EQ(plan_few(8, 14336, FewSource::async, false).split, 1);  // clusters are Hopper's
}

TEST(GemmW8A16Plan, WeightsAreReadEarlyOnlyWhereTheCallerSaysSo) {
  EXPECT_FALSE(plan_few(1, 4096, FewSource::tma, false).early);
  EXPECT_TRUE(plan_few(1, 4096, FewSource::tma, true).early);
}

TEST(GemmW8A16Plan, PartsCoverEverythingOnce) {
  for (const int count : {0, 1, 5, 32, 113})
    for (const int split : {1, 2, 4, 8}) {
      int end = 0;
      for (int rank = 0; rank < split; ++rank) {
        const Part part = part_of(count, split, rank);
        EXPECT_EQ(part.begin, end);
        EXPECT_LE(part.end - part.begin, (count + split - 1) / split);  // what shared memory is made for
        end = part.end;
      }
      EXPECT_EQ(end, count);
    }
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
