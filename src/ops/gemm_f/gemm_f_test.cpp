#include "ops/gemm_f/gemm_f.h"

#include "harness/expect_cases.h"
#include "harness/expect_error.h"
#include "harness/isa_test.h"
#include "ops/gemm_f/gemm_f_cases.h"

namespace octavo {
namespace {

using harness::HostTensor;

class GemmF : public harness::IsaTest {};
OCTAVO_EVERY_ISA(GemmF);

TEST_P(GemmF, Cases) { harness::expect_cases(ctx, harness::small_cases(gemm_f_cases())); }

TEST_P(GemmF, ThreadsDoNotChangeBits) {
  for (const int64_t m : {1, 5, 50})
    harness::expect_same_bits_on_all_thread_counts(
        GetParam(), gemm_f_case({.m = m, .n = 311, .k = 300, .bias = true}, ""));
}

// On the CPU a row's bits do not depend on how many rows come with it.
TEST_P(GemmF, RowsDoNotDependOnTheirNumber) {
  constexpr int64_t kMostRows = 129, n = 23, k = 777;
  HostTensor x(DType::f32, {kMostRows, k}), w(DType::bf16, {n, k}), want(DType::f32, {kMostRows, n});
  x.fill_normal(1), w.fill_normal(2);
  const auto run = [&](int64_t rows, const Tensor& y) {
    gemm_f(ctx, {.x = Tensor::of(x.as<float>(), {rows, k}), .w = w.view(), .bias = {}, .y = y});
  };
  run(kMostRows, want.view());
  for (const int64_t m : {1, 2, 3, 4, 5, 7, 8, 9, 10, 17, 48, 49, 128}) {
    HostTensor y(DType::f32, {m, n});
    run(m, y.view());
    for (int64_t i = 0; i < m * n; ++i)
      ASSERT_EQ(y.as<float>()[i], want.as<float>()[i]) << "M " << m << ", element " << i;
  }
}

// By hand: (1, -2, 0.5) . (4, 5, -128) + 1 = -69.
TEST_P(GemmF, KnownValues) {
  const float x[] = {1, -2, 0.5f}, bias[] = {1};
  const float w[] = {4, 5, -128};
  float y = 0;
  gemm_f(ctx, {.x = ConstTensor::of(x, {1, 3}),
               .w = ConstTensor::of(w, {1, 3}),
               .bias = ConstTensor::of(bias, {1}),
               .y = Tensor::of(&y, {1, 1})});
  EXPECT_EQ(y, -69.0f);
}

TEST(GemmFVariant, IsChosenByDtypeAndInstructionSet) {
  HostTensor x(DType::f32, {2, 8}), half(DType::f16, {2, 8}), w(DType::bf16, {8, 8});
  Context ctx;
  for (const Isa isa : kAllIsas) {
    ctx.isa = isa;
    GemmFArgs args{.x = x.view(), .w = w.view(), .bias = {}, .y = x.view()};
    EXPECT_STREQ(gemm_f_variant(ctx, args), name_of(isa));
    args.x = half.view();
    EXPECT_STREQ(gemm_f_variant(ctx, args), "reference");
  }
}

TEST(GemmFErrors, NameArgumentAndNumbers) {
  HostTensor x(DType::f32, {2, 8}), w(DType::f32, {3, 8}), narrow(DType::f16, {3, 7}),
      codes(DType::i8, {3, 8}), scale(DType::f32, {3}), two(DType::f32, {2}), half(DType::f16, {3}),
      y(DType::f32, {2, 3});
  x.fill(1), w.fill(1), scale.fill(1);
  const GemmFArgs good{.x = x.view(), .w = w.view(), .bias = scale.view(), .y = y.view()};
  gemm_f({}, good);
  const auto expect = [&](const char* message, auto change) {
    GemmFArgs bad = good;
    change(bad);
    harness::expect_error(ErrorKind::usage, message, [&] { gemm_f({}, bad); });
    harness::expect_error(ErrorKind::usage, message, [&] { gemm_f_variant({}, bad); });
  };
  expect("gemm_f: x is i8[3, 8], expected one of: f32, f16, bf16", [&](auto& a) { a.x = codes.view(); });
  expect("gemm_f: x is f32[3], expected shape [any, any]", [&](auto& a) { a.x = scale.view(); });
  expect("gemm_f: x is f32[2, 8] with a null pointer", [&](auto& a) {
    a.x = ConstTensor(nullptr, DType::f32, {2, 8});
  });
  expect("gemm_f: x f32[2, 4] has stride 2 in its last dimension, expected 1", [&](auto& a) {
    a.x = Tensor(x.as<float>(), DType::f32, {2, 4}, {8, 2});
  });
  expect("gemm_f: w lies on a CUDA device, the call runs on the CPU", [&](auto& a) {
    a.w = Tensor(w.as<float>(), DType::f32, {3, 8}, Backend::cuda);
  });
  expect("gemm_f: w is f16[3, 7], expected shape [any, 8]", [&](auto& a) { a.w = narrow.view(); });
  expect("gemm_f: w is i8[3, 8], expected one of: f32, f16, bf16", [&](auto& a) { a.w = codes.view(); });
  expect("gemm_f: bias is f16[3], expected one of: f32", [&](auto& a) { a.bias = half.view(); });
  expect("gemm_f: bias is f32[2], expected shape [3]", [&](auto& a) { a.bias = two.view(); });
  expect("gemm_f: y is f32[3], expected shape [2, 3]", [&](auto& a) { a.y = scale.view(); });
  expect("gemm_f: y is i8[3, 8], expected one of: f32, f16, bf16", [&](auto& a) { a.y = codes.view(); });
}

}  // namespace
}  // namespace octavo
