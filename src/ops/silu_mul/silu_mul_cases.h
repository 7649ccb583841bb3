// Cases of silu_mul: policies, dtypes, widths, and the three layouts of gate and up.
#pragma once
#include <fmt/format.h>

#include <algorithm>

#include "harness/op_case.h"
#include "ops/silu_mul/silu_mul.h"
#include "ops/silu_mul/silu_mul_ref.h"

namespace octavo {

enum class GateUpLayout { separate, halves, interleaved };

struct SiluMulShape {
  int64_t rows, width;
  DType dtype = DType::f32;
  bool out = true, codes = false;
  GateUpLayout layout = GateUpLayout::separate;
  bool hard = false, wide_range = false, in_place = false;
  int64_t pitch = 0, misalign = 0;
  bool perf = false;
};

inline harness::OpCase silu_mul_case(const SiluMulShape& s, std::string why) {
  using namespace harness;
  constexpr const char* kLayouts[] = {"", "/halves", "/interleaved"};
  OpCase c;
  c.name = fmt::format("{}x{}/{}{}{}{}{}{}{}{}{}", s.rows, s.width, name_of(s.dtype),
                       kLayouts[static_cast<int>(s.layout)], s.out ? "/out" : "", s.codes ? "/codes" : "",
                       s.hard ? "/hard" : "", s.wide_range ? "/wide_range" : "",
                       s.in_place ? "/in_place" : "", s.pitch ? fmt::format("/pitch{}", s.pitch) : "",
                       s.misalign ? fmt::format("/misalign{}", s.misalign) : "");
  c.why = std::move(why);
  c.perf = s.perf;
  c.nan_declared = s.hard;
  const auto fill = s.hard ? hard_rows() : s.wide_range ? uniform(-120, 120) : normal(2.0);
  const auto add = [&](CaseArg arg) {
    arg.pitch = s.pitch, arg.misalign = s.misalign;
    c.args.push_back(std::move(arg));
    return static_cast<int>(c.args.size()) - 1;
  };
  const bool one_tensor = s.layout != GateUpLayout::separate;
  const int gate = add(input("gate", s.dtype, {s.rows, one_tensor ? 2 * s.width : s.width}, fill));
  const int up = one_tensor ? gate : add(input("up", s.dtype, {s.rows, s.width}, normal()));
  int out = -1, codes = -1;
  if (s.out) {
    out = s.in_place ? gate : add(output("out", s.dtype, {s.rows, s.width}, Judge::floats));
    c.args[out].output = true, c.args[out].judge = Judge::floats;
  }
  if (s.codes) {
    codes = add(output("out_codes", DType::i8, {s.rows, s.width}, Judge::codes));
    c.args.push_back(output("out_scale", DType::f32, {s.rows}, Judge::scale));
  }
  const auto args_of = [=](CaseTensors t) {
    const auto at = [&](int i) { return i < 0 ? Tensor() : t[static_cast<size_t>(i)]; };
    // Gate or up of a tensor that holds both.
    const auto part = [&](const Tensor& both, int64_t which) {
      const bool halves = s.layout == GateUpLayout::halves;
      auto* first =
          static_cast<uint8_t*>(both.data()) + which * (halves ? s.width : 1) * size_of(both.dtype());
      return Tensor(first, both.dtype(), {s.rows, s.width}, {both.stride(0), halves ? 1 : 2}, both.backend());
    };
    SiluMulArgs args{.gate = at(gate),
                     .up = at(up),
                     .out = at(out),
                     .out_codes = at(codes),
                     .out_scale = codes < 0 ? Tensor() : at(codes + 1)};
    if (one_tensor) args.gate = part(at(gate), 0), args.up = part(at(gate), 1);
    if (one_tensor && s.in_place) args.out = part(at(gate), 0);
    return args;
  };
  c.call = [=](const Context& ctx, CaseTensors t) { silu_mul(ctx, args_of(t)); };
  c.reference = [=](CaseTensors t) { silu_mul_ref<double>(args_of(t)); };
  c.plain = [=](CaseTensors t) { silu_mul_ref<float>(args_of(t)); };
  c.bytes = s.rows * (s.width * size_of(s.dtype) * (s.out ? 3 : 2) + (s.codes ? s.width + 4 : 0));
  c.ops = s.rows * s.width * 4;  // gate * sigmoid * up and one addition; the exponential is not counted
  return c;
}

inline std::vector<harness::OpCase> silu_mul_cases() {
  std::vector<harness::OpCase> cases;
  const auto add = [&](const SiluMulShape& s, const char* why) { cases.push_back(silu_mul_case(s, why)); };
  constexpr GateUpLayout kLayouts[] = {GateUpLayout::separate, GateUpLayout::halves,
                                       GateUpLayout::interleaved};
  struct Policy {
    bool out, codes;
  };
  constexpr Policy kPolicies[] = {{true, false}, {false, true}, {true, true}};
  for (const Policy p : kPolicies)
    for (const DType d : {DType::f32, DType::f16, DType::bf16})
      for (const GateUpLayout layout : kLayouts) {
        const auto with = [&](int64_t rows, int64_t width) {
          return SiluMulShape{
              .rows = rows, .width = width, .dtype = d, .out = p.out, .codes = p.codes, .layout = layout};
        };
        // NOTE: at least some 200 elements a case, since the mean error of three is a matter of luck.
        for (const int64_t width : {1, 7, 8, 9, 15, 16, 17, 31, 33, 64, 100, 172, 1025})
          add(with(3 + 192 / width, width), "widths around every vector boundary; 172 is a real model's");
        for (const int64_t width : {5137, 8193}) add(with(1, width), "wide and odd");
        add(with(0, 64), "no rows");
        add(with(2, 0), "no columns");
        for (const int64_t width : {1, 17, 130}) {
          auto s = with(18, width);
          s.hard = true;
          add(s, "NaN, Inf, zero, denormal, outlier rows");
        }
        auto range = with(2, 1000);
        range.wide_range = true;
        add(range, "gates from -120 to 120: the exponential's ends");
        auto pitched = with(4, 129);
        pitched.pitch = 300;
        add(pitched, "rows further apart than their width");
        auto shifted = with(4, 129);
        shifted.misalign = 1;
        add(shifted, "starts off every vector boundary");
        if (p.out && layout == GateUpLayout::separate) {
          auto s = with(3, 77);
          s.in_place = true;
          add(s, "the product replaces the gate");
        }
      }
  for (const Policy p : kPolicies)
    for (const DType d : {DType::f32, DType::bf16})
      for (const auto& [rows, width] :
           {std::pair<int64_t, int64_t>{1, 8192}, {512, 8192}, {8192, 14336}, {8192, 28672}})
        for (const GateUpLayout layout : kLayouts)
          add({.rows = rows,
               .width = width,
               .dtype = d,
               .out = p.out,
               .codes = p.codes,
               .layout = layout,
               .perf = true},
              "feed-forward widths of 1B, 8B and 70B models");
  return cases;
}

}  // namespace octavo
