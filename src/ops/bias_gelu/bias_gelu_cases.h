// Cases of bias_gelu: the cross product of policies, forms, dtypes and widths, then layouts, then the bench.
#pragma once
#include <fmt/format.h>

#include "harness/op_case.h"
#include "ops/bias_gelu/bias_gelu.h"
#include "ops/bias_gelu/bias_gelu_ref.h"

namespace octavo {

struct BiasGeluShape {
  int64_t rows, width;
  DType dtype = DType::f32;
  DType bias_dtype = DType::f32;
  GeluForm form = GeluForm::erf;
  bool bias = true, out = true, codes = false;
  bool hard = false, wide_range = false, in_place = false;
  int64_t pitch = 0, misalign = 0;
  bool perf = false;
};

inline harness::OpCase bias_gelu_case(const BiasGeluShape& s, std::string why) {
  using namespace harness;
  OpCase c;
  c.name = fmt::format("{}x{}/{}/{}{}{}{}{}{}{}{}{}", s.rows, s.width,
                       s.form == GeluForm::erf ? "erf" : "tanh", name_of(s.dtype),
                       !s.bias                   ? "/no_bias"
                       : s.bias_dtype == s.dtype ? ""
                                                 : fmt::format("/bias_{}", name_of(s.bias_dtype)),
                       s.out ? "/out" : "", s.codes ? "/codes" : "", s.hard ? "/hard" : "",
                       s.wide_range ? "/wide_range" : "", s.in_place ? "/in_place" : "",
                       s.pitch ? fmt::format("/pitch{}", s.pitch) : "",
                       s.misalign ? fmt::format("/misalign{}", s.misalign) : "");
  c.why = std::move(why);
  c.perf = s.perf;
  c.nan_declared = s.hard;
  // NOTE: in the negative tail gelu multiplies the relative error of v by about v^2, so a narrow row whose largest value
  // lies there has no fp32 scale within 1e-6; narrow rows to INT8 are positive.
  const auto fill = s.hard                     ? hard_rows()
                    : s.wide_range             ? uniform(-20, 20)
                    : s.codes && s.width < 100 ? uniform(0, 8)
                                               : normal(2.0);
  c.args.push_back(input("x", s.dtype, {s.rows, s.width}, fill));
  int bias = -1, out = -1, codes = -1;
  const auto add = [&](CaseArg arg) {
    c.args.push_back(std::move(arg));
    return static_cast<int>(c.args.size()) - 1;
  };
  if (s.out) {
    out = s.in_place ? 0 : add(output("out", s.dtype, {s.rows, s.width}, Judge::floats));
    c.args[out].output = true, c.args[out].judge = Judge::floats;
  }
  if (s.codes) codes = add(output("out_codes", DType::i8, {s.rows, s.width}, Judge::codes));
  for (auto& arg : c.args) arg.pitch = s.pitch, arg.misalign = s.misalign;
  if (s.codes) add(output("out_scale", DType::f32, {s.rows}, Judge::scale));
  if (s.bias) bias = add(input("bias", s.bias_dtype, {s.width}, uniform(-0.5, 0.5)));
  const auto args_of = [=](CaseTensors t) {
    const auto at = [&](int i) { return i < 0 ? Tensor() : t[static_cast<size_t>(i)]; };
    return BiasGeluArgs{.x = t[0],
                        .bias = at(bias),
                        .form = s.form,
                        .out = at(out),
                        .out_codes = at(codes),
                        .out_scale = codes < 0 ? Tensor() : at(codes + 1)};
  };
  c.call = [=](const Context& ctx, CaseTensors t) { bias_gelu(ctx, args_of(t)); };
  c.reference = [=](CaseTensors t) { bias_gelu_ref<double>(args_of(t)); };
  c.plain = [=](CaseTensors t) { bias_gelu_ref<float>(args_of(t)); };
  c.bytes = s.rows * (s.width * size_of(s.dtype) * (s.out ? 2 : 1) + (s.codes ? s.width + 4 : 0)) +
            (s.bias ? s.width * size_of(s.bias_dtype) : 0);
  c.ops = s.rows * s.width * (s.form == GeluForm::erf ? 4 : 8);  // the exponential is not counted
  return c;
}

inline std::vector<harness::OpCase> bias_gelu_cases() {
  std::vector<harness::OpCase> cases;
  const auto add = [&](const BiasGeluShape& s, const char* why) { cases.push_back(bias_gelu_case(s, why)); };
  struct Policy {
    bool out, codes;
  };
  constexpr Policy kPolicies[] = {{true, false}, {false, true}, {true, true}};
  for (const Policy p : kPolicies)
    for (const GeluForm form : {GeluForm::erf, GeluForm::tanh})
      for (const DType d : {DType::f32, DType::f16, DType::bf16}) {
        const auto with = [&](int64_t rows, int64_t width) {
          return BiasGeluShape{.rows = rows,
                               .width = width,
                               .dtype = d,
                               .bias_dtype = d,
                               .form = form,
                               .out = p.out,
                               .codes = p.codes};
        };
        // NOTE: at least some 200 elements a case, since the mean error of three is a matter of luck.
        for (const int64_t width : {1, 7, 8, 9, 15, 16, 17, 31, 33, 64, 100, 1025})
          add(with(3 + 192 / width, width), "widths around every vector boundary");
        for (const int64_t width : {5137, 8193}) add(with(1, width), "wide and odd");
        add(with(0, 64), "no rows");
        add(with(2, 0), "no columns");
        for (const int64_t width : {1, 17, 1025}) {
          auto s = with(3 + 192 / width, width);
          s.bias = false;
          add(s, "no bias");
        }
        for (const int64_t width : {p.codes ? 5 : 1, 17, 130}) {
          auto s = with(18, width);
          s.hard = true;
          add(s, "NaN, Inf, zero, denormal, outlier rows");
        }
        auto range = with(2, 1000);
        range.wide_range = true;
        add(range, "x from -20 to 20: both tails");
        auto pitched = with(4, 129);
        pitched.pitch = 160;
        add(pitched, "rows further apart than their width");
        auto shifted = with(4, 129);
        shifted.misalign = 1;
        add(shifted, "starts off every vector boundary");
        if (p.out) {
          auto s = with(3, 77);
          s.in_place = true;
          add(s, "the activation replaces its argument");
        }
        if (d != DType::f32) {
          auto s = with(3, 100);
          s.bias_dtype = DType::f32;
          add(s, "fp32 bias with 16-bit data");
        }
      }
  for (const Policy p : kPolicies)
    for (const GeluForm form : {GeluForm::erf, GeluForm::tanh})
      for (const DType d : {DType::f32, DType::bf16})
        for (const auto& [rows, width] :
             {std::pair<int64_t, int64_t>{1, 3072}, {512, 3072}, {8192, 5120}, {8192, 16384}})
          add({.rows = rows,
               .width = width,
               .dtype = d,
               .bias_dtype = d,
               .form = form,
               .out = p.out,
               .codes = p.codes,
               .perf = true},
              "feed-forward widths of BERT, GPT-2 and larger");
  return cases;
}

}  // namespace octavo
