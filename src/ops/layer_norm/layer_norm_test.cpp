#include "ops/layer_norm/layer_norm.h"

#include "harness/expect_cases.h"
#include "harness/expect_error.h"
#include "harness/isa_test.h"
#include "ops/layer_norm/layer_norm_cases.h"

namespace octavo {
namespace {

using harness::HostTensor;

class LayerNorm : public harness::IsaTest {};
OCTAVO_EVERY_ISA(LayerNorm);

TEST_P(LayerNorm, Cases) { harness::expect_cases(ctx, harness::small_cases(layer_norm_cases())); }

TEST_P(LayerNorm, ThreadsDoNotChangeBits) {
  for (const auto& c : {layer_norm_case({.rows = 37, .width = 1025, .residual = true, .codes = true}, "")})
    harness::expect_same_bits_on_all_thread_counts(GetParam(), c);
}

// By hand: u = (1, 2, 3, 6), mean 3, variance 3.5.
TEST_P(LayerNorm, KnownValues) {
  HostTensor x(DType::f32, {1, 4}), weight(DType::f32, {4}), bias(DType::f32, {4}), y(DType::f32, {1, 4});
  const double u[] = {1, 2, 3, 6};
  for (int i = 0; i < 4; ++i) x.set(i, u[i]), weight.set(i, i + 1), bias.set(i, 0.5);
  layer_norm(ctx, {.x = x.view(), .weight = weight.view(), .bias = bias.view(), .eps = 0.0f, .y = y.view()});
  for (int i = 0; i < 4; ++i) EXPECT_NEAR(y.get(i), (u[i] - 3) / std::sqrt(3.5) * (i + 1) + 0.5, 1e-6) << i;
}

// Mean 10,000 and deviation 1: E[u^2] - mean^2 in fp32 would be off by several; two passes are not.
TEST_P(LayerNorm, RowsFarFromZeroKeepTheirVariance) {
  HostTensor x(DType::f32, {1, 1000}), weight(DType::f32, {1000}), y(DType::f32, {1, 1000});
  weight.fill(1);
  for (int i = 0; i < 1000; ++i) x.set(i, 10000 + (i % 2 ? 1 : -1));
  layer_norm(ctx, {.x = x.view(), .weight = weight.view(), .y = y.view()});
  for (int i = 0; i < 1000; ++i) ASSERT_NEAR(y.get(i), i % 2 ? 1 : -1, 1e-3) << i;
}

TEST(LayerNormVariant, IsChosenByDtypeAndInstructionSet) {
  HostTensor x(DType::f32, {2, 8}), half(DType::f16, {2, 8}), weight(DType::f32, {8});
  Context ctx;
  for (const Isa isa : kAllIsas) {
    ctx.isa = isa;
    EXPECT_STREQ(layer_norm_variant(ctx, {.x = x.view(), .weight = weight.view(), .y = x.view()}).variant,
                 name_of(isa));
    EXPECT_STREQ(
        layer_norm_variant(ctx, {.x = half.view(), .weight = weight.view(), .y = half.view()}).variant,
        "reference");
  }
}

TEST(LayerNormErrors, NameArgumentAndNumbers) {
  HostTensor x(DType::f32, {2, 8}), r(DType::f32, {2, 8}), u(DType::f32, {2, 8}), y(DType::f32, {2, 8}),
      w(DType::f32, {8});
  HostTensor codes(DType::i8, {2, 8}), scale(DType::f32, {2}), narrow(DType::f32, {2, 7}),
      half(DType::f16, {2, 8});
  HostTensor bias(DType::f32, {8});
  const LayerNormArgs good{.x = x.view(),
                           .residual = r.view(),
                           .weight = w.view(),
                           .bias = bias.view(),
                           .u = u.view(),
                           .y = y.view(),
                           .y_codes = codes.view(),
                           .y_scale = scale.view()};
  layer_norm({}, good);
  const auto expect = [&](const char* message, auto change) {
    LayerNormArgs bad = good;
    change(bad);
    harness::expect_error(ErrorKind::usage, message, [&] { layer_norm({}, bad); });
  };
  expect("layer_norm: x is i8[2, 8], expected one of: f32, f16, bf16", [&](auto& a) { a.x = codes.view(); });
  expect("layer_norm: x is f32[8], expected shape [any, any]", [&](auto& a) { a.x = w.view(); });
  expect("layer_norm: x is f32[0], expected shape [any, any]",
         [&](auto& a) { a.x = ConstTensor(nullptr, DType::f32, {0}); });
  expect("layer_norm: x is f32[2, 8] with a null pointer", [&](auto& a) {
    a.x = ConstTensor(nullptr, DType::f32, {2, 8});
  });
  expect("layer_norm: x f32[2, 8] has stride 2 in its last dimension, expected 1", [&](auto& a) {
    a.x = Tensor(x.as<float>(), DType::f32, {2, 8}, {16, 2});
  });
  expect("layer_norm: x lies on a CUDA device, the call runs on the CPU", [&](auto& a) {
    a.x = Tensor(x.as<float>(), DType::f32, {2, 8}, Backend::cuda);
  });
  expect("layer_norm: weight is f32[2], expected shape [8]", [&](auto& a) { a.weight = scale.view(); });
  expect("layer_norm: weight is i8[2, 8], expected one of: f32, f16, bf16",
         [&](auto& a) { a.weight = codes.view(); });
  expect("layer_norm: bias is f32[2], expected shape [8]", [&](auto& a) { a.bias = scale.view(); });
  expect("layer_norm: bias is f16[2, 8], expected one of: f32", [&](auto& a) { a.bias = half.view(); });
  expect("layer_norm: residual is f32[2, 7], expected shape [2, 8]",
         [&](auto& a) { a.residual = narrow.view(); });
  expect("layer_norm: residual is f16[2, 8], expected one of: f32",
         [&](auto& a) { a.residual = half.view(); });
  expect("layer_norm: u is f32[], expected shape [2, 8]", [&](auto& a) { a.u = {}; });
  expect("layer_norm: u is given without residual", [&](auto& a) { a.residual = {}; });
  expect("layer_norm: y and y_codes are both absent",
         [&](auto& a) { a.y = {}, a.y_codes = {}, a.y_scale = {}; });
  expect("layer_norm: y is f32[2, 7], expected shape [2, 8]", [&](auto& a) { a.y = narrow.view(); });
  expect("layer_norm: y is the same memory as u", [&](auto& a) { a.y = u.view(); });
  expect("layer_norm: y_codes is f32[2, 8], expected one of: i8", [&](auto& a) { a.y_codes = y.view(); });
  expect("layer_norm: y_scale is f32[], expected shape [2]", [&](auto& a) { a.y_scale = {}; });
  expect("layer_norm: y_scale is given without y_codes", [&](auto& a) { a.y_codes = {}; });
  expect("layer_norm: eps is -1, expected 0 or more", [&](auto& a) { a.eps = -1; });
  expect("layer_norm: eps is nan, expected 0 or more", [&](auto& a) { a.eps = NAN; });
}

}  // namespace
}  // namespace octavo
