#include "ops/gemm_w8a16/gemm_w8a16_plan.h"

#include <algorithm>

namespace octavo {
namespace {

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

int64_t x_bytes(int64_t m, int64_t k, int split) {
  return m * few_x_pitch(static_cast<int>(ceil_div(ceil_div(k, kBoxDepth), split)));
}

// Of a block, so that two fit a multiprocessor: the next launch's waits beside ours and has its first boxes in L2.
constexpr int64_t kHalfShared = 227 * 1024 / 2 - 1024;
constexpr int64_t kMostBytesOfX = 40 * 1024;

}  // namespace

int64_t few_shared_bytes(const FewPlan& plan, int64_t m, int64_t k) {
  return kFewHeadBytes + int64_t{kFewWarps} * plan.slots * kBoxBytes + x_bytes(m, k, plan.split);
}

FewPlan plan_few(int64_t m, int64_t, int64_t k, int, FewSource source) {
  FewPlan plan{.source = source};
  if (source != FewSource::tma) {
    plan.slots = kAsyncSlots;
    return plan;
  }
  while (plan.split < kMostFewSplit && x_bytes(m, k, plan.split) > kMostBytesOfX) plan.split *= 2;
  plan.slots = static_cast<int>(std::clamp<int64_t>(
      (kHalfShared - kFewHeadBytes - x_bytes(m, k, plan.split)) / (kFewWarps * kBoxBytes), 3, 6));
  plan.ahead = 4;
  return plan;
}

}  // namespace octavo
