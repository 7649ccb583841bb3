#include "ops/adamw/adamw.h"

#include "harness/expect_cases.h"
#include "harness/expect_error.h"
#include "harness/isa_test.h"
#include "ops/adamw/adamw_cases.h"

namespace octavo {
namespace {

using harness::HostTensor;

class AdamW : public harness::IsaTest {};
OCTAVO_EVERY_ISA(AdamW);

TEST_P(AdamW, Cases) { harness::expect_cases(ctx, harness::small_cases(adamw_cases())); }

TEST_P(AdamW, ThreadsDoNotChangeBits) {
  harness::expect_same_bits_on_all_thread_counts(GetParam(), adamw_case({.widths = {50001, 7, 30000}}, ""));
}

struct OneParameter {
  HostTensor param{DType::f32, {1}}, grad{DType::f32, {1}}, m{DType::f32, {1}}, v{DType::f32, {1}},
      step{DType::i32, {1}};
  OneParameter() { param.fill(1), grad.fill(0.5), m.fill(0), v.fill(0), step.fill(0); }
  AdamWTensor tensor() const {
    return {.param = param.view(), .grad = grad.view(), .exp_avg = m.view(), .exp_avg_sq = v.view()};
  }
};

// By hand, lr = 0.1, decay = 0.5. Step 1: p = 1 * 0.95 - 0.1 * sign(g); with gradient 0 in step 2:
// m = 0.9 * 0.05, v = 0.999 * 0.00025, p = 0.85 * 0.95 - 0.1 / (1 - 0.81) * m / sqrt(v / (1 - 0.998001)).
TEST_P(AdamW, KnownValues) {
  OneParameter one;
  const AdamWTensor tensor = one.tensor();
  const AdamWArgs args{.tensors = {&tensor, 1}, .lr = 0.1f, .weight_decay = 0.5f, .step = one.step.view()};
  adamw(ctx, args);
  EXPECT_NEAR(one.param.get(0), 0.85, 1e-6);
  EXPECT_NEAR(one.m.get(0), 0.05, 1e-7);
  EXPECT_NEAR(one.v.get(0), 0.00025, 2e-8);  // 0.999f is not 0.999
  one.grad.fill(0);
  adamw(ctx, args);
  EXPECT_NEAR(one.param.get(0), 0.85 * 0.95 - 0.1 / 0.19 * 0.045 / std::sqrt(0.00024975 / 0.001999), 1e-6);
  EXPECT_EQ(one.step.get(0), 2);
}

TEST_P(AdamW, SkipChangesNothing) {
  OneParameter one;
  HostTensor skip(DType::i32, {1});
  skip.fill(-1), one.grad.fill(NAN);
  const AdamWTensor tensor = one.tensor();
  adamw(ctx, {.tensors = {&tensor, 1}, .step = one.step.view(), .skip = skip.view()});
  EXPECT_EQ(one.param.get(0), 1);
  EXPECT_EQ(one.m.get(0), 0);
  EXPECT_EQ(one.v.get(0), 0);
  EXPECT_EQ(one.step.get(0), 0);
}

TEST_P(AdamW, ScaledGradientsGiveTheSameStep) {
  OneParameter one, scaled;
  HostTensor scale(DType::f32, {1});
  scale.fill(1024), scaled.grad.fill(512);
  const AdamWTensor a = one.tensor(), b = scaled.tensor();
  adamw(ctx, {.tensors = {&a, 1}, .step = one.step.view()});
  adamw(ctx, {.tensors = {&b, 1}, .step = scaled.step.view(), .grad_scale = scale.view()});
  EXPECT_EQ(one.param.get(0), scaled.param.get(0));
  EXPECT_EQ(one.v.get(0), scaled.v.get(0));
}

TEST(AdamWVariant, IsChosenByDtypesOfAllTensors) {
  HostTensor f32(DType::f32, {8}), bf16(DType::bf16, {8}), step(DType::i32, {1});
  const AdamWTensor plain{
      .param = f32.view(), .grad = f32.view(), .exp_avg = f32.view(), .exp_avg_sq = f32.view()};
  AdamWTensor mixed = plain;
  mixed.grad = bf16.view();
  const AdamWTensor both[] = {plain, mixed};
  for (const Isa isa : kAllIsas) {
    Context ctx;
    ctx.isa = isa;
    EXPECT_STREQ(adamw_variant(ctx, {.tensors = {both, 1}, .step = step.view()}).variant, name_of(isa));
    EXPECT_STREQ(adamw_variant(ctx, {.tensors = both, .step = step.view()}).variant, "reference");
  }
}

TEST(AdamWErrors, NameTensorArgumentAndNumbers) {
  HostTensor p(DType::f32, {2, 8}), g(DType::f32, {2, 8}), m(DType::f32, {2, 8}), v(DType::f32, {2, 8}),
      flat(DType::f32, {16});
  HostTensor step(DType::i32, {1}), codes(DType::i8, {2, 8}), bf16(DType::bf16, {2, 8}),
      scale(DType::f32, {1}), two(DType::i32, {2});
  p.fill(1), g.fill(1), m.fill(0), v.fill(0), step.fill(0);
  AdamWTensor tensors[2] = {
      {.param = p.view(), .grad = g.view(), .exp_avg = m.view(), .exp_avg_sq = v.view()}, {}};
  tensors[1] = tensors[0];
  const AdamWTensor good_tensor = tensors[0];
  const AdamWArgs good{.tensors = {tensors, 2}, .step = step.view()};
  const auto expect = [&](const char* message, auto change) {
    AdamWArgs bad = good;
    change(bad);
    harness::expect_error(ErrorKind::usage, message, [&] { adamw({}, bad); });
    tensors[1] = good_tensor;
    EXPECT_EQ(p.get(0), 1) << message;  // nothing has changed, the good tensor 0 included
  };
  AdamWTensor& bad = tensors[1];
  expect("adamw: tensors[1].param is i8[2, 8], expected one of: f32, bf16",
         [&](auto&) { bad.param = codes.view(); });
  expect("adamw: tensors[1].grad is f32[16], param is f32[2, 8]", [&](auto&) { bad.grad = flat.view(); });
  expect("adamw: tensors[1].exp_avg is bf16[2, 8], expected one of: f32",
         [&](auto&) { bad.exp_avg = bf16.view(); });
  expect("adamw: tensors[1].exp_avg_sq is f32[2, 8] with a null pointer", [&](auto&) {
    bad.exp_avg_sq = Tensor(nullptr, DType::f32, {2, 8});
  });
  expect("adamw: tensors[1].exp_avg f32[2, 8] is not dense", [&](auto&) {
    bad.exp_avg = Tensor(m.as<float>(), DType::f32, {2, 8}, {9, 1});
  });
  expect("adamw: tensors[1].grad lies on a CUDA device", [&](auto&) {
    bad.grad = Tensor(g.as<float>(), DType::f32, {2, 8}, Backend::cuda);
  });
  expect("adamw: lr is -1, expected 0 <= lr < inf", [&](auto& a) { a.lr = -1; });
  expect("adamw: lr is nan", [&](auto& a) { a.lr = NAN; });
  expect("adamw: beta1 is 1, expected 0 <= beta1 < 1", [&](auto& a) { a.beta1 = 1; });
  expect("adamw: beta2 is -0.5, expected 0 <= beta2 < 1", [&](auto& a) { a.beta2 = -0.5f; });
  expect("adamw: eps is -1", [&](auto& a) { a.eps = -1; });
  expect("adamw: weight_decay is inf", [&](auto& a) { a.weight_decay = INFINITY; });
  expect("adamw: step is f32[], expected one of: i32", [&](auto& a) { a.step = {}; });
  expect("adamw: step is i32[2], expected shape [1]", [&](auto& a) { a.step = two.view(); });
  expect("adamw: skip is f32[1], expected one of: i32", [&](auto& a) { a.skip = scale.view(); });
  expect("adamw: grad_scale is i32[1], expected one of: f32", [&](auto& a) { a.grad_scale = step.view(); });
  scale.fill(0);
  expect("adamw: grad_scale holds 0, expected a positive number",
         [&](auto& a) { a.grad_scale = scale.view(); });
  step.fill(-1);
  expect("adamw: step holds -1, expected 0 to 2147483646", [](auto&) {});
  step.fill(2147483647);
  expect("adamw: step holds 2147483647", [](auto&) {});
  step.fill(0);
  adamw({}, good);
  EXPECT_NE(p.get(0), 1);
}

}  // namespace
}  // namespace octavo
