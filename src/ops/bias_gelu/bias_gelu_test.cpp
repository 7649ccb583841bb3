#include "ops/bias_gelu/bias_gelu.h"

#include "harness/expect_cases.h"
#include "harness/expect_error.h"
#include "harness/isa_test.h"
#include "ops/bias_gelu/bias_gelu_cases.h"

namespace octavo {
namespace {

using harness::HostTensor;

class BiasGelu : public harness::IsaTest {};
OCTAVO_EVERY_ISA(BiasGelu);

TEST_P(BiasGelu, Cases) { harness::expect_cases(ctx, harness::small_cases(bias_gelu_cases())); }

TEST_P(BiasGelu, ThreadsDoNotChangeBits) {
  harness::expect_same_bits_on_all_thread_counts(
      GetParam(), bias_gelu_case({.rows = 37, .width = 1025, .codes = true}, ""));
}

TEST_P(BiasGelu, KnownValues) {
  const double xs[] = {0, 0.5, -1.5, 11, INFINITY, NAN, -INFINITY, -40};
  HostTensor x(DType::f32, {1, 8}), bias(DType::f32, {8}), out(DType::f32, {1, 8});
  bias.fill(0.5);
  for (int i = 0; i < 8; ++i) x.set(i, xs[i]);
  for (const auto form : {GeluForm::erf, GeluForm::tanh}) {
    bias_gelu(ctx, {.x = x.view(), .bias = bias.view(), .form = form, .out = out.view()});
    const bool erf = form == GeluForm::erf;
    EXPECT_NEAR(out.get(0), erf ? 0.5 * 0.6914624612740131 : 0.5 * 0.6914280, 1e-6);  // v = 0.5
    EXPECT_NEAR(out.get(1), erf ? 0.8413447460685429 : 0.8411919906, 1e-6);           // v = 1
    EXPECT_NEAR(out.get(2), erf ? -0.15865525393145707 : -0.1588080094, 1e-6);        // v = -1
    EXPECT_EQ(out.get(3), 11.5);
    EXPECT_EQ(out.get(4), INFINITY);
    EXPECT_TRUE(std::isnan(out.get(5)));
    EXPECT_TRUE(std::isnan(out.get(6)));  // -Inf * 0, as in PyTorch
    EXPECT_EQ(out.get(7), 0.0);
  }
}

// Over the whole range, against libm in double: 4e-7 absolute, about an ulp of the largest value checked.
TEST_P(BiasGelu, AccurateEverywhere) {
  constexpr int64_t kPoints = 40001;
  HostTensor x(DType::f32, {1, kPoints}), out(DType::f32, {1, kPoints}), want(DType::f64, {1, kPoints});
  for (int64_t i = 0; i < kPoints; ++i) x.set(i, -8 + 16.0 * static_cast<double>(i) / (kPoints - 1));
  for (const auto form : {GeluForm::erf, GeluForm::tanh}) {
    bias_gelu(ctx, {.x = x.view(), .form = form, .out = out.view()});
    bias_gelu_ref<double>({.x = x.view(), .form = form, .out = want.view()});
    double worst = 0;
    for (int64_t i = 0; i < kPoints; ++i)
      worst = std::max(worst, std::abs(out.get(i) - want.get(i)) / std::max(1.0, std::abs(want.get(i))));
    EXPECT_LT(worst, 4e-7);
    RecordProperty(form == GeluForm::erf ? "worst_erf" : "worst_tanh", std::to_string(worst * 1e9) + "e-9");
  }
}

TEST(BiasGeluVariant, IsChosenByDtypeAndInstructionSet) {
  HostTensor x(DType::f32, {2, 8}), half(DType::f16, {2, 8}), bias(DType::bf16, {8});
  for (const Isa isa : kAllIsas) {
    Context ctx;
    ctx.isa = isa;
    EXPECT_STREQ(bias_gelu_variant(ctx, {.x = x.view(), .out = x.view()}).variant, name_of(isa));
    EXPECT_STREQ(bias_gelu_variant(ctx, {.x = x.view(), .bias = bias.view(), .out = x.view()}).variant,
                 "reference");
    EXPECT_STREQ(bias_gelu_variant(ctx, {.x = half.view(), .out = half.view()}).variant, "reference");
  }
}

TEST(BiasGeluErrors, NameArgumentAndNumbers) {
  HostTensor x(DType::f32, {2, 8}), bias(DType::f32, {8}), out(DType::f32, {2, 8}),
      narrow(DType::f32, {2, 7});
  HostTensor codes(DType::i8, {2, 8}), scale(DType::f32, {2}), half(DType::f16, {2, 8});
  x.fill(1), bias.fill(1);
  const BiasGeluArgs good{.x = x.view(),
                          .bias = bias.view(),
                          .out = out.view(),
                          .out_codes = codes.view(),
                          .out_scale = scale.view()};
  bias_gelu({}, good);
  const auto expect = [&](const char* message, auto change) {
    BiasGeluArgs bad = good;
    change(bad);
    harness::expect_error(ErrorKind::usage, message, [&] { bias_gelu({}, bad); });
  };
  expect("bias_gelu: x is i8[2, 8], expected one of: f32, f16, bf16", [&](auto& a) { a.x = codes.view(); });
  expect("bias_gelu: x is f32[8], expected shape [any, any]", [&](auto& a) { a.x = bias.view(); });
  expect("bias_gelu: x f32[2, 8] has stride 2", [&](auto& a) {
    a.x = Tensor(x.as<float>(), DType::f32, {2, 8}, {16, 2});
  });
  expect("bias_gelu: x lies on a CUDA device", [&](auto& a) {
    a.x = Tensor(x.as<float>(), DType::f32, {2, 8}, Backend::cuda);
  });
  expect("bias_gelu: bias is f32[2], expected shape [8]", [&](auto& a) { a.bias = scale.view(); });
  expect("bias_gelu: bias is i8[2, 8], expected one of: f32, f16, bf16",
         [&](auto& a) { a.bias = codes.view(); });
  expect("bias_gelu: out and out_codes are both absent",
         [&](auto& a) { a.out = {}, a.out_codes = {}, a.out_scale = {}; });
  expect("bias_gelu: out is f32[2, 7], expected shape [2, 8]", [&](auto& a) { a.out = narrow.view(); });
  expect("bias_gelu: out is f16[2, 8], expected one of: f32", [&](auto& a) { a.out = half.view(); });
  expect("bias_gelu: out is x's memory with another row stride", [&](auto& a) {
    a.out = Tensor(x.as<float>(), DType::f32, {2, 8}, {4, 1});
  });
  expect("bias_gelu: out_codes is f32[2, 8], expected one of: i8",
         [&](auto& a) { a.out_codes = out.view(); });
  expect("bias_gelu: out_scale is f32[], expected shape [2]", [&](auto& a) { a.out_scale = {}; });
  expect("bias_gelu: out_scale is given without out_codes", [&](auto& a) { a.out_codes = {}; });
}

}  // namespace
}  // namespace octavo
