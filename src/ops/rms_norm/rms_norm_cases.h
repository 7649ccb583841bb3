// Cases of rms_norm: the cross product of policies, dtypes and widths, then the memory layouts, then the
// bench.
#pragma once
#include <fmt/format.h>

#include "harness/op_case.h"
#include "ops/rms_norm/rms_norm.h"
#include "ops/rms_norm/rms_norm_ref.h"

namespace octavo {

enum class RmsNormInPlace { none, u_on_x, u_on_residual, y_on_x };

struct RmsNormShape {
  int64_t rows, width;
  DType dtype = DType::f32;
  DType weight_dtype = DType::f32;
  bool residual = false, y = true, codes = false;
  float eps = 1e-5f;
  bool hard = false;  // rows of zeros, NaN, Inf, denormals, outliers
  int64_t pitch = 0, misalign = 0;
  RmsNormInPlace in_place = RmsNormInPlace::none;
  bool perf = false;
};

inline harness::OpCase rms_norm_case(const RmsNormShape& s, std::string why) {
  using namespace harness;
  constexpr const char* kPlace[] = {"", "/u_on_x", "/u_on_residual", "/y_on_x"};
  OpCase c;
  c.name = fmt::format(
      "{}x{}/{}{}{}{}{}{}{}{}{}{}", s.rows, s.width, name_of(s.dtype),
      s.weight_dtype == s.dtype ? "" : fmt::format("/weight_{}", name_of(s.weight_dtype)),
      s.residual ? "/residual" : "", s.y ? "/y" : "", s.codes ? "/codes" : "", s.hard ? "/hard" : "",
      s.eps == 1e-5f ? "" : fmt::format("/eps{}", s.eps), s.pitch ? fmt::format("/pitch{}", s.pitch) : "",
      s.misalign ? fmt::format("/misalign{}", s.misalign) : "", kPlace[static_cast<int>(s.in_place)]);
  c.why = std::move(why);
  c.perf = s.perf;
  c.nan_declared = s.hard;
  c.bytes = s.width * size_of(s.weight_dtype);
  const auto add = [&](CaseArg arg) {
    arg.pitch = s.pitch, arg.misalign = s.misalign;
    c.args.push_back(std::move(arg));
    return static_cast<int>(c.args.size()) - 1;
  };
  const auto moves = [&](DType d) { c.bytes += s.rows * s.width * size_of(d); };

  // Indices of the arguments in c.args; -1: absent.
  const auto fill = s.hard ? hard_rows() : normal();
  const int x = add(input("x", s.dtype, {s.rows, s.width}, fill));
  moves(s.dtype);
  const int weight = static_cast<int>(c.args.size());
  c.args.push_back(input("weight", s.weight_dtype, {s.width}, uniform(0.5, 1.5)));
  int residual = -1, u = -1, y = -1, codes = -1;
  if (s.residual) {
    residual = add(input("residual", s.dtype, {s.rows, s.width}, normal()));
    moves(s.dtype), moves(s.dtype);
    if (s.in_place == RmsNormInPlace::u_on_x)
      u = x;
    else if (s.in_place == RmsNormInPlace::u_on_residual)
      u = residual;
    else
      u = add(output("u", s.dtype, {s.rows, s.width}, Judge::exact));  // one fp32 add, one rounding: exact
    c.args[u].output = true;
  }
  if (s.y) {
    y = s.in_place == RmsNormInPlace::y_on_x ? x
                                             : add(output("y", s.dtype, {s.rows, s.width}, Judge::floats));
    c.args[y].output = true, c.args[y].judge = Judge::floats;
    moves(s.dtype);
  }
  if (s.codes) {
    codes = add(output("y_codes", DType::i8, {s.rows, s.width}, Judge::codes));
    c.args.push_back(output("y_scale", DType::f32, {s.rows}, Judge::scale));
    moves(DType::i8);
    c.bytes += s.rows * 4;
  }
  const float eps = s.eps;
  const auto args_of = [=](CaseTensors t) {
    const auto at = [&](int i) { return i < 0 ? Tensor() : t[static_cast<size_t>(i)]; };
    return RmsNormArgs{.x = at(x),
                       .residual = at(residual),
                       .weight = at(weight),
                       .eps = eps,
                       .u = at(u),
                       .y = at(y),
                       .y_codes = at(codes),
                       .y_scale = codes < 0 ? Tensor() : at(codes + 1)};
  };
  c.call = [=](const Context& ctx, CaseTensors t) { rms_norm(ctx, args_of(t)); };
  c.reference = [=](CaseTensors t) { rms_norm_ref<double>(args_of(t)); };
  c.plain = [=](CaseTensors t) { rms_norm_ref<float>(args_of(t)); };
  c.ops = s.rows * s.width * 4;
  return c;
}

inline std::vector<harness::OpCase> rms_norm_cases() {
  std::vector<harness::OpCase> cases;
  const auto add = [&](const RmsNormShape& s, const char* why) { cases.push_back(rms_norm_case(s, why)); };
  constexpr DType kFloats[] = {DType::f32, DType::f16, DType::bf16};
  struct Policy {
    bool residual, y, codes;
  };
  constexpr Policy kPolicies[] = {{false, true, false}, {false, false, true}, {false, true, true},
                                  {true, true, false},  {true, false, true},  {true, true, true}};

  for (const Policy p : kPolicies)
    for (const DType d : kFloats) {
      const auto with = [&](int64_t rows, int64_t width) {
        return RmsNormShape{.rows = rows,
                            .width = width,
                            .dtype = d,
                            .weight_dtype = d,
                            .residual = p.residual,
                            .y = p.y,
                            .codes = p.codes};
      };
      // NOTE: at least some 200 elements a case, since the mean error of three is a matter of luck.
      for (const int64_t width :
           {1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 172, 256, 1000, 1024, 1025})
        add(with(3 + 192 / width, width),
            "widths around every vector and unroll boundary; 172 is a real model's");
      for (const int64_t width : {4096, 5137, 8192, 8193}) add(with(2, width), "wide rows, odd and round");
      for (const int64_t width : {16384, 32776, 131072}) add(with(2, width), "wider than a block");
      add(with(1, 1025), "one row: decode");
      add(with(0, 64), "no rows");
      add(with(2, 0), "no columns");
      for (const int64_t width : {1, 17, 200}) {
        auto s = with(18, width);
        s.hard = true;
        add(s, "NaN, Inf, zero, denormal, outlier, constant rows: other rows are not touched by them");
      }
      auto hard = with(9, 5137);
      hard.hard = true;
      add(hard, "hard rows, wide");
      auto tiny = with(9, 100);
      tiny.hard = true, tiny.eps = 1e-12f;
      add(tiny, "a small eps: rows of 1e-8 are scaled up by 1e6");
      auto pitched = with(4, 129);
      pitched.pitch = 160;
      add(pitched, "rows further apart than their width");
      auto shifted = with(4, 129);
      shifted.misalign = 1;
      add(shifted, "starts off every vector boundary");
      if (p.residual) {
        for (const auto place : {RmsNormInPlace::u_on_x, RmsNormInPlace::u_on_residual}) {
          auto s = with(3, 77);
          s.in_place = place;
          add(s, "the residual stream is updated in place");
        }
      } else if (p.y) {
        auto s = with(3, 77);
        s.in_place = RmsNormInPlace::y_on_x;
        add(s, "norm in place");
      }
      if (d != DType::f32) {
        auto s = with(3, 100);
        s.weight_dtype = DType::f32;
        add(s, "fp32 weight with 16-bit data");
      }
    }

  for (const Policy p : kPolicies)
    for (const DType d : {DType::f32, DType::bf16})
      for (const auto& [rows, width] :
           {std::pair<int64_t, int64_t>{1, 2048}, {512, 2048}, {8192, 4096}, {16384, 8192}})
        add({.rows = rows,
             .width = width,
             .dtype = d,
             .weight_dtype = d,
             .residual = p.residual,
             .y = p.y,
             .codes = p.codes,
             .perf = true},
            "the norms of 1B, 8B and 70B models in decode and prefill");
  return cases;
}

}  // namespace octavo
