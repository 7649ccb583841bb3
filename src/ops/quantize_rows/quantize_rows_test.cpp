#include "ops/quantize_rows/quantize_rows.h"

#include "harness/expect_cases.h"
#include "harness/expect_error.h"
#include "harness/isa_test.h"
#include "ops/quantize_rows/quantize_rows_cases.h"

namespace octavo {
namespace {

using harness::HostTensor;

class QuantizeRows : public harness::IsaTest {};
OCTAVO_EVERY_ISA(QuantizeRows);

TEST_P(QuantizeRows, Cases) { harness::expect_cases(ctx, harness::small_cases(quantize_rows_cases())); }

TEST_P(QuantizeRows, ThreadsDoNotChangeBits) {
  harness::expect_same_bits_on_all_thread_counts(
      GetParam(), quantize_rows_case({.rows = 61, .width = 1025, .code_sum = true}, ""));
}

// By hand: amax = 2 -> inverse 63.5; 0.5 / 63.5 steps are ties that go to even.
TEST_P(QuantizeRows, KnownValues) {
  HostTensor x(DType::f32, {2, 4}), codes(DType::i8, {2, 4}), scale(DType::f32, {2}), sum(DType::i32, {2});
  const double values[] = {2.0, -2.0, 1.0 / 127.0, 0.0, NAN, 1.0, 2.0, 3.0};
  for (int i = 0; i < 8; ++i) x.set(i, values[i]);
  quantize_rows(ctx, {.x = x.view(), .codes = codes.view(), .scale = scale.view(), .code_sum = sum.view()});
  const double want[] = {127, -127, 0, 0, 0, 0, 0, 0};
  for (int i = 0; i < 8; ++i) EXPECT_EQ(codes.get(i), want[i]) << i;
  EXPECT_EQ(scale.get(0), static_cast<double>(2.0f / 127.0f));
  EXPECT_TRUE(std::isnan(scale.get(1)));
  EXPECT_EQ(sum.get(0), 0);
  EXPECT_EQ(sum.get(1), 0);
}

TEST(QuantizeRowsVariant, FollowsTheInstructionSet) {
  HostTensor x(DType::bf16, {2, 8}), codes(DType::i8, {2, 8}), scale(DType::f32, {2});
  for (const Isa isa : kAllIsas) {
    Context ctx;
    ctx.isa = isa;
    EXPECT_STREQ(
        quantize_rows_variant(ctx, {.x = x.view(), .codes = codes.view(), .scale = scale.view()}).variant,
        name_of(isa));
  }
}

TEST(QuantizeRowsErrors, NameArgumentAndNumbers) {
  HostTensor x(DType::f32, {2, 8}), codes(DType::i8, {2, 8}), scale(DType::f32, {2}), sum(DType::i32, {2});
  const QuantizeRowsArgs good{
      .x = x.view(), .codes = codes.view(), .scale = scale.view(), .code_sum = sum.view()};
  quantize_rows({}, good);
  const auto expect = [&](const char* message, auto change) {
    QuantizeRowsArgs bad = good;
    change(bad);
    harness::expect_error(ErrorKind::usage, message, [&] { quantize_rows({}, bad); });
  };
  expect("quantize_rows: x is i8[2, 8], expected one of: f32, f16, bf16",
         [&](auto& a) { a.x = codes.view(); });
  expect("quantize_rows: x is f32[2], expected shape [any, any]", [&](auto& a) { a.x = scale.view(); });
  expect("quantize_rows: x f32[2, 8] has stride 2", [&](auto& a) {
    a.x = Tensor(x.as<float>(), DType::f32, {2, 8}, {16, 2});
  });
  expect("quantize_rows: codes is f32[2, 8], expected one of: i8", [&](auto& a) { a.codes = x.view(); });
  expect("quantize_rows: codes is i8[2, 7], expected shape [2, 8]", [&](auto& a) {
    a.codes = Tensor(codes.as<int8_t>(), DType::i8, {2, 7});
  });
  expect("quantize_rows: scale is f32[], expected shape [2]", [&](auto& a) { a.scale = {}; });
  expect("quantize_rows: scale is i32[2], expected one of: f32", [&](auto& a) { a.scale = sum.view(); });
  expect("quantize_rows: padded_width is 7, below the width 8", [&](auto& a) { a.padded_width = 7; });
  expect("quantize_rows: padded_width is -1, below the width 8", [&](auto& a) { a.padded_width = -1; });
  expect("quantize_rows: codes has a row pitch of 8, below padded_width 128",
         [&](auto& a) { a.padded_width = 128; });
  expect("quantize_rows: code_sum is f32[2], expected one of: i32",
         [&](auto& a) { a.code_sum = scale.view(); });
  expect("quantize_rows: x lies on a CUDA device", [&](auto& a) {
    a.x = Tensor(x.as<float>(), DType::f32, {2, 8}, Backend::cuda);
  });
  expect("quantize_rows: codes is null with padded_width 128", [&](auto& a) {
    a = {.x = ConstTensor(nullptr, DType::f32, {2, 0}),
         .codes = Tensor(nullptr, DType::i8, {2, 0}, {128, 1}),
         .scale = a.scale,
         .padded_width = 128};
  });
  expect("quantize_rows: code_sum of width 16909321 could overflow; the largest is 16909320", [&](auto& a) {
    // Views wider than their memory: the check comes before any element is read.
    a.x = ConstTensor(x.as<float>(), DType::f32, {2, 16909321});
    a.codes = Tensor(codes.as<int8_t>(), DType::i8, {2, 16909321});
  });
}

}  // namespace
}  // namespace octavo
