// The pure parts of the Hopper kernels: no GPU needed.
#include <gtest/gtest.h>

#include <set>

#include "cuda/ptx/tile_descriptor.h"
#include "ops/gemm_w8a8/gemm_w8a8_tiles.h"

namespace octavo {
namespace {

TEST(Int8Tiles, OrderVisitsEveryTileOnce) {
  for (const int rows : {1, 2, 7, 8, 9, 33})
    for (const int columns : {1, 5, 16, 112})
      for (const int group : {1, 3, 8, 64}) {
        const TileGrid grid{rows, columns, group};
        std::set<std::pair<int, int>> seen;
        for (int i = 0; i < grid.count(); ++i) {
          const TilePlace at = place_of(grid, i);
          ASSERT_TRUE(at.row >= 0 && at.row < rows && at.column >= 0 && at.column < columns)
              << rows << " x " << columns << ", group " << group << ", tile " << i;
          seen.insert({at.row, at.column});
        }
        ASSERT_EQ(static_cast<int>(seen.size()), rows * columns);
      }
}

// 66 clusters at work on 32 x 112 tiles touch at most 8 rows and 10 columns: a compact part of both operands.
TEST(Int8Tiles, OrderIsCompact) {
  const TileGrid grid{32, 112, 8};
  for (int first = 0; first + 66 <= grid.count(); first += 66) {
    std::set<int> rows, columns;
    for (int i = first; i < first + 66; ++i)
      rows.insert(place_of(grid, i).row), columns.insert(place_of(grid, i).column);
    if (place_of(grid, first).row / 8 != place_of(grid, first + 65).row / 8) continue;  // between two groups
    EXPECT_LE(rows.size() * columns.size(), 8u * 10u);
  }
}

TEST(Int8Tiles, RanksCoverK) {
  for (const int blocks : {1, 2, 3, 7, 8, 32, 112, 1024})
    for (const int split : {1, 2, 4}) {
      int next = 0;
      for (int rank = 0; rank < split; ++rank) {
        const KRange k = k_range(blocks, split, rank);
        EXPECT_EQ(k.begin, next);
        EXPECT_GE(k.end, k.begin);
        EXPECT_TRUE(split > blocks || k.end > k.begin) << "every rank has work";
        next = k.end;
      }
      EXPECT_EQ(next, blocks);
    }
}

TEST(Int8Plan, FewTokensSplitKToFillTheGpu) {
  for (const int64_t m : {1, 15, 16, 17, 63, 64, 65, 128}) {
    const Int8Plan plan = plan_int8(m, 4096, 32, 132, false);
    EXPECT_TRUE(is_few(plan.tile)) << m;
    EXPECT_EQ(plan.split, m <= 64 ? 4 : 2) << m << " tokens: 128 blocks on 132 multiprocessors";
    EXPECT_EQ(plan_int8(m, 28672, 32, 132, false).split, 1) << m << " tokens, wide w";
    EXPECT_TRUE(is_some(plan_int8(m, 4096, 32, 132, true).tile)) << m;
  }
  EXPECT_EQ(plan_int8(16, 28672, 32, 132, false).tile, Int8Tile::few16);
  EXPECT_EQ(plan_int8(1, 1, 1, 132, false).split, 1) << "one block of k cannot be split";
  EXPECT_LE(plan_int8(1, 128, 3, 132, false).split, 3);
}

TEST(Int8Plan, SomeTokensFillTheMultiprocessors) {
  const auto tile = [](int64_t m, int64_t n, int64_t blocks) {
    return plan_int8(m, n, blocks, 132, true).tile;
  };
  EXPECT_EQ(tile(16, 4096, 32), Int8Tile::m64_n32);
  EXPECT_EQ(tile(64, 4096, 32), Int8Tile::m64_n64);
  EXPECT_EQ(tile(64, 4096, 112), Int8Tile::m64_n32) << "k is long";
  for (const int64_t m : {1, 16, 32, 64})
    EXPECT_EQ(tile(m, 28672, 32), Int8Tile::m64_n112) << "two tiles for each of 128";
  EXPECT_EQ(tile(128, 28672, 32), Int8Tile::m128_n112) << "the same";
  EXPECT_EQ(tile(128, 4096, 32), Int8Tile::m64_n64);
  EXPECT_EQ(tile(128, 4096, 112), Int8Tile::m64_n64);
  EXPECT_EQ(tile(128, 8192, 32), Int8Tile::m64_n128);
  EXPECT_EQ(tile(256, 4096, 32), Int8Tile::m64_n128);
  EXPECT_EQ(tile(256, 4096, 112), Int8Tile::m64_n128);
  EXPECT_EQ(tile(256, 28672, 32), Int8Tile::m128_n128_in_turn);
}

// As measured: the next kernel's blocks start together where several read each weight; few tokens ask for all weights first.
TEST(Int8Plan, WhenTheNextKernelStarts) {
  const auto plan = [](int64_t m, int64_t n, int64_t blocks) { return plan_int8(m, n, blocks, 132, true); };
  for (const int64_t m : {1, 32})
    for (const auto& [n, blocks] : {std::pair<int64_t, int64_t>{4096, 32}, {28672, 32}, {4096, 112}}) {
      EXPECT_EQ(plan(m, n, blocks).release, Int8Release::at_start) << m << " x " << n;
      EXPECT_EQ(plan(m, n, blocks).early, kWholeRing) << m << " x " << n;
    }
  EXPECT_EQ(plan(128, 4096, 32).release, Int8Release::after_products);
  EXPECT_EQ(plan(256, 4096, 32).release, Int8Release::after_products);
  EXPECT_EQ(plan(256, 4096, 112).release, Int8Release::at_end);
  EXPECT_LT(plan(256, 4096, 112).early, 9) << "not the whole ring";
  for (const int64_t m : {1024, 8192}) EXPECT_EQ(plan(m, 4096, 32).release, Int8Release::at_start);
}

TEST(Int8Plan, ManyTokensTakeLargeTiles) {
  for (const int64_t m : {1024, 2048, 4096, 8192})
    for (const auto& [n, blocks] :
         {std::pair<int64_t, int64_t>{4096, 32}, {28672, 32}, {4096, 112}, {8192, 64}}) {
      const Int8Plan plan = plan_int8(m, n, blocks, 132, true);
      EXPECT_TRUE(plan.tile == Int8Tile::m128_n256 || plan.tile == Int8Tile::m128_n128_in_turn);
      EXPECT_EQ(plan.split, 1);
    }
}

TEST(Int8Plan, TilesGoAlongNWhereTheWeightsStayInL2) {
  for (const int64_t m : {2048, 4096, 8192}) {
    const Int8Plan plan = plan_int8(m, 4096, 32, 132, true);
    EXPECT_EQ(plan.tile, Int8Tile::m128_n128_in_turn) << m;
    EXPECT_EQ(plan.group, 1) << m;
    for (const auto& [n, blocks] : {std::pair<int64_t, int64_t>{28672, 32}, {4096, 112}, {8192, 64}}) {
      EXPECT_EQ(plan_int8(m, n, blocks, 132, true).tile, Int8Tile::m128_n256) << m << " x " << n;
      EXPECT_EQ(plan_int8(m, n, blocks, 132, true).group, 8) << m << " x " << n;
    }
  }
}

TEST(Int8Plan, OnlyTilesForFewTokensSplitK) {
  EXPECT_TRUE(can_run({.tile = Int8Tile::few64, .split = 4}));
  EXPECT_FALSE(can_run({.tile = Int8Tile::few64, .split = 3}));
  EXPECT_FALSE(can_run({.tile = Int8Tile::few64, .split = 8}));
  EXPECT_FALSE(can_run({.tile = Int8Tile::m64_n64, .split = 2}));
  EXPECT_FALSE(can_run({.tile = Int8Tile::m128_n256, .split = 2}));
  EXPECT_FALSE(can_run({.tile = Int8Tile::m128_n256, .group = 0}));
}

// Whatever the shape and the GPU, the plan can run: no cluster larger than the GPU, no rank without k.
TEST(Int8Plan, AlwaysRuns) {
  for (int64_t m = 1; m < 3000; m = m * 5 / 4 + 1)
    for (int64_t n = 1; n < 60000; n = n * 3 + 1)
      for (const int64_t blocks : {1, 2, 5, 32, 1024})
        for (const int cores : {8, 78, 114, 132}) {
          const Int8Plan plan = plan_int8(m, n, blocks, cores, m % 2 == 0);
          const int split = plan.split;
          ASSERT_LE(split * shape_of(plan.tile).cluster, cores);
          ASSERT_LE(split, blocks);
          ASSERT_TRUE(can_run(plan));
        }
}

// Bits as the PTX ISA lists them, by hand: address 0x1400 / 16 = 0x140; leading 1 << 16; 1,024 / 16 = 64 << 32; 1 << 62.
TEST(TileDescriptor, BitFields) {
  EXPECT_EQ(cuda::ptx::tile_descriptor(0x1400), 0x4000004000010140ull);
  EXPECT_EQ(cuda::ptx::tile_descriptor(227 * 1024 - 1024) & 0x3fff, 226u * 64)
      << "the highest tile fits 14 bits";
  EXPECT_EQ(cuda::ptx::advance(cuda::ptx::tile_descriptor(0), 96), 0x4000004000010006ull);
  EXPECT_EQ(cuda::ptx::advance(cuda::ptx::tile_descriptor(0x400), 64 * 128),
            cuda::ptx::tile_descriptor(0x400 + 8192));
}

// Shared memory moves 128 bytes at once: eight 16-byte accesses, which must lie in eight different sixteenths of 128 bytes.
template <class Place>
void expect_no_conflict(Place&& place, const char* what) {
  std::set<int> sixteenths;
  for (int i = 0; i < 8; ++i) sixteenths.insert(place(i) % 128 / 16);
  EXPECT_EQ(sixteenths.size(), 8u) << what;
}

TEST(Swizzle, NoPlaceTwiceAndNoBankConflict) {
  std::set<int> rows_of_128, rows_of_64;
  for (int row = 0; row < 16; ++row) {
    for (int part = 0; part < 8; ++part) rows_of_128.insert(place_in_rows_of_128(row, part));
    for (int part = 0; part < 4; ++part) rows_of_64.insert(place_in_rows_of_64(row, part));
    expect_no_conflict([&](int part) { return place_in_rows_of_128(row, part); }, "a row read whole");
  }
  EXPECT_EQ(rows_of_128.size(), 16u * 8);
  EXPECT_EQ(rows_of_64.size(), 16u * 4);
  EXPECT_EQ(*rows_of_128.rbegin(), 16 * 128 - 16);
  EXPECT_EQ(*rows_of_64.rbegin(), 16 * 64 - 16);
  for (const int first_row : {0, 8})
    for (int part = 0; part < 8; ++part) {
      expect_no_conflict([&](int r) { return place_in_rows_of_128(first_row + r, part); },
                         "a matrix, stmatrix");
      expect_no_conflict([&](int r) { return place_in_rows_of_64(first_row + r, part % 4); },
                         "a matrix, ldmatrix");
    }
}

}  // namespace
}  // namespace octavo
