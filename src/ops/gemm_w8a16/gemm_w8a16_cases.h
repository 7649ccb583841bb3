// Cases of gemm_w8a16: shapes around every tile and block, dtypes, layouts, hard rows, then the bench.
#pragma once
#include <fmt/format.h>

#include <vector>

#include "harness/op_case.h"
#include "ops/gemm_w8a16/gemm_w8a16.h"
#include "ops/gemm_w8a16/gemm_w8a16_ref.h"

namespace octavo {

struct GemmW8A16Shape {
  int64_t m, n, k;
  DType x = DType::f32, y = DType::f32;
  bool bias = false;
  bool hard = false;                // rows of x with zeros, NaN, Inf, denormals, outliers
  int64_t pitch = 0, misalign = 0;  // of x, w, y and residual
  bool residual = false, silu_mul = false;
  bool perf = false;
};

inline harness::OpCase gemm_w8a16_case(const GemmW8A16Shape& s, std::string why) {
  using namespace harness;
  OpCase c;
  c.name = fmt::format("{}x{}x{}/{}{}{}{}{}{}{}{}", s.m, s.n, s.k, name_of(s.x),
                       s.y == s.x ? "" : fmt::format("/y_{}", name_of(s.y)), s.bias ? "/bias" : "",
                       s.hard ? "/hard" : "", s.pitch ? fmt::format("/pitch{}", s.pitch) : "",
                       s.misalign ? fmt::format("/misalign{}", s.misalign) : "",
                       s.residual ? "/residual" : "", s.silu_mul ? "/silu_mul" : "");
  c.why = std::move(why);
  c.perf = s.perf;
  c.nan_declared = s.hard;
  const int64_t columns = s.silu_mul ? s.n / 2 : s.n;  // of y
  c.ops = 2 * s.m * s.n * s.k;
  c.bytes =
      s.m * s.k * size_of(s.x) + s.n * s.k + 4 * s.n + (s.residual ? 2 : 1) * s.m * columns * size_of(s.y);
  const auto matrix = [&](CaseArg arg) {
    arg.pitch = s.pitch, arg.misalign = s.misalign;
    c.args.push_back(std::move(arg));
  };
  matrix(input("x", s.x, {s.m, s.k}, s.hard ? hard_rows() : normal()));
  matrix(input("w", DType::i8, {s.n, s.k}, all_codes()));
  c.args.push_back(input("w_scale", DType::f32, {s.n}, uniform(0.001, 0.02)));
  matrix(output("y", s.y, {s.m, columns}, Judge::floats));
  size_t bias = 0, residual = 0;  // places; 0: absent
  if (s.bias) bias = c.args.size(), c.args.push_back(input("bias", DType::f32, {s.n}, normal()));
  if (s.residual) residual = c.args.size(), matrix(input("residual", s.y, {s.m, columns}, normal(3)));
  const bool silu_mul = s.silu_mul;
  const auto args_of = [=](CaseTensors t) {
    return GemmW8A16Args{.x = t[0],
                         .w = t[1],
                         .w_scale = t[2],
                         .bias = bias ? t[bias] : Tensor(),
                         .residual = residual ? t[residual] : Tensor(),
                         .silu_mul = silu_mul,
                         .y = t[3]};
  };
  c.variant = [=](const Context& ctx, CaseTensors t) {
    return std::string(gemm_w8a16_variant(ctx, args_of(t)));
  };
  c.shape = {{"M", s.m}, {"N", s.n}, {"K", s.k}};
  c.call = [=](const Context& ctx, CaseTensors t) { gemm_w8a16(ctx, args_of(t)); };
  c.reference = [=](CaseTensors t) { gemm_w8a16_ref<double>(args_of(t)); };
  c.plain = [=](CaseTensors t) { gemm_w8a16_ref<float>(args_of(t)); };
  return c;
}

inline std::vector<harness::OpCase> gemm_w8a16_cases() {
  std::vector<harness::OpCase> cases;
  const auto add = [&](const GemmW8A16Shape& s, const char* why) {
    cases.push_back(gemm_w8a16_case(s, why));
  };

  // NOTE: at least some 200 outputs a case, since the mean error of three is a matter of luck.
  for (const int64_t m : {1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 48, 49, 64, 65, 97, 129}) {
    const int64_t n = 200 / m;
    add({.m = m, .n = n + 17, .k = 172, .bias = true},
        "rows around every tile and block; a real model's width");
    add({.m = m, .n = n + 35, .k = 63}, "rows around every tile, K under one line");
    add({.m = m, .n = n + 5, .k = 513}, "rows around every tile, K over a block");
  }
  for (const int64_t k : {1,  2,  7,   8,   9,   15,  16,  17,  31,  32,   33,   63,
                          64, 65, 127, 129, 255, 256, 257, 511, 513, 1025, 5137, 8193})
    for (const int64_t m : {1, 3, 13})
      add({.m = m, .n = 200 / m + 3, .k = k}, "K around every vector and block");
  for (const int64_t n : {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 65, 129})
    for (const int64_t m : {1, 2, 5, 200}) {
      if (m * n < 200) continue;
      add({.m = m, .n = n, .k = 100, .bias = true}, "N around every tile");
    }
  add({.m = 200, .n = 1, .k = 100}, "one column");
  for (const DType x : {DType::f32, DType::f16, DType::bf16})
    for (const DType y : {DType::f32, DType::f16, DType::bf16})
      for (const int64_t m : {1, 20})
        add({.m = m, .n = 211, .k = 130, .x = x, .y = y, .bias = m == 20}, "types in and out");
  for (const DType x : {DType::f32, DType::f16, DType::bf16})
    for (const int64_t m : {1, 4, 9, 27}) {
      add({.m = m, .n = 211, .k = 130, .x = x, .y = x, .pitch = 256}, "rows further apart than their width");
      add({.m = m, .n = 211, .k = 130, .x = x, .y = x, .misalign = 1}, "starts off every vector boundary");
      if (m >= 9) {
        add({.m = m, .n = 40, .k = 70, .x = x, .y = x, .hard = true},
            "a row of NaN, Inf, zeros or denormals changes no other");
        add({.m = m, .n = 40, .k = 1100, .x = x, .y = x, .hard = true}, "hard rows over several blocks");
      }
    }
  add({.m = 3, .n = 40, .k = 1100, .hard = true}, "hard rows, few rows");
  for (const DType x : {DType::f32, DType::f16, DType::bf16})
    for (const int64_t m : {1, 3, 8, 9, 70})
      for (const bool silu_mul : {false, true})
        for (const bool residual : {false, true}) {
          if (!silu_mul && !residual) continue;
          GemmW8A16Shape s{.m = m,
                           .n = 402,
                           .k = 130,
                           .x = x,
                           .y = x,
                           .bias = m % 2 == 0,
                           .residual = residual,
                           .silu_mul = silu_mul};
          add(s, "epilogues");
          s.pitch = 512;
          add(s, "epilogues, rows on 16 bytes");
        }
  for (const int64_t m : {0, 1, 20}) {
    add({.m = m, .n = 0, .k = 64}, "no columns");
    add({.m = m, .n = 7, .k = 0, .bias = true}, "no products: y is the bias");
  }
  add({.m = 0, .n = 9, .k = 64}, "no rows");

  // Llama-3.2-1B: qkv, attention output, gate and up, down, logits.
  for (const int64_t m : {1, 4, 8, 32, 128, 512})
    for (const auto& [n, k] :
         {std::pair<int64_t, int64_t>{3072, 2048}, {2048, 2048}, {16384, 2048}, {2048, 8192}})
      add({.m = m, .n = n, .k = k, .perf = true}, "a layer of Llama-3.2-1B");
  add({.m = 1, .n = 128256, .k = 2048, .perf = true}, "logits of Llama-3.2-1B");
  return cases;
}

}  // namespace octavo
