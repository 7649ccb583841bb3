// How the kernels of gemm_w8a16 divide a product: pure functions, tested without a GPU.
#pragma once
#include <cstdint>

#include "core/dtype.h"

namespace octavo {

// ---- few tokens: y^T = w x^T in tiles of 16 features x 8 tokens, k in boxes of 128 that the warps of a block and the
// blocks of a cluster share out. Sums meet in a fixed order, so the bits depend on the plan only.

inline constexpr int kFewTokens = 8;     // of a tile
inline constexpr int kFewFeatures = 16;  // of a tile
inline constexpr int kBoxDepth = 128;    // k of a box: a row of the 128-byte swizzle
inline constexpr int kBoxBytes = kFewFeatures * kBoxDepth;
inline constexpr int kFewWarps = 8;              // of a block, each with its own ring of boxes
inline constexpr int kMostSlots = 12;            // of a ring
inline constexpr int kAsyncSlots = 4;            // of a ring without TMA
inline constexpr int kFewHeadBytes = 10 * 1024;  // of shared memory, in front of rings and activations
inline constexpr int kMostFewSplit = 8;          // blocks of a cluster

enum class FewSource : uint8_t {
  tma,    // sm_90, rows of w on 16 bytes
  async,  // sm_80, rows of w on 16 bytes
  bytes,  // any alignment of w
};

struct FewPlan {
  FewSource source = FewSource::tma;
  int split = 1;       // of k over the blocks of a cluster: 1, 2, 4 or 8
  int slots = 6;       // boxes of a warp's ring (tma)
  int per_core = 1;    // blocks of a multiprocessor
  int ahead = 0;       // boxes of a warp that are asked into L2 before the launch in front has finished
  int release = 1;     // tiles left to a block when it lets the next launch start
  bool early = false;  // w is read before the launch in front has finished
};

// Bytes of shared memory.
int64_t few_shared_bytes(const FewPlan& plan, int64_t m, int64_t k);
FewPlan plan_few(int64_t m, int64_t n, int64_t k, int cores, FewSource source);

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

}  // namespace octavo
