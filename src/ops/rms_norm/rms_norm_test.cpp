#include "ops/rms_norm/rms_norm.h"

#include "harness/expect_cases.h"
#include "harness/expect_error.h"
#include "harness/isa_test.h"
#include "ops/rms_norm/rms_norm_cases.h"

namespace octavo {
namespace {

using harness::HostTensor;

class RmsNorm : public harness::IsaTest {};
OCTAVO_EVERY_ISA(RmsNorm);

TEST_P(RmsNorm, Cases) { harness::expect_cases(ctx, harness::small_cases(rms_norm_cases())); }

TEST_P(RmsNorm, ThreadsDoNotChangeBits) {
  for (const auto& c : {rms_norm_case({.rows = 37, .width = 1025, .residual = true, .codes = true}, "")})
    harness::expect_same_bits_on_all_thread_counts(GetParam(), c);
}

// By hand: u = (3, 4), mean(u^2) = 12.5, y = u / sqrt(12.5).
TEST_P(RmsNorm, KnownValues) {
  HostTensor x(DType::f32, {1, 2}), weight(DType::f32, {2}), y(DType::f32, {1, 2});
  x.set(0, 3), x.set(1, 4), weight.set(0, 1), weight.set(1, 2);
  rms_norm(ctx, {.x = x.view(), .weight = weight.view(), .eps = 0.0f, .y = y.view()});
  EXPECT_NEAR(y.get(0), 3 / std::sqrt(12.5), 1e-6);
  EXPECT_NEAR(y.get(1), 8 / std::sqrt(12.5), 1e-6);
}

TEST(RmsNormVariant, IsChosenByDtypeAndInstructionSet) {
  HostTensor x(DType::f32, {2, 8}), half(DType::f16, {2, 8}), weight(DType::f32, {8});
  Context ctx;
  for (const Isa isa : kAllIsas) {
    ctx.isa = isa;
    EXPECT_STREQ(rms_norm_variant(ctx, {.x = x.view(), .weight = weight.view(), .y = x.view()}).variant,
                 name_of(isa));
    EXPECT_STREQ(rms_norm_variant(ctx, {.x = half.view(), .weight = weight.view(), .y = half.view()}).variant,
                 "reference");
  }
}

TEST(RmsNormErrors, NameArgumentAndNumbers) {
  HostTensor x(DType::f32, {2, 8}), r(DType::f32, {2, 8}), u(DType::f32, {2, 8}), y(DType::f32, {2, 8}),
      w(DType::f32, {8});
  HostTensor codes(DType::i8, {2, 8}), scale(DType::f32, {2}), narrow(DType::f32, {2, 7}),
      half(DType::f16, {2, 8});
  const RmsNormArgs good{.x = x.view(),
                         .residual = r.view(),
                         .weight = w.view(),
                         .u = u.view(),
                         .y = y.view(),
                         .y_codes = codes.view(),
                         .y_scale = scale.view()};
  rms_norm({}, good);
  const auto expect = [&](const char* message, auto change) {
    RmsNormArgs bad = good;
    change(bad);
    harness::expect_error(ErrorKind::usage, message, [&] { rms_norm({}, bad); });
  };
  expect("rms_norm: x is i8[2, 8], expected one of: f32, f16, bf16", [&](auto& a) { a.x = codes.view(); });
  expect("rms_norm: x is f32[8], expected shape [any, any]", [&](auto& a) { a.x = w.view(); });
  expect("rms_norm: x is f32[0], expected shape [any, any]",
         [&](auto& a) { a.x = ConstTensor(nullptr, DType::f32, {0}); });
  expect("rms_norm: x is f32[2, 8] with a null pointer", [&](auto& a) {
    a.x = ConstTensor(nullptr, DType::f32, {2, 8});
  });
  expect("rms_norm: x f32[2, 8] has stride 2 in its last dimension, expected 1", [&](auto& a) {
    a.x = Tensor(x.as<float>(), DType::f32, {2, 8}, {16, 2});
  });
  expect("rms_norm: x lies on a CUDA device, the call runs on the CPU", [&](auto& a) {
    a.x = Tensor(x.as<float>(), DType::f32, {2, 8}, Backend::cuda);
  });
  expect("rms_norm: weight is f32[2], expected shape [8]", [&](auto& a) { a.weight = scale.view(); });
  expect("rms_norm: weight is i8[2, 8], expected one of: f32, f16, bf16",
         [&](auto& a) { a.weight = codes.view(); });
  expect("rms_norm: residual is f32[2, 7], expected shape [2, 8]",
         [&](auto& a) { a.residual = narrow.view(); });
  expect("rms_norm: residual is f16[2, 8], expected one of: f32", [&](auto& a) { a.residual = half.view(); });
  expect("rms_norm: u is f32[], expected shape [2, 8]", [&](auto& a) { a.u = {}; });
  expect("rms_norm: u is given without residual", [&](auto& a) { a.residual = {}; });
  expect("rms_norm: y and y_codes are both absent",
         [&](auto& a) { a.y = {}, a.y_codes = {}, a.y_scale = {}; });
  expect("rms_norm: y is f32[2, 7], expected shape [2, 8]", [&](auto& a) { a.y = narrow.view(); });
  expect("rms_norm: y is the same memory as u", [&](auto& a) { a.y = u.view(); });
  expect("rms_norm: y_codes is f32[2, 8], expected one of: i8", [&](auto& a) { a.y_codes = y.view(); });
  expect("rms_norm: y_scale is f32[], expected shape [2]", [&](auto& a) { a.y_scale = {}; });
  expect("rms_norm: y_scale is given without y_codes", [&](auto& a) { a.y_codes = {}; });
  expect("rms_norm: eps is -1, expected 0 or more", [&](auto& a) { a.eps = -1; });
  expect("rms_norm: eps is nan, expected 0 or more", [&](auto& a) { a.eps = NAN; });
}

}  // namespace
}  // namespace octavo
