#include "ops/gemm_w8a16/gemm_w8a16_plan.h"

#include <algorithm>

namespace octavo {
namespace {

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

int64_t x_bytes(int64_t m, int64_t k, int split) {
  return m * few_x_pitch(static_cast<int>(ceil_div(ceil_div(k, kBoxDepth), split)));
}

constexpr int64_t kShared = 227 * 1024;  // of a block on Hopper
constexpr int64_t kMostBytesOfX = 116 * 1024;

}  // namespace

int64_t few_shared_bytes(const FewPlan& plan, int64_t m, int64_t k) {
  const int warps = few_warps(plan.source);
  return few_head_bytes(warps, plan.features) + int64_t{warps} * plan.slots * plan.features * kBoxDepth +
         x_bytes(m, k, plan.split);
}

// NOTE: two slots: with three or four, 1 x 28672 x 4096 took 32.3 and 33.0 us instead of 30.6 (H200). One block a
// multiprocessor: where two fit, clusters and the blocks of the next launch crowd some multiprocessors and leave others idle.
FewPlan plan_few(int64_t m, int64_t k, FewSource source, bool w_ready) {
  if (source != FewSource::tma) return {.source = source, .features = 32, .slots = kAsyncSlots};
  FewPlan plan{.early = w_ready};
  while (plan.split < kMostFewSplit && x_bytes(m, k, plan.split) > kMostBytesOfX) plan.split *= 2;
  if (plan.split == 1) return plan;
  FewPlan wide = plan;  // the exchange of a cluster costs the same for more features
  wide.features = 32;
  return few_shared_bytes(wide, m, k) <= kShared ? wide : plan;
}

ManyPlan plan_many(int64_t m, int64_t) { return {.tile = m <= 64 ? ManyTile::t64 : ManyTile::t256}; }

}  // namespace octavo
