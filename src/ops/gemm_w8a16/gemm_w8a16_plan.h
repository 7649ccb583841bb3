// How the kernels of gemm_w8a16 divide a product: pure functions, tested without a GPU.
#pragma once
#include <cstdint>

#include "core/dtype.h"

namespace octavo {

// ---- few tokens on Hopper: tiles of 16 features x 8 tokens, w streamed in stages of 16 x 1,024 k through a ring. A chunk of
// k is what a block keeps of x in registers; the blocks of a cluster split k. Sums meet in a fixed order that N, K and the
// GPU choose, so that a row's bits do not depend on how many rows come with it.

inline constexpr int kFewTokens = 8;  // of a tile
inline constexpr int kStreamFeatures = 16, kStageDepth = 1024, kChunkDepth = 4096;
inline constexpr int kStageBytes = kStreamFeatures * kStageDepth;
inline constexpr int kMostStages = 12;
inline constexpr int kStreamBatch = 8;              // tiles that a block works on chunk after chunk
inline constexpr int kStreamHeadBytes = 13 * 1024;  // of shared memory, in front of the ring
inline constexpr int kMostStreamSplit = 2;

struct StreamPlan {
  int split = 1;   // of k over the blocks of a cluster: 1 or 2; 2 for at most kStreamBatch tiles a cluster
  int stages = 6;  // of the ring
  bool early = false;  // w is read before the launch in front has finished
};

// Bytes of shared memory.
OCTAVO_HD constexpr int64_t stream_shared_bytes(const StreamPlan& plan) {
  return kStreamHeadBytes + int64_t{plan.stages} * kStageBytes +
         (plan.split > 1 ? kStreamBatch / kMostStreamSplit * 512 : 0);
}
StreamPlan plan_stream(int64_t n, int64_t k, int cores, bool w_ready);

// ---- few tokens anywhere: tiles of 32 features x 8 tokens, k in boxes of 128 that the warps of a block share out. Sums meet
// in a fixed order that K fixes.

inline constexpr int kFewFeatures = 32;  // of a tile
inline constexpr int kFewWarps = 8;      // of a block, each with its own ring
inline constexpr int kBoxDepth = 128;    // k of a box
inline constexpr int kFewSlots = 2;      // boxes of a ring

inline constexpr int kFewHeadBytes = kFewWarps * kFewFeatures * kFewTokens * 4;
// Bytes of shared memory.
int64_t few_shared_bytes(int64_t m, int64_t k);

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
