// How the kernels of gemm_w8a16 divide a product: pure functions, tested without a GPU.
#pragma once
#include <cstdint>

#include "core/dtype.h"

namespace octavo {

// ---- few tokens: y^T = w x^T in tiles of 32 or 16 features x 8 tokens, k in boxes of 128 that the warps of a block and the
// blocks of a cluster share out. Sums meet in a fixed order, so the bits depend on the plan only.

inline constexpr int kFewTokens = 8;     // of a tile
inline constexpr int kBoxDepth = 128;    // k of a box: a row of the 128-byte swizzle
inline constexpr int kMostSlots = 8;     // of a ring
inline constexpr int kAsyncSlots = 2;    // of a ring without TMA
inline constexpr int kMostFewSplit = 8;  // blocks of a cluster

enum class FewSource : uint8_t {
  tma,    // sm_90, rows of w on 16 bytes
  async,  // sm_80, rows of w on 16 bytes
  bytes,  // any alignment of w
};

// Warps of a block, each with its own ring.
OCTAVO_HD constexpr int few_warps(FewSource source) { return source == FewSource::tma ? 16 : 8; }

struct FewPlan {
  FewSource source = FewSource::tma;
  int features = 16;   // of a tile: 32 or 16; 32 without TMA
  int split = 1;       // of k over the blocks of a cluster: 1, 2, 4 or 8; 1 without TMA
  int slots = 2;       // boxes of a warp's ring; kAsyncSlots without TMA
  bool early = false;  // w is read before the launch in front has finished (tma)
};

// Of shared memory, in front of rings and activations.
OCTAVO_HD constexpr int few_head_bytes(int warps, int features) {
  return ((warps + 2) * features * 32 + 2048 + 1023) / 1024 * 1024;
}
// Bytes of shared memory.
int64_t few_shared_bytes(const FewPlan& plan, int64_t m, int64_t k);
FewPlan plan_few(int64_t m, int64_t k, FewSource source, bool w_ready);

// The part of `count` that block `rank` of `split` takes: [begin, end).
struct Part {
  int begin, end;
};
OCTAVO_HD constexpr Part part_of(int count, int split, int rank) {
  return {static_cast<int>(int64_t{count} * rank / split),
          static_cast<int>(int64_t{count} * (rank + 1) / split)};
}

// Bytes of a token's activations in shared memory: 16 more than a multiple of 128, so that two tokens' parts of 64 bytes
// do not meet in a bank.
OCTAVO_HD constexpr int few_x_pitch(int boxes) { return boxes * kBoxDepth * 2 + 16; }

// The feature (0 to 7, then 8 more) whose weights are rows g and g + 8 of the tensor cores' tile: rows 0 and 1 come from
// features 0 and 4, whose parts of 64 bytes lie in different banks of the swizzle, and so on.
OCTAVO_HD constexpr int feature_of_row(int g) { return g % 2 * 4 + g / 2; }
OCTAVO_HD constexpr int row_of_feature(int f) { return f % 4 * 2 + f / 4; }

// ---- many tokens: tiles of 128 features x some tokens

enum class ManyTile : uint8_t {
  t256,  // 256 tokens, shared by two blocks
  t64,   // 64 tokens
};
struct ManyPlan {
  ManyTile tile = ManyTile::t256;
  int group = 8;  // tiles of tokens that walk together along the features
  int lead = 4;   // steps of k by which one warpgroup runs ahead of the other
};
ManyPlan plan_many(int64_t m, int64_t n);

// Tiles in the order in which they are worked on: `group` rows at a time, down the rows first, so that the blocks at work at
// one time cover a compact part of both operands and L2 serves them.
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

}  // namespace octavo
