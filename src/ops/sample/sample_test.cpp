#include <algorithm>
#include <cmath>
#include <map>

#include "core/thread_pool.h"
#include "harness/expect_cases.h"
#include "harness/isa_test.h"
#include "ops/sample/sample_cases.h"
#include "ops/sample/sample_math.h"

namespace octavo {
namespace {

using harness::HostTensor;

class Sample : public harness::IsaTest {};
OCTAVO_EVERY_ISA(Sample);

TEST_P(Sample, MatchesTheSpecification) {
  auto cases = sample_cases();
  if (GetParam() == Isa::reference)  // sorting large vocabularies against itself teaches nothing
    std::erase_if(cases, [](const harness::OpCase& c) { return c.args[0].shape[0] > 1000; });
  harness::expect_cases(ctx, cases);
}

struct Setting {
  HostTensor logits, history, id{DType::i32, {1}};
  SampleArgs args;
  explicit Setting(const std::vector<double>& values, const std::vector<int>& ids = {})
      : logits(DType::f32, {static_cast<int64_t>(values.size())}),
        history(DType::i32, {static_cast<int64_t>(ids.size())}) {
    for (size_t i = 0; i < values.size(); ++i) logits.set(static_cast<int64_t>(i), values[i]);
    for (size_t i = 0; i < ids.size(); ++i) history.set(static_cast<int64_t>(i), ids[i]);
    args.logits = logits.view(), args.id = id.view();
    if (!ids.empty()) args.history = history.view();
  }
  int draw(const Context& ctx, uint64_t step = 0) {
    args.step = step;
    sample_with_workspace(ctx, args);
    return static_cast<int>(id.get(0));
  }
  // The ids that `draws` steps choose.
  std::map<int, int> counts(const Context& ctx, int draws) {
    std::map<int, int> seen;
    for (int s = 0; s < draws; ++s) ++seen[draw(ctx, static_cast<uint64_t>(s))];
    return seen;
  }
};
std::vector<int> ids_of(const std::map<int, int>& counts) {
  std::vector<int> ids;
  for (auto [id, n] : counts) ids.push_back(id);
  return ids;
}
std::vector<double> logits_of(const std::vector<double>& probabilities) {
  std::vector<double> logits;
  for (double p : probabilities) logits.push_back(std::log(p));
  return logits;
}
using Ids = std::vector<int>;

TEST_P(Sample, TiesGoToTheLowestId) {
  Setting s({1, 4, 4, 2, 4});
  s.args.options.temperature = 0;
  EXPECT_EQ(s.draw(ctx), 1);
  s.args.options = {.top_k = 2};
  EXPECT_EQ(ids_of(s.counts(ctx, 200)), (Ids{1, 2}));
  s.args.options = {.top_k = 1};
  EXPECT_EQ(ids_of(s.counts(ctx, 50)), (Ids{1}));
  s.args.options = {.top_p = 0.4f};  // 1 and 2 reach it: each holds a little less than a third
  EXPECT_EQ(ids_of(s.counts(ctx, 200)), (Ids{1, 2}));
}

TEST_P(Sample, TopPKeepsTheFirstTokenThatCrosses) {  // as Hugging Face's TopPLogitsWarper
  Setting s(logits_of({0.5, 0.3, 0.15, 0.05}));
  s.args.options.top_p = 0.49f;
  EXPECT_EQ(ids_of(s.counts(ctx, 300)), (Ids{0}));
  s.args.options.top_p = 0.51f;
  EXPECT_EQ(ids_of(s.counts(ctx, 300)), (Ids{0, 1}));
  s.args.options.top_p = 0.81f;
  EXPECT_EQ(ids_of(s.counts(ctx, 300)), (Ids{0, 1, 2}));
  Setting exact({0, 0, 0, 0});  // exactly a half before token 2: it is cut
  exact.args.options.top_p = 0.5f;
  EXPECT_EQ(ids_of(exact.counts(ctx, 300)), (Ids{0, 1}));
}

TEST_P(Sample, TopPLooksAtWhatTopKKept) {
  Setting s(logits_of({0.4, 0.3, 0.2, 0.1}));
  s.args.options = {.top_k = 2, .top_p = 0.55f};  // 0.4 / 0.7 = 0.571
  EXPECT_EQ(ids_of(s.counts(ctx, 300)), (Ids{0}));
  s.args.options = {.top_k = 2, .top_p = 0.58f};
  EXPECT_EQ(ids_of(s.counts(ctx, 300)), (Ids{0, 1}));
}

TEST_P(Sample, MinPIsRelativeToTheLikeliestAfterTemperature) {
  Setting s(logits_of({0.1, 0.6, 0.3}));
  s.args.options.min_p = 0.4f;  // 0.24
  EXPECT_EQ(ids_of(s.counts(ctx, 300)), (Ids{1, 2}));
  s.args.options.temperature = 0.5f;  // squares: 0.25 of the largest for id 2
  EXPECT_EQ(ids_of(s.counts(ctx, 300)), (Ids{1}));
}

TEST_P(Sample, RepetitionPenaltyDividesPositiveAndMultipliesNegativeLogitsOnce) {
  Setting s({2.0, 1.5, -1.0}, {0, 0, 0});
  s.args.options = {.temperature = 0.0f,
                    .repetition_penalty = 1.3f};  // 2 / 1.3 = 1.54 still wins; twice it would not
  EXPECT_EQ(s.draw(ctx), 0);
  s.args.options.repetition_penalty = 1.4f;
  EXPECT_EQ(s.draw(ctx), 1);
  Setting negative({-1.0, -1.5}, {0});
  negative.args.options = {.temperature = 0.0f, .repetition_penalty = 1.6f};
  EXPECT_EQ(negative.draw(ctx), 1);
  EXPECT_EQ(negative.logits.get(0), -1.0);  // the caller's logits stay
}

TEST_P(Sample, MinusInfinityIsNeverChosen) {
  Setting s({-INFINITY, 0, -INFINITY, -50, -INFINITY});
  for (const SamplingOptions& o : {SamplingOptions{}, SamplingOptions{.temperature = 1000.0f},
                                   SamplingOptions{.top_k = 4}, SamplingOptions{.top_p = 0.9999f}}) {
    s.args.options = o;
    for (auto [id, n] : s.counts(ctx, 200)) EXPECT_TRUE(id == 1 || id == 3) << id;
  }
  Setting one({-INFINITY, -INFINITY, -3e38});
  one.args.options.top_k = 2;
  EXPECT_EQ(ids_of(one.counts(ctx, 20)), (Ids{2}));
}

TEST_P(Sample, SeedAndStepDecide) {
  Setting s(std::vector<double>(1000, 0.0));
  const int a = s.draw(ctx, 5);
  EXPECT_EQ(s.draw(ctx, 5), a);
  EXPECT_GT(s.counts(ctx, 100).size(), 80u);
  int same = 0;
  for (uint64_t seed = 0; seed < 100; ++seed) s.args.seed = seed, same += s.draw(ctx, 5) == a;
  EXPECT_LT(same, 5);
}

// Goodness of fit: fixed seeds; the bound is the 99.99 % quantile of chi-square, so a correct sampler passes for good.
double chi_square(const std::map<int, int>& counts, const std::vector<double>& probabilities, int draws) {
  double sum = 0;
  for (size_t i = 0; i < probabilities.size(); ++i) {
    const auto found = counts.find(static_cast<int>(i));
    const double expected = probabilities[i] * draws, seen = found == counts.end() ? 0 : found->second;
    if (expected > 0)
      sum += (seen - expected) * (seen - expected) / expected;
    else if (seen > 0)
      return INFINITY;
  }
  return sum;
}

TEST_P(Sample, DrawsFollowTheDistribution) {
  constexpr int kDraws = 20000;
  std::vector<double> logits;
  for (int i = 0; i < 12; ++i) logits.push_back(harness::random_normal(99, static_cast<uint64_t>(i)));
  for (double temperature : {1.0, 0.6, 2.0}) {
    std::vector<double> p;
    double total = 0;
    for (double z : logits) total += std::exp(z / temperature);
    for (double z : logits) p.push_back(std::exp(z / temperature) / total);
    Setting s(logits);
    s.args.options.temperature = static_cast<float>(temperature), s.args.seed = 42;
    EXPECT_LT(chi_square(s.counts(ctx, kDraws), p, kDraws), 37.4)
        << "temperature " << temperature;  // 11 degrees
    std::vector<double> ranked = p;
    std::sort(ranked.rbegin(), ranked.rend());
    double kept = 0;
    for (int i = 0; i < 5; ++i) kept += ranked[static_cast<size_t>(i)];
    for (double& x : p) x = x >= ranked[4] ? x / kept : 0;
    s.args.options.top_k = 5;
    EXPECT_LT(chi_square(s.counts(ctx, kDraws), p, kDraws), 23.5)
        << "top-k 5, temperature " << temperature;  // 4 degrees
  }
}

TEST(SampleMath, WeightIsTheExponential) {
  for (double x = 0; x > -30; x -= 0.0137) {
    const double want = std::exp(x) * 0x1p40, got = static_cast<double>(sample_weight(x));
    EXPECT_NEAR(got, x > -28 ? want : 0, 0.5 + want * 1e-14) << x;
  }
  EXPECT_EQ(sample_weight(0.0), kTopWeight);
  EXPECT_EQ(sample_weight(-1e-300), kTopWeight);
  EXPECT_EQ(sample_weight(-1e300), 0u);
  EXPECT_EQ(sample_weight(-INFINITY), 0u);
  EXPECT_EQ(sample_weight(NAN), 0u);
}

TEST(SampleMath, BitsAreThoseOfEveryMachine) {    // a change here changes the text of every seed
  EXPECT_EQ(sample_weight(-1.0), 404487723188u);  // by arbitrary-precision arithmetic, as the next two
  EXPECT_EQ(sample_bits(0, 0), 12035550249420947055u);
  EXPECT_EQ(sample_bits(1234, 5), 15969250653109926349u);
  EXPECT_EQ(draw_weight(~uint64_t{0}, kTopWeight), kTopWeight - 1);
  EXPECT_EQ(draw_weight(0, kTopWeight), 0u);
}

TEST(SampleVariant, SelectUnlessTheReferenceIsAskedFor) {
  Setting s({1, 2});
  Context ctx;
  ctx.isa = Isa::reference;
  EXPECT_STREQ(sample_variant(ctx, s.args), "reference");
  ctx.isa = Isa::avx2;
  EXPECT_STREQ(sample_variant(ctx, s.args), "select");
}

void expect_error(const Context& ctx, Setting& s, ErrorKind kind, const std::string& message) {
  try {
    sample_with_workspace(ctx, s.args);
    ADD_FAILURE() << "accepted; expected: " << message;
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), kind);
    EXPECT_EQ(std::string(e.what()), "sample: " + message);
  }
}

TEST_P(Sample, RefusesLogitsWithoutAChoice) {
  for (float temperature : {0.0f, 1.0f}) {
    Setting nan({0, 1, NAN, 2}), none({-INFINITY, -INFINITY});
    nan.args.options.temperature = none.args.options.temperature = temperature;
    expect_error(ctx, nan, ErrorKind::runtime,
                 "logits hold NaN at id 2; the model or its weights are damaged");
    expect_error(ctx, none, ErrorKind::runtime, "all 2 logits are -inf; no token can be chosen");
  }
}

TEST(SampleErrors, OptionsOutOfRange) {
  const auto refuses = [](const SamplingOptions& options, const std::string& message) {
    Setting s({1, 2});
    s.args.options = options;
    expect_error(Context{}, s, ErrorKind::usage, message);
  };
  refuses({.temperature = -0.5f}, "temperature is -0.5, expected 0 (greedy) or more");
  refuses({.temperature = NAN}, "temperature is nan, expected 0 (greedy) or more");
  refuses({.temperature = INFINITY}, "temperature is inf, expected 0 (greedy) or more");
  refuses({.top_k = -1}, "top_k is -1, expected 0 (off) or more");
  refuses({.top_p = 0.0f}, "top_p is 0, expected more than 0, at most 1 (off)");
  refuses({.top_p = 1.5f}, "top_p is 1.5, expected more than 0, at most 1 (off)");
  refuses({.top_p = NAN}, "top_p is nan, expected more than 0, at most 1 (off)");
  refuses({.min_p = -0.25f}, "min_p is -0.25, expected 0 (off) to 1");
  refuses({.min_p = 2.0f}, "min_p is 2, expected 0 (off) to 1");
  refuses({.repetition_penalty = 0.0f}, "repetition_penalty is 0, expected more than 0 (1: off)");
  refuses({.repetition_penalty = NAN}, "repetition_penalty is nan, expected more than 0 (1: off)");
}

TEST(SampleErrors, Tensors) {
  Setting s({1, 2, 3}, {0, 3});
  expect_error(Context{}, s, ErrorKind::usage, "history holds id 3 at 1, but the vocabulary has ids 0 to 2");
  s.history.set(1, -1);
  expect_error(Context{}, s, ErrorKind::usage, "history holds id -1 at 1, but the vocabulary has ids 0 to 2");
  const SampleArgs good = s.args;
  s.args.history = ConstTensor(s.history.as<int32_t>(), DType::i64, {1});
  expect_error(Context{}, s, ErrorKind::usage, "history is i64[1], expected one of: i32");
  s.args = good, s.args.logits = ConstTensor(s.logits.as<float>(), DType::i32, {3});
  expect_error(Context{}, s, ErrorKind::usage, "logits is i32[3], expected one of: f32, f16, bf16");
  s.args = good, s.args.logits = ConstTensor(s.logits.as<float>(), DType::f32, {1, 3});
  expect_error(Context{}, s, ErrorKind::usage, "logits is f32[1, 3], expected shape [any]");
  s.args = good, s.args.logits = ConstTensor(s.logits.as<float>(), DType::f32, {0});
  expect_error(Context{}, s, ErrorKind::usage, "logits has 0 elements, expected 1 to 8388608");
  s.args = good, s.args.logits = ConstTensor(s.logits.as<float>(), DType::f32, {2}, {2});
  expect_error(Context{}, s, ErrorKind::usage,
               "logits f32[2] has stride 2 in its last dimension, expected 1");
  s.args = good, s.args.id = Tensor(s.id.as<int32_t>(), DType::i32, {2});
  expect_error(Context{}, s, ErrorKind::usage, "id is i32[2], expected shape [1]");
  s.args = good, s.args.id = Tensor(s.id.as<int32_t>(), DType::i64, {1});
  expect_error(Context{}, s, ErrorKind::usage, "id is i64[1], expected one of: i32");
}

TEST_P(Sample, WorkspaceIsAskedForAndKept) {
  Setting s({1, 2, 3});
  s.args.options = {.top_p = 0.9f, .repetition_penalty = 1.1f};
  const int64_t needed = sample_workspace_bytes(ctx, s.args);
  HostTensor scratch(DType::u8, {needed}, 0, 5);
  ctx.workspace = scratch.view();
  sample(ctx, s.args);
  EXPECT_EQ(scratch.damage(), "");
  ctx.workspace = Tensor(scratch.as<uint8_t>(), DType::u8, {needed - 1});
  try {
    sample(ctx, s.args);
    ADD_FAILURE() << "accepted";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::usage);
    EXPECT_EQ(std::string(e.what()),
              fmt::format("sample: workspace holds {} bytes, needs {}; allocate sample_workspace_bytes()",
                          needed - 1, needed));
  }
}

}  // namespace
}  // namespace octavo
