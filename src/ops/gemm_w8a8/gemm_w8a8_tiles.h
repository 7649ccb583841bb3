// Which tile, which split and which order the Hopper kernels of gemm_w8a8 use: pure functions, tested without a GPU.
// Integer sums do not depend on any of it, so the choice never changes a bit of y.
#pragma once
#include <cstdint>

#include "core/dtype.h"

namespace octavo {

inline constexpr int kDepthOfBlock = 128;  // k of one stage: a row of the 128-byte swizzle

// The kernels: tile of tokens x features, blocks of a cluster, and what they share.
enum class Int8Tile : uint8_t {
  m128_n256,          // two blocks share the weights; both warpgroups work on one tile
  m128_n128_in_turn,  // two blocks share the weights; a warpgroup stores while the other multiplies
  // y of 16 bits with scales and a bias alone, up to 256 tokens. One warpgroup multiplies:
  m64_n32,
  m64_n64,
  m64_n128,
  // Two, in turn:
  m64_n112,
  m128_n112,
  // Everything else for up to 128 tokens: weights as the left operand, 128 features, k split over the cluster.
  few16,
  few64,
};
inline constexpr int kInt8Tiles = 9;
inline constexpr int kMostSplit = 4;  // of k over a cluster

struct Int8TileShape {
  int m, n;     // tokens, features
  int cluster;  // blocks that share the weights
  const char* name;
};
constexpr Int8TileShape shape_of(Int8Tile tile) {
  constexpr Int8TileShape shapes[kInt8Tiles] = {
      {128, 256, 2, "128x256x128"}, {128, 128, 2, "128x128x128"},   {64, 32, 1, "64x32x128"},
      {64, 64, 1, "64x64x128"},     {64, 128, 1, "64x128x128"},     {64, 112, 1, "64x112x128"},
      {128, 112, 1, "128x112x128"}, {16, 128, 1, "16x128x128/few"}, {64, 128, 1, "64x128x128/few"}};
  return shapes[static_cast<int>(tile)];
}
constexpr bool is_some(Int8Tile tile) { return tile >= Int8Tile::m64_n32 && tile <= Int8Tile::m128_n112; }
constexpr bool is_few(Int8Tile tile) { return tile >= Int8Tile::few16; }

// When the kernel behind may start: once all blocks of this one have started, have done their products, or have ended. Blocks of
// a kernel that starts late find all multiprocessors free, and those that read the same weights lie where L2 serves them together.
enum class Int8Release : uint8_t { at_start, after_products, at_end };

inline constexpr int kWholeRing = 64;  // stages, more than any ring has

struct Int8Plan {
  Int8Tile tile = Int8Tile::m128_n256;
  int split = 1;        // of k over the blocks of a cluster: 1, 2 or 4; few only
  int group = 8;        // clusters along M that walk together along N
  bool overlap = true;  // blocks may start while the kernel in front still runs
  Int8Release release = Int8Release::at_start;
  int early =
      kWholeRing;  // stages whose constant weights are asked for first, before any x: each load takes its thread 50 ns
};

constexpr bool can_run(const Int8Plan& p) {
  return p.group > 0 && p.early >= 0 &&
         (p.split == 1 || (is_few(p.tile) && (p.split == 2 || p.split == kMostSplit)));
}

// The plan for M tokens, N features and `k_blocks` blocks of k on `cores` multiprocessors. plain: y has 16 bits, and no more
// than scales and a bias stand behind the sums.
Int8Plan plan_int8(int64_t m, int64_t n, int64_t k_blocks, int cores, bool plain);

// The part of k that block `rank` of `split` takes: blocks [begin, end).
struct KRange {
  int begin, end;
};
OCTAVO_HD constexpr KRange k_range(int k_blocks, int split, int rank) {
  return {static_cast<int>(int64_t{k_blocks} * rank / split),
          static_cast<int>(int64_t{k_blocks} * (rank + 1) / split)};
}

// Tiles of clusters in the order in which they are worked on: `group` rows at a time, down the rows first, so that the
// blocks at work at one time cover a compact part of both operands and L2 serves them.
struct TileGrid {
  int rows, columns, group;

  OCTAVO_HD constexpr int count() const { return rows * columns; }
};
struct TilePlace {
  int row, column;
};
OCTAVO_HD constexpr TilePlace place_of(const TileGrid& grid, int index) {
  const int per_group = grid.group * grid.columns;
  const int first = index / per_group * grid.group, at = index % per_group;
  const int height = grid.rows - first < grid.group ? grid.rows - first : grid.group;
  return {first + at % height, at / height};
}

// Where 16-byte part `part` of a row lies in shared memory, in bytes: rows of 128 (8 parts) or 64 bytes (4 parts), permuted
// so that neither the eight rows of an 8 x 16-byte matrix nor the parts of whole rows meet in a bank.
OCTAVO_HD constexpr int place_in_rows_of_128(int row, int part) {
  return row * 128 + (part ^ (row % 8)) * 16;
}
OCTAVO_HD constexpr int place_in_rows_of_64(int row, int part) {
  return row * 64 + (part ^ (row / 2 % 4)) * 16;
}

}  // namespace octavo
