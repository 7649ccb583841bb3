#include "ops/gemm_w8a8/gemm_w8a8.h"

#include "core/quantizer.h"
#include "harness/expect_cases.h"
#include "harness/expect_error.h"
#include "harness/isa_test.h"
#include "ops/gemm_w8a8/gemm_w8a8_cases.h"

namespace octavo {
namespace {

using harness::HostTensor;

class GemmW8A8 : public harness::IsaTest {};
OCTAVO_EVERY_ISA(GemmW8A8);

TEST_P(GemmW8A8, Cases) { harness::expect_cases(ctx, harness::small_cases(gemm_w8a8_cases())); }

// The promise of design 3: a row's bits depend neither on M nor on the instruction set. One reference of 129 rows
// serves every M.
TEST_P(GemmW8A8, EveryRowCountAtTheLimitsOfK) {
  constexpr int64_t kMostRows = 129;
  for (const int64_t k : {int64_t{1}, int64_t{63}, int64_t{172}, kMaxInt8K})
    for (const int64_t n : {1, 3, 5}) {
      HostTensor x(DType::i8, {kMostRows, k}), w(DType::i8, {n, k}), x_scale(DType::f32, {kMostRows}),
          w_scale(DType::f32, {n});
      x.fill_codes(1), w.fill_codes(2), x_scale.fill_uniform(3, 0.01, 0.1),
          w_scale.fill_uniform(4, 0.01, 0.1);
      for (int64_t i = 0; i < 2 * k; ++i) x.as<int8_t>()[i] = -128;  // rows 0 and 1, and the first of w
      for (int64_t i = 0; i < k; ++i) w.as<int8_t>()[i] = -128;
      HostTensor want(DType::f32, {kMostRows, n});
      gemm_w8a8_ref<double>({.x = x.view(),
                             .x_scale = x_scale.view(),
                             .w = w.view(),
                             .w_scale = w_scale.view(),
                             .w_code_sum = {},
                             .bias = {},
                             .y = want.view()});
      for (const int64_t m : kGemmRows) {
        HostTensor y(DType::f32, {m, n});
        gemm_w8a8(ctx, {.x = Tensor::of(x.as<int8_t>(), {m, k}),
                        .x_scale = Tensor::of(x_scale.as<float>(), {m}),
                        .w = w.view(),
                        .w_scale = w_scale.view(),
                        .w_code_sum = {},
                        .bias = {},
                        .y = y.view()});
        for (int64_t i = 0; i < m * n; ++i)
          ASSERT_EQ(y.as<float>()[i], want.as<float>()[i])
              << "M " << m << ", N " << n << ", K " << k << ", element " << i;
      }
    }
}

TEST_P(GemmW8A8, ThreadsDoNotChangeBits) {
  for (const int64_t m : {1, 5, 50})
    harness::expect_same_bits_on_all_thread_counts(
        GetParam(), gemm_w8a8_case({.m = m, .n = 611, .k = 300, .bias = true}, ""));
}

// A call without a pool is one task of all columns.
TEST_P(GemmW8A8, PoliciesOnAnyNumberOfThreads) {
  for (const int64_t m : {1, 50, 200})
    for (const DType y : {DType::bf16, DType::i8}) {
      const GemmW8A8Shape s{.m = m, .n = 611, .k = 70, .y = y, .bias = true, .residual = y != DType::i8};
      harness::expect_same_bits_on_all_thread_counts(GetParam(), gemm_w8a8_case(s, ""));
      Context alone = ctx;
      alone.pool = nullptr;
      harness::expect_cases(alone, {gemm_w8a8_case(s, "one task of all columns")});
    }
}

// By hand: (1, -2, 3) . (4, 5, -6) = -24; -24 * 0.5 * 2 + 1 = -23.
TEST_P(GemmW8A8, KnownValues) {
  const int8_t x[] = {1, -2, 3}, w[] = {4, 5, -6};
  const float x_scale[] = {2}, w_scale[] = {0.5f}, bias[] = {1};
  float y = 0;
  int32_t acc = 0;
  const auto row = [](const int8_t* p) { return ConstTensor::of(p, {1, 3}); };
  gemm_w8a8(ctx, {.x = row(x),
                  .x_scale = ConstTensor::of(x_scale, {1}),
                  .w = row(w),
                  .w_scale = ConstTensor::of(w_scale, {1}),
                  .w_code_sum = {},
                  .bias = ConstTensor::of(bias, {1}),
                  .y = Tensor::of(&y, {1, 1})});
  gemm_w8a8(ctx, {.x = row(x),
                  .x_scale = {},
                  .w = row(w),
                  .w_scale = {},
                  .w_code_sum = {},
                  .bias = {},
                  .y = Tensor::of(&acc, {1, 1})});
  EXPECT_EQ(y, -23.0f);
  EXPECT_EQ(acc, -24);
}

TEST(GemmW8A8Variant, IsChosenByOutputAndInstructionSet) {
  HostTensor x(DType::i8, {2, 8}), w(DType::i8, {3, 8}), xs(DType::f32, {2}), ws(DType::f32, {3}),
      y(DType::f32, {2, 3}), half(DType::f16, {2, 3});
  GemmW8A8Args args{.x = x.view(),
                    .x_scale = xs.view(),
                    .w = w.view(),
                    .w_scale = ws.view(),
                    .w_code_sum = {},
                    .bias = {},
                    .residual = {},
                    .y_scale = {},
                    .y = y.view()};
  Context ctx;
  const char* names[] = {"reference", "avx2", "avx512_vnni"};
  const char* composed[] = {"reference", "avx2_composed", "avx512_vnni_composed"};
  for (const Isa isa : kAllIsas) {
    ctx.isa = isa;
    args.y = y.view(), args.activation = GemmActivation::none;
    EXPECT_STREQ(gemm_w8a8_variant(ctx, args), names[static_cast<int>(isa)]);
    EXPECT_EQ(gemm_w8a8_workspace_bytes(ctx, args), 0);
    args.activation = GemmActivation::gelu_erf;
    EXPECT_STREQ(gemm_w8a8_variant(ctx, args), composed[static_cast<int>(isa)]);
    args.y = half.view(), args.activation = GemmActivation::none;
    EXPECT_STREQ(gemm_w8a8_variant(ctx, args), composed[static_cast<int>(isa)]);
  }
}

// A product of normal values, quantised by rows, as in a linear layer.
struct QuantisedLinear {
  HostTensor x, w, x_codes, w_codes, x_scale, w_scale, y;

  QuantisedLinear(const Context& ctx, int64_t m, int64_t n, int64_t k)
      : x(DType::f32, {m, k}),
        w(DType::f32, {n, k}),
        x_codes(DType::i8, {m, k}),
        w_codes(DType::i8, {n, k}),
        x_scale(DType::f32, {m}),
        w_scale(DType::f32, {n}),
        y(DType::f32, {m, n}) {
    x.fill_normal(1), w.fill_normal(2);
    quantize_by_rows(x, x_codes, x_scale), quantize_by_rows(w, w_codes, w_scale);
    gemm_w8a8(ctx, {.x = x_codes.view(),
                    .x_scale = x_scale.view(),
                    .w = w_codes.view(),
                    .w_scale = w_scale.view(),
                    .w_code_sum = {},
                    .bias = {},
                    .residual = {},
                    .y_scale = {},
                    .y = y.view()});
  }
  static void quantize_by_rows(const HostTensor& from, HostTensor& codes, HostTensor& scale) {
    for (int64_t r = 0; r < from.shape()[0]; ++r) {
      float amax = 0;
      for (int64_t c = 0; c < from.shape()[1]; ++c)
        amax = std::max(amax, std::abs(static_cast<float>(from.get(r * from.shape()[1] + c))));
      const RowCoding coding = row_coding(amax);
      scale.as<float>()[r] = coding.scale;
      for (int64_t c = 0; c < from.shape()[1]; ++c)
        codes.as<int8_t>()[r * from.shape()[1] + c] =
            quantize(static_cast<float>(from.get(r * from.shape()[1] + c)), coding.inverse);
    }
  }
};

// The check of triton-llm-kernels' w8a8 pull request: rtol 0.05 and atol 0.1 against the fp32 product of the dequantised
// operands. Ours are exact sums, so the distance is the rounding of fp32.
TEST_P(GemmW8A8, MatchesTheProductOfDequantisedOperands) {
  constexpr int64_t kRows = 33, kColumns = 70, kDepth = 512;
  const QuantisedLinear l(ctx, kRows, kColumns, kDepth);
  for (int64_t m = 0; m < kRows; ++m)
    for (int64_t n = 0; n < kColumns; ++n) {
      float want = 0;
      for (int64_t k = 0; k < kDepth; ++k)
        want += static_cast<float>(l.x_codes.get(m * kDepth + k)) * l.x_scale.as<float>()[m] *
                static_cast<float>(l.w_codes.get(n * kDepth + k)) * l.w_scale.as<float>()[n];
      ASSERT_LE(std::abs(l.y.as<float>()[m * kColumns + n] - want), 0.1f + 0.05f * std::abs(want))
          << m << ", " << n;
    }
}

// QuantLinear's bound of the same repository: at most 0.2 from the layer that was quantised, for a layer as nn.Linear
// initialises it (weights within 1 / sqrt(K)).
TEST_P(GemmW8A8, IsWithinAFifthOfTheLayer) {
  constexpr int64_t kRows = 32, kColumns = 64, kDepth = 1024;
  const QuantisedLinear l(ctx, kRows, kColumns, kDepth);
  const double shrink =
      1 / std::sqrt(3.0 * kDepth);  // normal weights to the variance of a uniform one within 1 / sqrt(K)
  for (int64_t m = 0; m < kRows; ++m)
    for (int64_t n = 0; n < kColumns; ++n) {
      double want = 0;
      for (int64_t k = 0; k < kDepth; ++k) want += l.x.get(m * kDepth + k) * l.w.get(n * kDepth + k);
      ASSERT_LE(std::abs(l.y.as<float>()[m * kColumns + n] - want) * shrink, 0.2) << m << ", " << n;
    }
}

// By hand: v = 6 and -3; silu(6) * -3 = 6 / (1 + e^-6) * -3.
TEST_P(GemmW8A8, KnownValuesOfPolicies) {
  const int8_t x[] = {3}, w[] = {2, -1};
  const float x_scale[] = {1}, w_scale[] = {1, 1}, residual[] = {0.5f, 10}, y_scale[] = {2};
  float y[2] = {};
  int8_t codes[2] = {};
  GemmW8A8Args a{.x = ConstTensor::of(x, {1, 1}),
                 .x_scale = ConstTensor::of(x_scale, {1}),
                 .w = ConstTensor::of(w, {2, 1}),
                 .w_scale = ConstTensor::of(w_scale, {2}),
                 .w_code_sum = {},
                 .bias = {},
                 .activation = GemmActivation::silu_mul,
                 .residual = {},
                 .y_scale = {},
                 .y = Tensor::of(y, {1, 1})};
  gemm_w8a8(ctx, a);
  EXPECT_NEAR(y[0], -18 / (1 + std::exp(-6.0)), 1e-5);
  a.activation = GemmActivation::gelu_erf, a.y = Tensor::of(y, {1, 2});
  gemm_w8a8(ctx, a);
  EXPECT_NEAR(y[0], 3 * std::erfc(-6 / std::sqrt(2.0)), 1e-5);
  EXPECT_NEAR(y[1], -1.5 * std::erfc(3 / std::sqrt(2.0)), 1e-6);
  a.activation = GemmActivation::none, a.residual = ConstTensor::of(residual, {1, 2});
  gemm_w8a8(ctx, a);
  EXPECT_EQ(y[0], 6.5f);
  EXPECT_EQ(y[1], 7.0f);
  a.residual = {}, a.y_scale = ConstTensor::of(y_scale, {1}), a.y = Tensor::of(codes, {1, 2});
  gemm_w8a8(ctx, a);
  EXPECT_EQ(codes[0], 3);
  EXPECT_EQ(codes[1], -2) << "-1.5 to even";
}

// The row's amax is that of y as stored, whatever stands behind the sums, and never falls.
TEST_P(GemmW8A8, AmaxIsThatOfTheStoredRow) {
  constexpr int64_t kRows = 9, kColumns = 38, kDepth = 50;
  HostTensor x(DType::i8, {kRows, kDepth}), w(DType::i8, {kColumns, kDepth}), x_scale(DType::f32, {kRows}),
      w_scale(DType::f32, {kColumns}), amax(DType::f32, {kRows});
  x.fill_codes(1), w.fill_codes(2), x_scale.fill_uniform(3, 0.001, 0.01), w_scale.fill_uniform(4, 0.01, 0.1);
  for (const auto activation : {GemmActivation::none, GemmActivation::gelu_erf, GemmActivation::silu_mul})
    for (const DType type : {DType::bf16, DType::f16}) {
      const int64_t columns = activation == GemmActivation::silu_mul ? kColumns / 2 : kColumns;
      HostTensor y(type, {kRows, columns});
      amax.fill(0), amax.set(3, 1e6);
      gemm_w8a8(ctx, {.x = x.view(),
                      .x_scale = x_scale.view(),
                      .w = w.view(),
                      .w_scale = w_scale.view(),
                      .w_code_sum = {},
                      .bias = {},
                      .activation = activation,
                      .residual = {},
                      .y_scale = {},
                      .y_amax = amax.view(),
                      .y = y.view()});
      for (int64_t m = 0; m < kRows; ++m) {
        double want = m == 3 ? 1e6 : 0;
        for (int64_t n = 0; n < columns; ++n) want = std::max(want, std::abs(y.get(m * columns + n)));
        EXPECT_EQ(amax.get(m), want) << "row " << m << ", " << name_of(type);
      }
    }
}

TEST(GemmW8A8Errors, NameArgumentAndNumbers) {
  HostTensor x(DType::i8, {2, 8}), w(DType::i8, {3, 8}), xs(DType::f32, {2}), ws(DType::f32, {3}),
      bias(DType::f32, {3}), sums(DType::i32, {3}), y(DType::f32, {2, 3}), acc(DType::i32, {2, 3}),
      narrow(DType::i8, {3, 7}), codes(DType::i8, {2, 3});
  x.fill(1), w.fill(1), xs.fill(1), ws.fill(1), bias.fill(0), sums.fill(8);
  const GemmW8A8Args good{.x = x.view(),
                          .x_scale = xs.view(),
                          .w = w.view(),
                          .w_scale = ws.view(),
                          .w_code_sum = sums.view(),
                          .bias = bias.view(),
                          .y = y.view()};
  gemm_w8a8({}, good);
  const auto expect = [&](const char* message, auto change) {
    GemmW8A8Args bad = good;
    change(bad);
    harness::expect_error(ErrorKind::usage, message, [&] { gemm_w8a8({}, bad); });
    harness::expect_error(ErrorKind::usage, message, [&] { gemm_w8a8_variant({}, bad); });
  };
  expect("gemm_w8a8: x is f32[2, 3], expected one of: i8", [&](auto& a) { a.x = y.view(); });
  expect("gemm_w8a8: x is i8[8], expected shape [any, any]",
         [&](auto& a) { a.x = Tensor::of(x.as<int8_t>(), {8}); });
  expect("gemm_w8a8: x is i8[2, 8] with a null pointer", [&](auto& a) {
    a.x = ConstTensor(nullptr, DType::i8, {2, 8});
  });
  expect("gemm_w8a8: x i8[2, 4] has stride 2 in its last dimension, expected 1", [&](auto& a) {
    a.x = Tensor(x.as<int8_t>(), DType::i8, {2, 4}, {8, 2});
  });
  expect("gemm_w8a8: x lies on a CUDA device, the call runs on the CPU", [&](auto& a) {
    a.x = Tensor(x.as<int8_t>(), DType::i8, {2, 8}, Backend::cuda);
  });
  expect("gemm_w8a8: x is i8[1, 131072]: K = 131072 is above 131071", [&](auto& a) {
    a.x = Tensor(x.as<int8_t>(), DType::i8, {1, kMaxInt8K + 1});
  });
  expect("gemm_w8a8: w is i8[3, 7], expected shape [any, 8]", [&](auto& a) { a.w = narrow.view(); });
  expect("gemm_w8a8: w is f32[2, 3], expected one of: i8", [&](auto& a) { a.w = y.view(); });
  expect("gemm_w8a8: x_scale is f32[3], expected shape [2]", [&](auto& a) { a.x_scale = ws.view(); });
  expect("gemm_w8a8: x_scale is f32[], expected shape [2]", [&](auto& a) { a.x_scale = {}; });
  expect("gemm_w8a8: w_scale is f32[2], expected shape [3]", [&](auto& a) { a.w_scale = xs.view(); });
  expect("gemm_w8a8: w_scale is i32[3], expected one of: f32", [&](auto& a) { a.w_scale = sums.view(); });
  expect("gemm_w8a8: w_code_sum is f32[3], expected one of: i32", [&](auto& a) { a.w_code_sum = ws.view(); });
  expect("gemm_w8a8: w_code_sum is i32[2], expected shape [3]",
         [&](auto& a) { a.w_code_sum = Tensor::of(sums.as<int32_t>(), {2}); });
  expect("gemm_w8a8: bias is f32[2], expected shape [3]", [&](auto& a) { a.bias = xs.view(); });
  expect("gemm_w8a8: y is f32[3], expected shape [2, 3]", [&](auto& a) { a.y = ws.view(); });
  expect("gemm_w8a8: y is i8[2, 8], expected shape [2, 3]", [&](auto& a) { a.y = x.view(); });
  expect("gemm_w8a8: y_amax is given, but y is neither f16 nor bf16", [&](auto& a) { a.y_amax = xs.view(); });
  expect("gemm_w8a8: x_scale is given, but y is i32", [&](auto& a) { a.y = acc.view(); });
  expect("gemm_w8a8: w_scale is given, but y is i32", [&](auto& a) { a.y = acc.view(), a.x_scale = {}; });
  expect("gemm_w8a8: bias is given, but y is i32",
         [&](auto& a) { a.y = acc.view(), a.x_scale = {}, a.w_scale = {}; });
  expect("gemm_w8a8: activation is given, but y is i32", [&](auto& a) {
    a.y = acc.view(), a.x_scale = {}, a.w_scale = {}, a.bias = {}, a.activation = GemmActivation::gelu_tanh;
  });
  expect("gemm_w8a8: w is i8[3, 8]: silu_mul needs gate and up in turn, an even number of rows",
         [&](auto& a) { a.activation = GemmActivation::silu_mul; });
  expect("gemm_w8a8: residual is given, but there is an activation",
         [&](auto& a) { a.activation = GemmActivation::gelu_erf, a.residual = y.view(); });
  expect("gemm_w8a8: residual is i32[2, 3], expected one of: f32", [&](auto& a) { a.residual = acc.view(); });
  expect("gemm_w8a8: y_scale is given, but y is not i8", [&](auto& a) { a.y_scale = xs.view(); });
  expect("gemm_w8a8: y_scale is f32[], expected shape [1]", [&](auto& a) { a.y = codes.view(); });
  expect("gemm_w8a8: activation is given, but y is i8",
         [&](auto& a) { a.y = codes.view(), a.activation = GemmActivation::gelu_erf; });
}

}  // namespace
}  // namespace octavo
