#include "ops/rope/rope.h"

#include "harness/expect_cases.h"
#include "harness/expect_error.h"
#include "harness/isa_test.h"
#include "ops/rope/rope_cases.h"

namespace octavo {
namespace {

using harness::HostTensor;

class Rope : public harness::IsaTest {};
OCTAVO_EVERY_ISA(Rope);

TEST_P(Rope, Cases) { harness::expect_cases(ctx, harness::small_cases(rope_cases())); }

TEST_P(Rope, ThreadsDoNotChangeBits) {
  for (const RopeStyle style : {RopeStyle::half_split, RopeStyle::interleaved})
    harness::expect_same_bits_on_all_thread_counts(
        GetParam(), rope_case({.tokens = 97, .heads = 3, .width = 80, .style = style}, ""));
}

// (a, b) = (1, 0) turns to (cos, sin) of position * inv_freq, so every position can be compared with libm.
TEST_P(Rope, CosineAndSineAreAccurateTo131072) {
  constexpr int64_t kPairs = 37;
  for (const RopeStyle style : {RopeStyle::half_split, RopeStyle::interleaved}) {
    HostTensor x(DType::f32, {1, 1, 2 * kPairs}), out(DType::f32, {1, 1, 2 * kPairs}),
        freq(DType::f32, {kPairs}), at(DType::i32, {1});
    const bool half = style == RopeStyle::half_split;
    for (int64_t i = 0; i < kPairs; ++i) {
      x.set(half ? i : 2 * i, 1), x.set(half ? i + kPairs : 2 * i + 1, 0);
      freq.set(i, std::pow(10000.0, -static_cast<double>(i) / kPairs));
    }
    double worst = 0;
    for (int64_t position = 0; position <= 131072; position += position < 2000 ? 1 : 37) {
      at.set(0, static_cast<double>(position));
      rope(ctx, {.x = x.view(),
                 .out = out.view(),
                 .positions = at.view(),
                 .inv_freq = freq.view(),
                 .style = style});
      for (int64_t i = 0; i < kPairs; ++i) {
        const double angle = static_cast<float>(position) * freq.as<float>()[i];
        worst = std::max({worst, std::abs(out.get(half ? i : 2 * i) - std::cos(angle)),
                          std::abs(out.get(half ? i + kPairs : 2 * i + 1) - std::sin(angle))});
      }
    }
    EXPECT_LT(worst, 7e-8);  // half a unit in the last place of 1 is 6e-8
    RecordProperty("worst", std::to_string(worst * 1e9) + "e-9");
  }
}

// A quarter turn, by hand: half_split pairs (1, 3) and (2, 4), interleaved (1, 2) and (3, 4).
TEST_P(Rope, KnownValues) {
  HostTensor x(DType::f32, {1, 1, 5}), out(DType::f32, {1, 1, 5}), freq(DType::f32, {2}), at(DType::i32, {1});
  for (int i = 0; i < 5; ++i) x.set(i, i + 1);
  freq.set(0, 1.5707963267948966), freq.set(1, 0), at.set(0, 1);
  const auto expect = [&](RopeStyle style, std::initializer_list<double> want) {
    rope(ctx, {.x = x.view(),
               .out = out.view(),
               .positions = at.view(),
               .inv_freq = freq.view(),
               .style = style,
               .attention_factor = 2});
    int64_t i = 0;
    for (const double w : want) EXPECT_NEAR(out.get(i++), w, 1e-6);
  };
  expect(RopeStyle::half_split, {-6, 4, 2, 8, 5});
  expect(RopeStyle::interleaved, {-4, 2, 6, 8, 5});
}

TEST(RopeVariant, IsChosenByDtypeAndInstructionSet) {
  HostTensor x(DType::f32, {2, 3, 8}), half(DType::f16, {2, 3, 8}), freq(DType::f32, {4}),
      at(DType::i32, {2});
  for (const Isa isa : kAllIsas) {
    Context ctx;
    ctx.isa = isa;
    EXPECT_STREQ(
        rope_variant(ctx, {.x = x.view(), .out = x.view(), .positions = at.view(), .inv_freq = freq.view()})
            .variant,
        name_of(isa));
    EXPECT_STREQ(
        rope_variant(ctx,
                     {.x = half.view(), .out = half.view(), .positions = at.view(), .inv_freq = freq.view()})
            .variant,
        "reference");
  }
}

TEST(RopeErrors, NameArgumentAndNumbers) {
  HostTensor x(DType::f32, {2, 3, 8}), out(DType::f32, {2, 3, 8}), freq(DType::f32, {4}), at(DType::i32, {2}),
      codes(DType::i8, {2, 3, 8});
  HostTensor many(DType::f32, {5}), half(DType::f16, {2, 3, 8});
  x.fill(1), freq.fill(1), at.fill(0);
  const RopeArgs good{.x = x.view(), .out = out.view(), .positions = at.view(), .inv_freq = freq.view()};
  rope({}, good);
  const auto expect = [&](const char* message, auto change) {
    RopeArgs bad = good;
    change(bad);
    harness::expect_error(ErrorKind::usage, message, [&] { rope({}, bad); });
  };
  expect("rope: x is i8[2, 3, 8], expected one of: f32, f16, bf16", [&](auto& a) { a.x = codes.view(); });
  expect("rope: x is f32[4], expected shape [any, any, any]", [&](auto& a) { a.x = freq.view(); });
  expect("rope: x f32[2, 3, 8] has stride 2", [&](auto& a) {
    a.x = Tensor(x.as<float>(), DType::f32, {2, 3, 8}, {48, 16, 2});
  });
  expect("rope: out is f16[2, 3, 8], expected one of: f32", [&](auto& a) { a.out = half.view(); });
  expect("rope: out is f32[2, 8, 3], expected shape [2, 3, 8]", [&](auto& a) {
    a.out = Tensor(out.as<float>(), DType::f32, {2, 8, 3});
  });
  expect("rope: out is x's memory with other strides", [&](auto& a) {
    a.out = Tensor(x.as<float>(), DType::f32, {2, 3, 8}, {8, 16, 1});
  });
  expect("rope: positions is f32[4], expected one of: i32", [&](auto& a) { a.positions = freq.view(); });
  expect("rope: positions is i32[1], expected shape [2]",
         [&](auto& a) { a.positions = Tensor(at.as<int32_t>(), DType::i32, {1}); });
  expect("rope: inv_freq is i32[2], expected one of: f32", [&](auto& a) { a.inv_freq = at.view(); });
  expect("rope: inv_freq has 5 frequencies, which turn 10 elements; a head of x has 8",
         [&](auto& a) { a.inv_freq = many.view(); });
  expect("rope: x lies on a CUDA device", [&](auto& a) {
    a.x = Tensor(x.as<float>(), DType::f32, {2, 3, 8}, Backend::cuda);
  });
}

}  // namespace
}  // namespace octavo
