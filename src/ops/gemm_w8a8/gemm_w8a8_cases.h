// Cases of gemm_w8a8: shapes around every tile and block, the limits of s32, layouts, then the bench.
#pragma once
#include <fmt/format.h>

#include <cmath>
#include <tuple>
#include <vector>

#include "harness/op_case.h"
#include "ops/gemm_w8a8/gemm_w8a8.h"
#include "ops/gemm_w8a8/gemm_w8a8_ref.h"

namespace octavo {

enum class Int8Codes { all, lowest, opposite };  // random with -128; all -128; x = -128, w = 127

struct GemmW8A8Shape {
  int64_t m, n, k;
  DType y = DType::f32;
  bool bias = false, code_sum = false;
  GemmActivation activation = GemmActivation::none;
  bool residual = false;
  bool amax = false;
  bool constant_weights = false;
  Int8Codes codes = Int8Codes::all;
  bool hard_scales = false;         // x_scale holds NaN, Inf, 0 and denormals
  int64_t pitch = 0, misalign = 0;  // of x, w and y
  bool perf = false;
};

// The rows that design 3 promises equal bits for: around every tile of every backend.
inline constexpr int64_t kGemmRows[] = {1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 64, 65, 127, 128, 129};

inline harness::OpCase gemm_w8a8_case(const GemmW8A8Shape& s, std::string why) {
  using namespace harness;
  constexpr const char* kCodes[] = {"", "/lowest", "/opposite"};
  OpCase c;
  constexpr const char* kActivations[] = {"", "/gelu_erf", "/gelu_tanh", "/silu_mul"};
  c.name =
      fmt::format("{}x{}x{}/{}{}{}{}{}{}{}{}{}{}", s.m, s.n, s.k, name_of(s.y), s.bias ? "/bias" : "",
                  kActivations[static_cast<int>(s.activation)], s.residual ? "/residual" : "",
                  s.amax ? "/amax" : "", s.code_sum ? "/code_sum" : "", kCodes[static_cast<int>(s.codes)],
                  s.hard_scales ? "/hard" : "", s.pitch ? fmt::format("/pitch{}", s.pitch) : "",
                  s.misalign ? fmt::format("/misalign{}", s.misalign) : "");
  c.why = std::move(why);
  c.perf = s.perf;
  c.nan_declared = s.hard_scales;
  c.ops = 2 * s.m * s.n * s.k;
  const bool activates = s.activation != GemmActivation::none;
  const int64_t y_columns = s.activation == GemmActivation::silu_mul ? s.n / 2 : s.n;
  c.bytes = s.m * s.k + s.n * s.k + s.m * y_columns * size_of(s.y) * (s.residual ? 2 : 1);
  const auto add = [&](CaseArg arg) {
    c.args.push_back(std::move(arg));
    return static_cast<int>(c.args.size()) - 1;
  };
  const auto add_matrix = [&](CaseArg arg) {
    arg.pitch = s.pitch, arg.misalign = s.misalign;
    return add(std::move(arg));
  };
  const bool scaled = s.y != DType::i32;
  const auto x_fill = s.codes == Int8Codes::all ? all_codes() : constant(-128);
  const auto w_fill =
      s.codes == Int8Codes::all ? all_codes() : constant(s.codes == Int8Codes::lowest ? -128 : 127);
  const int x = add_matrix(input("x", DType::i8, {s.m, s.k}, x_fill));
  const int w = add_matrix(input("w", DType::i8, {s.n, s.k}, w_fill));
  const int y = add_matrix(output("y", s.y, {s.m, y_columns}, activates ? Judge::floats : Judge::exact));
  int x_scale = -1, w_scale = -1, bias = -1, code_sum = -1, residual = -1, y_scale = -1, y_amax = -1;
  if (scaled) {
    const auto hard = [](HostTensor& t, uint64_t) {
      const double values[] = {0.01, NAN, INFINITY, 0.0, 0x1p-140, 1e30};
      for (int64_t i = 0; i < t.numel(); ++i) t.set(i, values[i % 6]);
    };
    // Activations get sums of about 3, whatever K: beyond +-10 they are lines.
    const double low = activates ? 0.0001 : 0.001,
                 high = activates ? 0.01 / std::sqrt(1.0 + s.k / 100.0) : 0.1;
    x_scale = add(input("x_scale", DType::f32, {s.m}, s.hard_scales ? hard : uniform(low, high)));
    w_scale = add(input("w_scale", DType::f32, {s.n}, uniform(activates ? 0.01 : 0.001, 0.1)));
    c.bytes += 4 * (s.m + s.n);
  }
  if (s.bias) bias = add(input("bias", DType::f32, {s.n}, normal(activates ? 1 : 10)));
  if (s.residual) residual = add_matrix(input("residual", s.y, {s.m, s.n}, normal(10)));
  if (s.y == DType::i8) y_scale = add(input("y_scale", DType::f32, {1}, constant(0.37)));
  if (s.amax) {
    CaseArg arg = output("y_amax", DType::f32, {s.m}, activates ? Judge::floats : Judge::exact);
    arg.fill = activates ? constant(0) : [](HostTensor& t, uint64_t) {
      const double before[] = {0, 0, 3, 1e6};  // of a part of the row that another product made
      for (int64_t i = 0; i < t.numel(); ++i) t.set(i, before[i % 4]);
    };
    arg.relative_slack = s.y == DType::bf16 ? 0x1p-7 : 0x1p-10,
    arg.nmse_cap = 1e-5;  // it is y's element, rounded as y
    y_amax = add(std::move(arg));
  }
  if (s.code_sum) {
    const uint64_t w_seed = seed_of(c.name + "/w");
    const auto sum_rows = [=, n = s.n, k = s.k](HostTensor& t, uint64_t) {
      HostTensor codes(DType::i8, {n, k});
      w_fill(codes, w_seed);
      for (int64_t row = 0; row < n; ++row) {
        int64_t sum = 0;
        for (int64_t i = 0; i < k; ++i) sum += codes.as<int8_t>()[row * k + i];
        t.set(row, static_cast<double>(sum));
      }
    };
    code_sum = add(input("w_code_sum", DType::i32, {s.n}, sum_rows));
  }
  const auto args_of = [=](CaseTensors t) {
    const auto at = [&](int i) { return i < 0 ? Tensor() : t[static_cast<size_t>(i)]; };
    return GemmW8A8Args{.x = at(x),
                        .x_scale = at(x_scale),
                        .w = at(w),
                        .w_scale = at(w_scale),
                        .w_code_sum = at(code_sum),
                        .bias = at(bias),
                        .activation = s.activation,
                        .residual = at(residual),
                        .y_scale = at(y_scale),
                        .y_amax = at(y_amax),
                        .y = at(y),
                        .constant_weights = s.constant_weights};
  };
  c.variant = [=](const Context& ctx, CaseTensors t) {
    return std::string(gemm_w8a8_variant(ctx, args_of(t)));
  };
  c.shape = {{"M", s.m}, {"N", s.n}, {"K", s.k}};
  c.call = [=](const Context& ctx, CaseTensors t) { gemm_w8a8(ctx, args_of(t)); };
  c.reference = [=](CaseTensors t) { gemm_w8a8_ref<double>(args_of(t)); };
  if (activates) c.plain = [=](CaseTensors t) { gemm_w8a8_ref<float>(args_of(t)); };
  return c;
}

// Every policy behind the sums, at one shape.
template <class Add>
void add_policies(int64_t m, int64_t n, int64_t k, int64_t pitch, Add&& add) {
  for (const DType y : {DType::f32, DType::f16, DType::bf16}) {
    for (const auto activation :
         {GemmActivation::gelu_erf, GemmActivation::gelu_tanh, GemmActivation::silu_mul})
      for (const bool bias : {false, true})
        add({.m = m, .n = n, .k = k, .y = y, .bias = bias, .activation = activation, .pitch = pitch});
    add({.m = m, .n = n, .k = k, .y = y, .residual = true, .pitch = pitch});
    add({.m = m, .n = n, .k = k, .y = y, .bias = true, .residual = true, .pitch = pitch});
    if (size_of(y) != 2) continue;
    for (const auto activation : {GemmActivation::none, GemmActivation::gelu_tanh, GemmActivation::silu_mul})
      add({.m = m,
           .n = n,
           .k = k,
           .y = y,
           .bias = true,
           .activation = activation,
           .amax = true,
           .pitch = pitch});
    add({.m = m, .n = n, .k = k, .y = y, .residual = true, .amax = true, .pitch = pitch});
  }
  for (const bool bias : {false, true})
    add({.m = m, .n = n, .k = k, .y = DType::i8, .bias = bias, .pitch = pitch});
}

inline std::vector<harness::OpCase> gemm_w8a8_cases() {
  std::vector<harness::OpCase> cases;
  const auto add = [&](const GemmW8A8Shape& s, const char* why) { cases.push_back(gemm_w8a8_case(s, why)); };

  for (const int64_t m : kGemmRows) {
    add({.m = m, .n = 1, .k = 1}, "one product");
    add({.m = m, .n = 5, .k = 63, .y = DType::i32}, "odd N, K under one vector");
    add({.m = m, .n = 33, .k = 172, .bias = true}, "a real model's FFN width; odd N");
    add({.m = m, .n = 65, .k = 172, .y = DType::i32, .code_sum = true}, "one column more than a block");
    add({.m = m, .n = 129, .k = 513, .bias = true, .code_sum = true}, "one more than a block in N and K");
    add({.m = m, .n = 31, .k = 64, .codes = Int8Codes::lowest}, "every code -128: the largest products");
    add({.m = m, .n = 3, .k = 1025, .y = DType::i32, .codes = Int8Codes::opposite}, "the most negative sums");
  }
  for (const int64_t k : {1,  2,  3,   4,   5,   15,  16,  17,  31,   32,   33,   63,
                          64, 65, 127, 128, 129, 511, 512, 513, 1023, 1025, 5137, 8193})
    for (const int64_t m : {1, 3, 13}) add({.m = m, .n = 9, .k = k}, "K around every vector and block");
  for (const int64_t n : {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 191})
    for (const int64_t m : {1, 4, 11}) add({.m = m, .n = n, .k = 100, .bias = true}, "N around every tile");
  for (const int64_t m : {1, 2, 9, 17})
    for (const auto codes : {Int8Codes::all, Int8Codes::lowest, Int8Codes::opposite}) {
      add({.m = m, .n = 3, .k = kMaxInt8K, .y = DType::i32, .codes = codes},
          "the largest K: sums reach the limits of s32");
      add({.m = m, .n = 3, .k = kMaxInt8K, .code_sum = true, .codes = codes}, "the largest K, scaled");
    }
  for (const int64_t m : {1, 5, 12, 40})
    for (const DType y : {DType::f32, DType::f16, DType::bf16, DType::i32}) {
      add({.m = m, .n = 37, .k = 200, .y = y, .code_sum = true}, "output types");
      add({.m = m, .n = 37, .k = 200, .y = y, .pitch = 256}, "rows further apart than their width");
      add({.m = m, .n = 37, .k = 200, .y = y, .misalign = 1}, "starts off every vector boundary");
      if (y != DType::i32) {
        add({.m = m, .n = 37, .k = 200, .y = y, .bias = true}, "output types with bias");
        add({.m = m, .n = 20, .k = 70, .y = y, .bias = true, .hard_scales = true},
            "a row whose scale is NaN or Inf: no other row changes");
      }
    }
  for (const int64_t m : {0, 1, 20}) {
    add({.m = m, .n = 0, .k = 64}, "no columns");
    add({.m = m, .n = 7, .k = 0, .bias = true}, "no products: y is the bias");
    add({.m = m, .n = 7, .k = 0, .y = DType::i32}, "no products: the sums are 0");
  }
  add({.m = 0, .n = 9, .k = 64}, "no rows");
  add({.m = 97, .n = 200, .k = 700, .bias = true, .code_sum = true}, "one row more than a block of rows");
  add({.m = 193, .n = 67, .k = 1100, .y = DType::i32}, "three blocks of rows, three of K");
  for (const auto& [m, n, k] :
       {std::tuple<int64_t, int64_t, int64_t>{1, 70, 5}, {3, 46, 100}, {20, 130, 77}, {97, 66, 40}})
    add_policies(m, n, k, 0, [&](const GemmW8A8Shape& s) { add(s, "what may follow the scaled sum"); });
  add_policies(5, 36, 50, 64, [&](const GemmW8A8Shape& s) { add(s, "the same, rows further apart"); });
  for (const DType y : {DType::bf16, DType::i8})
    add({.m = 12, .n = 20, .k = 70, .y = y, .bias = true, .residual = y != DType::i8, .hard_scales = true},
        "NaN and Inf through a residual, and to INT8");
  for (const DType y : {DType::bf16, DType::f16})
    add({.m = 12, .n = 20, .k = 70, .y = y, .bias = true, .amax = true, .hard_scales = true},
        "NaN and Inf are a row's amax");

  // Llama-3.2-1B: qkv, attention output, gate and up, down, logits.
  for (const int64_t m : {1, 8, 32, 128, 512})
    for (const auto& [n, k] :
         {std::pair<int64_t, int64_t>{3072, 2048}, {2048, 2048}, {16384, 2048}, {2048, 8192}})
      add({.m = m, .n = n, .k = k, .code_sum = true, .perf = true}, "a layer of Llama-3.2-1B");
  add({.m = 1, .n = 128256, .k = 2048, .code_sum = true, .perf = true}, "logits of Llama-3.2-1B");
  return cases;
}

}  // namespace octavo
