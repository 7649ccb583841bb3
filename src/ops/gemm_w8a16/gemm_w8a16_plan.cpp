#include "ops/gemm_w8a16/gemm_w8a16_plan.h"

#include <algorithm>

namespace octavo {
namespace {

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace

StreamPlan plan_stream(int64_t n, int64_t k, int cores, bool w_ready) {
  StreamPlan plan{.early = w_ready};
  const int64_t tiles = ceil_div(n, kStreamFeatures), clusters = cores / kMostStreamSplit;
  // Then a block loads x in fewer chunks, and half of it. NOTE: clusters of four took 23.9 us where two took 17.3.
  if (k > kChunkDepth && tiles <= clusters * kStreamBatch) plan.split = kMostStreamSplit;
  return plan;
}

int64_t few_shared_bytes(int64_t m, int64_t k) {
  return kFewHeadBytes + int64_t{kFewWarps} * kFewSlots * kFewFeatures * kBoxDepth +
         m * few_x_pitch(static_cast<int>(ceil_div(k, kBoxDepth)));
}

ManyPlan plan_many(int64_t m, int64_t) { return {.tile = m <= 64 ? ManyTile::t64 : ManyTile::t256}; }

}  // namespace octavo
