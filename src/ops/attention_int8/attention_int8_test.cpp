#include "ops/attention_int8/attention_int8.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "cuda/ptx/tile_descriptor.h"
#include "harness/expect_cases.h"
#include "harness/expect_error.h"
#include "harness/isa_test.h"
#include "ops/attention_int8/attention_int8_cases.h"

namespace octavo {
namespace {

using harness::HostTensor;

class AttentionInt8 : public harness::IsaTest {};
OCTAVO_EVERY_ISA(AttentionInt8);

TEST_P(AttentionInt8, Cases) {
  harness::expect_cases(ctx, harness::small_cases(attention_int8_cases(), 1 << 17));
}

// What the GPUs' table of cases does not hold: D above 128, and several blocks of rows beside several tiles of keys.
TEST_P(AttentionInt8, WideHeadsAndManyBlocks) {
  std::vector<harness::OpCase> cases;
  for (const bool causal : {false, true})
    for (const Scores scores : {Scores::random, Scores::equal, Scores::one_hot}) {
      for (const int64_t dim : {144, 176, 256})
        cases.push_back(attention_int8_case(
            {.sq = 37, .sk = 290, .dim = dim, .causal = causal, .out = DType::f32, .scores = scores},
            "D up to 256"));
      cases.push_back(attention_int8_case({.q_heads = 1,
                                           .sq = 270,
                                           .sk = 530,
                                           .dim = 80,
                                           .causal = causal,
                                           .out = DType::bf16,
                                           .scores = scores},
                                          "blocks of rows end anywhere"));
    }
  harness::expect_cases(ctx, cases);
}

// Rows 0 .. 255 see no key of the second tile.
TEST_P(AttentionInt8, NanScaleOfVReachesOnlyRowsThatSeeItsTile) {
  auto c = attention_int8_case({.q_heads = 1, .sq = 270, .sk = 270, .dim = 64, .causal = true}, "");
  c.args[5].fill = [](HostTensor& t, uint64_t seed) {
    t.fill_uniform(seed, 0.005, 0.02);
    t.set(64 + 5, std::nan(""));
  };
  c.nan_declared = true;
  harness::expect_cases(ctx, {c});
}

TEST(AttentionInt8Layout, SlotsAreAPermutationOfEveryPage) {
  std::vector<bool> used(kInt8PageKeys);
  for (int k = 0; k < kInt8PageKeys; ++k) {
    EXPECT_EQ(int8_key_slot(k) / 16, k / 16);
    used[static_cast<size_t>(int8_key_slot(k))] = true;
  }
  EXPECT_EQ(std::count(used.begin(), used.end(), true), kInt8PageKeys);
}

// PTX ISA, "Matrix descriptor": layout 2 is the 64-byte swizzle, whose groups of eight rows are 512 bytes.
TEST(AttentionInt8Layout, NarrowTilesAreDescribed) {
  const uint64_t at = cuda::ptx::narrow_tile_descriptor(0x12400);
  EXPECT_EQ(at & 0x3fff, 0x12400u >> 4);
  EXPECT_EQ((at >> 32) & 0x3fff, 512u >> 4);
  EXPECT_EQ(at >> 62, 2u);
}

// fp64 attention of the floats themselves.
std::vector<double> attention_of(const HostTensor& q, const HostTensor& k, const HostTensor& v,
                                 double scale) {
  const int64_t heads = q.shape()[1], sq = q.shape()[2], sk = k.shape()[2], dim = q.shape()[3];
  std::vector<double> out(static_cast<size_t>(q.numel())), p(static_cast<size_t>(sk));
  for (int64_t row = 0; row < heads * sq; ++row) {
    const int64_t head = row / sq;
    double top = -1e300, total = 0;
    for (int64_t j = 0; j < sk; ++j) {
      double dot = 0;
      for (int64_t d = 0; d < dim; ++d) dot += q.get(row * dim + d) * k.get((head * sk + j) * dim + d);
      top = std::max(top, p[static_cast<size_t>(j)] = dot * scale);
    }
    for (auto& x : p) total += x = std::exp(x - top);
    for (int64_t j = 0; j < sk; ++j)
      for (int64_t d = 0; d < dim; ++d)
        out[static_cast<size_t>(row * dim + d)] +=
            p[static_cast<size_t>(j)] / total * v.get((head * sk + j) * dim + d);
  }
  return out;
}

// Relative L1 of the whole call against fp64 attention of the inputs.
double whole_call_error(const Context& ctx, bool normal, int64_t keys) {
  constexpr int64_t kHeads = 8, kRows = 6,
                    kDim = 64;  // the error of uniform inputs is that of a mean: rows share it
  HostTensor q(DType::f16, {1, kHeads, kRows, kDim}), k(DType::f16, {1, kHeads, keys, kDim}),
      v(DType::f16, {1, kHeads, keys, kDim}), out(DType::f16, {1, kHeads, kRows, kDim});
  uint64_t seed = 1;
  for (HostTensor* t : {&q, &k, &v}) normal ? t->fill_normal(seed++) : t->fill_uniform(seed++, -0.5, 0.5);
  const AttentionInt8FloatArgs args{
      .q = q.view(), .k = k.view(), .v = v.view(), .scale = 0.125f, .out = out.view(), .lse = {}};
  Context with = ctx;
  const Buffer scratch(attention_int8_floats_workspace_bytes(ctx, args));
  std::memset(scratch.data(), 0xff, static_cast<size_t>(scratch.bytes()));
  with.workspace = Tensor(scratch.data(), DType::u8, {scratch.bytes()});
  attention_int8_floats(with, args);
  const std::vector<double> want = attention_of(q, k, v, 0.125);
  double off = 0, all = 0;
  for (int64_t i = 0; i < out.numel(); ++i)
    off += std::abs(out.get(i) - want[static_cast<size_t>(i)]), all += std::abs(want[static_cast<size_t>(i)]);
  return off / all;
}

TEST_P(AttentionInt8, ErrorOfTheWholeCall) {
  for (const int64_t keys : {1024, 4096}) {
    EXPECT_LT(whole_call_error(ctx, true, keys), 0.0145) << keys;
    EXPECT_LT(whole_call_error(ctx, false, keys), 0.0048) << keys;
  }
}

TEST_P(AttentionInt8, ThreadsDoNotChangeBits) {
  harness::expect_same_bits_on_all_thread_counts(
      GetParam(),
      attention_int8_case({.batch = 2, .q_heads = 4, .kv_heads = 2, .sq = 20, .sk = 90, .causal = true}, ""));
  harness::expect_same_bits_on_all_thread_counts(
      GetParam(), attention_int8_case({.q_heads = 2, .sq = 300, .sk = 530, .causal = true}, ""));
}

TEST(AttentionInt8Errors, NameArgumentAndNumbers) {
  const auto c = attention_int8_case({}, "");
  auto made = harness::make_args(c);
  AttentionInt8Args a{.q = made[0].view(),
                      .q_scale = made[1].view(),
                      .k = made[2].view(),
                      .k_scale = made[3].view(),
                      .v = made[4].view(),
                      .v_scale = made[5].view(),
                      .scale = 1.0f,
                      .out = made[6].view(),
                      .lse = {}};
  attention_int8({}, a);
  auto wrong = a;
  wrong.scale = 0;
  harness::expect_error(ErrorKind::usage, "scale is 0", [&] { attention_int8({}, wrong); });
  wrong = a, wrong.k = made[0].view();
  harness::expect_error(ErrorKind::usage, "attention_int8: k_scale", [&] { attention_int8({}, wrong); });
  wrong = a, wrong.v = made[2].view();
  harness::expect_error(ErrorKind::usage, "v codes", [&] { attention_int8({}, wrong); });
}

}  // namespace
}  // namespace octavo
