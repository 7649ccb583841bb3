// Cases of rope: both styles, full and partial rotation, long positions, parts of wider tensors.
#pragma once
#include <fmt/format.h>

#include <cmath>

#include "harness/op_case.h"
#include "ops/rope/rope.h"
#include "ops/rope/rope_ref.h"

namespace octavo {

struct RopeShape {
  int64_t tokens, heads, width;
  int64_t rotary = -1;  // -1: width
  RopeStyle style = RopeStyle::half_split;
  DType dtype = DType::f32;
  int64_t last_position = 131072;  // positions are spread over 0 .. last_position, both ends included
  float factor = 1.0f;
  double theta = 10000.0;
  int64_t heads_after = 0;  // x is the first heads of a fused [tokens, heads + heads_after, width] tensor
  bool in_place = false, hard = false, perf = false;
  int64_t pitch = 0, misalign = 0;
};

inline harness::OpCase rope_case(const RopeShape& s, std::string why) {
  using namespace harness;
  const int64_t rotary = s.rotary < 0 ? s.width / 2 * 2 : s.rotary, pairs = rotary / 2;
  OpCase c;
  c.name =
      fmt::format("{}x{}x{}/{}/{}{}{}{}{}{}{}{}{}{}", s.tokens, s.heads, s.width,
                  s.style == RopeStyle::half_split ? "half_split" : "interleaved", name_of(s.dtype),
                  rotary == s.width ? "" : fmt::format("/rotary{}", rotary),
                  s.factor == 1 ? "" : fmt::format("/factor{}", s.factor),
                  s.theta == 10000.0 ? "" : fmt::format("/theta{}", s.theta),
                  s.last_position == 131072 ? "" : fmt::format("/to{}", s.last_position),
                  s.heads_after ? fmt::format("/fused{}", s.heads_after) : "", s.in_place ? "/in_place" : "",
                  s.hard ? "/hard" : "", s.pitch ? fmt::format("/pitch{}", s.pitch) : "",
                  s.misalign ? fmt::format("/misalign{}", s.misalign) : "");
  c.why = std::move(why);
  c.perf = s.perf;
  c.nan_declared = s.hard;
  const auto positions = [s](HostTensor& t, uint64_t seed) {
    for (int64_t i = 0; i < t.numel(); ++i)
      t.set(i, i == 0   ? static_cast<double>(s.last_position)
               : i == 1 ? 0.0
                        : std::floor(random_uniform(seed, static_cast<uint64_t>(i)) *
                                     static_cast<double>(s.last_position)));
  };
  const auto frequencies = [s, rotary](HostTensor& t, uint64_t) {
    for (int64_t i = 0; i < t.numel(); ++i)
      t.set(i, std::pow(s.theta, -2.0 * static_cast<double>(i) / static_cast<double>(rotary)));
  };
  const std::vector<int64_t> shape = {s.tokens, s.heads + s.heads_after, s.width};
  c.args.push_back(input("x", s.dtype, shape, s.hard ? hard_rows() : normal()));
  if (s.in_place)
    c.args[0].output = true, c.args[0].judge = Judge::floats;
  else
    c.args.push_back(output("out", s.dtype, {s.tokens, s.heads, s.width}, Judge::floats));
  for (auto& arg : c.args) arg.pitch = s.pitch, arg.misalign = s.misalign;
  const size_t at = c.args.size();
  c.args.push_back(input("positions", DType::i32, {s.tokens}, positions));
  c.args.push_back(input("inv_freq", DType::f32, {pairs}, frequencies));
  const auto args_of = [s, at](CaseTensors t) {
    const auto heads_of = [&](const Tensor& all) {
      return Tensor(all.data(), all.dtype(), {s.tokens, s.heads, s.width}, {all.stride(0), all.stride(1), 1},
                    all.backend());
    };
    return RopeArgs{.x = heads_of(t[0]),
                    .out = heads_of(t[s.in_place ? 0 : 1]),
                    .positions = t[at],
                    .inv_freq = t[at + 1],
                    .style = s.style,
                    .attention_factor = s.factor};
  };
  c.call = [=](const Context& ctx, CaseTensors t) { rope(ctx, args_of(t)); };
  c.reference = [=](CaseTensors t) { rope_ref<double>(args_of(t)); };
  c.plain = [=](CaseTensors t) { rope_ref<float>(args_of(t)); };
  c.bytes = 2 * s.tokens * s.heads * s.width * size_of(s.dtype) + 4 * (s.tokens + pairs);
  c.ops = 3 * s.tokens * s.heads * rotary;
  return c;
}

inline std::vector<harness::OpCase> rope_cases() {
  std::vector<harness::OpCase> cases;
  const auto add = [&](const RopeShape& s, const char* why) { cases.push_back(rope_case(s, why)); };
  for (const RopeStyle style : {RopeStyle::half_split, RopeStyle::interleaved})
    for (const DType d : {DType::f32, DType::f16, DType::bf16})
      for (const bool in_place : {false, true}) {
        const auto with = [&](int64_t tokens, int64_t heads, int64_t width) {
          return RopeShape{.tokens = tokens,
                           .heads = heads,
                           .width = width,
                           .style = style,
                           .dtype = d,
                           .in_place = in_place};
        };
        for (const int64_t width : {2, 4, 6, 8, 14, 16, 18, 30, 32, 34, 48, 64, 80, 96, 100, 128, 192, 256})
          add(with(7, 3, width), "head sizes around every vector boundary, positions to 131,072");
        add(with(2, 1, 1026), "more pairs than one block of cosines");
        add(with(1, 8, 64), "one token: decode");
        add(with(0, 8, 64), "no tokens");
        add(with(3, 0, 64), "no heads");
        for (const auto& [width, rotary] :
             {std::pair<int64_t, int64_t>{64, 32}, {80, 20}, {65, 64}, {17, 6}, {33, 0}, {1, 0}}) {
          auto s = with(5, 3, width);
          s.rotary = rotary;
          add(s, "partial rotation: the rest is copied");
        }
        auto fused = with(5, 4, 64);
        fused.heads_after = 3;
        add(fused, "queries inside a fused q, k, v tensor: the other heads keep their values");
        auto scaled = with(5, 2, 128);
        scaled.factor = 1.19f, scaled.theta = 500000.0;
        add(scaled, "Llama 3's theta, yarn's factor");
        auto far = with(5, 2, 64);
        far.last_position = 2000000;
        add(far, "positions beyond the fast range of sine and cosine");
        auto hard = with(6, 3, 34);
        hard.hard = true;
        add(hard, "NaN and Inf stay in their pair's head");
        auto pitched = with(3, 3, 48);
        pitched.pitch = 64;
        add(pitched, "heads further apart than their width");
        auto shifted = with(3, 3, 48);
        shifted.misalign = 1;
        add(shifted, "starts off every vector boundary");
      }
  for (const RopeStyle style : {RopeStyle::half_split, RopeStyle::interleaved})
    for (const DType d : {DType::f32, DType::bf16})
      for (const auto& [tokens, heads] :
           {std::pair<int64_t, int64_t>{1, 32}, {512, 32}, {8192, 32}, {8192, 8}})
        add({.tokens = tokens,
             .heads = heads,
             .width = 128,
             .style = style,
             .dtype = d,
             .theta = 500000.0,
             .in_place = true,
             .perf = true},
            "queries and keys of an 8B model");
  return cases;
}

}  // namespace octavo
