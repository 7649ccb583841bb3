// Cases of quantize_rows. Everything is judged exact: the same bits on every backend.
#pragma once
#include <fmt/format.h>

#include <cmath>

#include "harness/op_case.h"
#include "ops/quantize_rows/quantize_rows.h"
#include "ops/quantize_rows/quantize_rows_ref.h"

namespace octavo {

// Rows at the edges of the quantiser: amax around 2^-120 and at the largest float, exact halves between codes, one NaN
// alone, negative zero, values one ulp apart.
inline void quantizer_edges(harness::HostTensor& t, uint64_t seed) {
  t.fill_normal(seed);
  const int64_t width = t.width(), rows = width ? t.numel() / width : 0;
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < width; ++c) {
      const int64_t i = r * width + c;
      const double sign = c % 3 == 1 ? -1.0 : 1.0;
      switch (r % 12) {
        case 0:
          t.set(i, c == 0 ? 127.0 : sign * (0.5 + static_cast<double>(c % 127)));
          break;                                          // ties: amax/127 = 1
        case 1: t.set(i, sign * 0x1p-120); break;         // smallest row with codes
        case 2: t.set(i, sign * 0x1.fffffep-121); break;  // largest zero row
        case 3: t.set(i, sign * 3.402823466e38); break;   // Inf in 16-bit types
        case 4: t.set(i, -0.0); break;
        case 5: t.set(i, c == width / 2 ? NAN : 1.0); break;
        case 6: t.set(i, c == width - 1 ? -INFINITY : 1.0); break;
        case 7: t.set(i, sign * (1.0 + 0x1p-23 * static_cast<double>(c % 5))); break;
        case 8: t.set(i, c == width - 1 ? -1e30 : 1e-30); break;
        case 9: t.set(i, sign * 65504.0); break;  // the largest f16
        case 10: t.set(i, c == 0 ? 0x1p-149 : 0.0); break;
        default: t.set(i, 1e-3 * t.get(i));
      }
    }
}

struct QuantizeRowsShape {
  int64_t rows, width;
  DType dtype = DType::f32;
  bool code_sum = false;
  int64_t padded_width = 0;
  std::function<void(harness::HostTensor&, uint64_t)> fill = harness::normal();
  const char* fill_name = "";
  int64_t pitch = 0, misalign = 0;
  bool perf = false;
};

inline harness::OpCase quantize_rows_case(const QuantizeRowsShape& s, std::string why) {
  using namespace harness;
  OpCase c;
  c.name = fmt::format("{}x{}/{}{}{}{}{}{}", s.rows, s.width, name_of(s.dtype), s.code_sum ? "/code_sum" : "",
                       s.padded_width ? fmt::format("/padded{}", s.padded_width) : "", s.fill_name,
                       s.pitch ? fmt::format("/pitch{}", s.pitch) : "",
                       s.misalign ? fmt::format("/misalign{}", s.misalign) : "");
  c.why = std::move(why);
  c.perf = s.perf;
  c.nan_declared = true;
  c.args.push_back(input("x", s.dtype, {s.rows, s.width}, s.fill));
  // The case's own tensor is as wide as the padding, so that the zeros are judged too.
  c.args.push_back(output("codes", DType::i8, {s.rows, std::max(s.width, s.padded_width)}, Judge::exact));
  for (auto& arg : c.args) arg.pitch = s.pitch, arg.misalign = s.misalign;
  c.args.push_back(output("scale", DType::f32, {s.rows}, Judge::exact));
  if (s.code_sum) c.args.push_back(output("code_sum", DType::i32, {s.rows}, Judge::exact));
  const auto args_of = [s](CaseTensors t) {
    const Tensor codes(t[1].data(), DType::i8, {s.rows, s.width}, {t[1].stride(0), 1}, t[1].backend());
    return QuantizeRowsArgs{.x = t[0],
                            .codes = codes,
                            .scale = t[2],
                            .padded_width = s.padded_width,
                            .code_sum = s.code_sum ? t[3] : Tensor()};
  };
  c.call = [=](const Context& ctx, CaseTensors t) { quantize_rows(ctx, args_of(t)); };
  c.reference = [=](CaseTensors t) { quantize_rows_ref<double>(args_of(t)); };
  c.bytes =
      s.rows * (s.width * size_of(s.dtype) + std::max(s.width, s.padded_width) + 4 + (s.code_sum ? 4 : 0));
  c.ops = s.rows * s.width * 2;
  return c;
}

inline std::vector<harness::OpCase> quantize_rows_cases() {
  std::vector<harness::OpCase> cases;
  const auto add = [&](const QuantizeRowsShape& s, const char* why) {
    cases.push_back(quantize_rows_case(s, why));
  };
  for (const DType d : {DType::f32, DType::f16, DType::bf16})
    for (const bool sum : {false, true}) {
      for (const int64_t width : {1,  2,  7,   8,   9,   15,  16,  17,  31,   32,   33,  63,
                                  64, 65, 100, 127, 128, 129, 172, 255, 1000, 1024, 1025})
        add({.rows = 3, .width = width, .dtype = d, .code_sum = sum}, "widths around every vector boundary");
      for (const int64_t width : {4096, 5137, 8192, 8193})
        add({.rows = 2, .width = width, .dtype = d, .code_sum = sum}, "wide rows, odd and round");
      for (const int64_t width : {1, 17, 172, 1000})
        add({.rows = 3, .width = width, .dtype = d, .code_sum = sum, .padded_width = round_up(width, 128)},
            "the weights' zero tail");
      add({.rows = 3, .width = 128, .dtype = d, .code_sum = sum, .padded_width = 128}, "padding of nothing");
      for (const int64_t width : {1, 2, 17, 130}) {
        add({.rows = 24,
             .width = width,
             .dtype = d,
             .code_sum = sum,
             .fill = quantizer_edges,
             .fill_name = "/edges"},
            "edges of the quantiser's definition");
        add({.rows = 18,
             .width = width,
             .dtype = d,
             .code_sum = sum,
             .fill = harness::hard_rows(),
             .fill_name = "/hard"},
            "NaN, Inf, zeros, denormals, outliers");
      }
      add({.rows = 12,
           .width = 5137,
           .dtype = d,
           .code_sum = sum,
           .fill = quantizer_edges,
           .fill_name = "/edges"},
          "edges, wide");
      add({.rows = 9,
           .width = 8193,
           .dtype = d,
           .code_sum = sum,
           .fill = harness::hard_rows(),
           .fill_name = "/hard"},
          "hard rows, wide");
      add({.rows = 0, .width = 64, .dtype = d, .code_sum = sum}, "no rows");
      add({.rows = 2, .width = 0, .dtype = d, .code_sum = sum}, "no columns: scale 1");
      add({.rows = 5, .width = 129, .dtype = d, .code_sum = sum, .pitch = 160},
          "rows further apart than their width");
      add({.rows = 5, .width = 129, .dtype = d, .code_sum = sum, .misalign = 1},
          "starts off every vector boundary");
      add({.rows = 5,
           .width = 100,
           .dtype = d,
           .code_sum = sum,
           .padded_width = 128,
           .pitch = 200,
           .misalign = 3},
          "all of it");
    }
  for (const DType d : {DType::f32, DType::bf16})
    for (const auto& [rows, width] :
         {std::pair<int64_t, int64_t>{1, 2048}, {512, 2048}, {8192, 4096}, {16384, 8192}})
      add({.rows = rows, .width = width, .dtype = d, .perf = true}, "activations of 1B, 8B and 70B models");
  add({.rows = 14336,
       .width = 4096,
       .dtype = DType::bf16,
       .code_sum = true,
       .padded_width = 4096,
       .perf = true},
      "a weight of an 8B model");
  return cases;
}

}  // namespace octavo
