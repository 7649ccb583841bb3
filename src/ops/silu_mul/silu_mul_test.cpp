#include "ops/silu_mul/silu_mul.h"

#include "harness/expect_cases.h"
#include "harness/expect_error.h"
#include "harness/isa_test.h"
#include "ops/silu_mul/silu_mul_cases.h"

namespace octavo {
namespace {

using harness::HostTensor;

class SiluMul : public harness::IsaTest {};
OCTAVO_EVERY_ISA(SiluMul);

TEST_P(SiluMul, Cases) { harness::expect_cases(ctx, harness::small_cases(silu_mul_cases())); }

TEST_P(SiluMul, ThreadsDoNotChangeBits) {
  harness::expect_same_bits_on_all_thread_counts(
      GetParam(), silu_mul_case({.rows = 37, .width = 1025, .codes = true}, ""));
}

TEST_P(SiluMul, KnownValues) {
  const double gates[] = {0.0, 1.0, -1.0, 50.0, -50.0, INFINITY, -INFINITY, NAN};
  HostTensor gate(DType::f32, {1, 8}), up(DType::f32, {1, 8}), out(DType::f32, {1, 8});
  for (int i = 0; i < 8; ++i) gate.set(i, gates[i]), up.set(i, 2.0);
  silu_mul(ctx, {.gate = gate.view(), .up = up.view(), .out = out.view()});
  EXPECT_EQ(out.get(0), 0.0);
  EXPECT_NEAR(out.get(1), 2 * 0.7310585786300049, 1e-6);
  EXPECT_NEAR(out.get(2), -2 * 0.2689414213699951, 1e-6);
  EXPECT_EQ(out.get(3), 100.0);
  EXPECT_NEAR(out.get(4) / (-100.0 * std::exp(-50.0)), 1.0, 1e-5);  // relative: no flush to zero
  EXPECT_EQ(out.get(5), INFINITY);
  EXPECT_TRUE(std::isnan(out.get(6)));  // -Inf * 0, as in PyTorch
  EXPECT_TRUE(std::isnan(out.get(7)));
}

TEST(SiluMulVariant, StridedColumnsTakeTheReference) {
  HostTensor both(DType::f32, {2, 16}), out(DType::f32, {2, 8});
  const ConstTensor halves(both.as<float>(), DType::f32, {2, 8}, {16, 1}),
      columns(both.as<float>(), DType::f32, {2, 8}, {16, 2});
  for (const Isa isa : kAllIsas) {
    Context ctx;
    ctx.isa = isa;
    EXPECT_STREQ(silu_mul_variant(ctx, {.gate = halves, .up = halves, .out = out.view()}).variant,
                 name_of(isa));
    EXPECT_STREQ(silu_mul_variant(ctx, {.gate = columns, .up = columns, .out = out.view()}).variant,
                 "reference");
  }
}

TEST(SiluMulErrors, NameArgumentAndNumbers) {
  HostTensor gate(DType::f32, {2, 8}), up(DType::f32, {2, 8}), out(DType::f32, {2, 8}),
      narrow(DType::f32, {2, 7});
  HostTensor codes(DType::i8, {2, 8}), scale(DType::f32, {2}), half(DType::f16, {2, 8});
  gate.fill(1), up.fill(1);
  const SiluMulArgs good{.gate = gate.view(),
                         .up = up.view(),
                         .out = out.view(),
                         .out_codes = codes.view(),
                         .out_scale = scale.view()};
  silu_mul({}, good);
  const auto expect = [&](const char* message, auto change) {
    SiluMulArgs bad = good;
    change(bad);
    harness::expect_error(ErrorKind::usage, message, [&] { silu_mul({}, bad); });
  };
  expect("silu_mul: gate is i8[2, 8], expected one of: f32, f16, bf16",
         [&](auto& a) { a.gate = codes.view(); });
  expect("silu_mul: gate is f32[2], expected shape [any, any]", [&](auto& a) { a.gate = scale.view(); });
  expect("silu_mul: gate lies on a CUDA device", [&](auto& a) {
    a.gate = Tensor(gate.as<float>(), DType::f32, {2, 8}, Backend::cuda);
  });
  expect("silu_mul: up is f16[2, 8], expected one of: f32", [&](auto& a) { a.up = half.view(); });
  expect("silu_mul: up is f32[2, 7], expected shape [2, 8]", [&](auto& a) { a.up = narrow.view(); });
  expect("silu_mul: out and out_codes are both absent",
         [&](auto& a) { a.out = {}, a.out_codes = {}, a.out_scale = {}; });
  expect("silu_mul: out is f32[2, 7], expected shape [2, 8]", [&](auto& a) { a.out = narrow.view(); });
  expect("silu_mul: out is gate's memory with other strides", [&](auto& a) {
    a.out = Tensor(gate.as<float>(), DType::f32, {2, 8}, {1, 2});
  });
  expect("silu_mul: out_codes is f32[2, 8], expected one of: i8", [&](auto& a) { a.out_codes = up.view(); });
  expect("silu_mul: out_scale is f32[], expected shape [2]", [&](auto& a) { a.out_scale = {}; });
  expect("silu_mul: out_scale is given without out_codes", [&](auto& a) { a.out_codes = {}; });
}

}  // namespace
}  // namespace octavo
