// The cases of attention_int8. One table drives test, verify and bench.
#pragma once
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "core/buffer.h"
#include "harness/op_case.h"
#include "ops/attention_int8/attention_int8.h"
#include "ops/attention_int8/attention_int8_ref.h"

namespace octavo {

enum class VScaleForm { block, channel, head };
// What the scores are: random; all 0 (Q = 0: all P equal); one key far above all others, a different one for each row; all 0
// since q_scale is 0. All but the first are exact: every backend gives the same bits.
enum class Scores { random, equal, one_hot, zero_scale };

struct AttentionInt8Shape {
  int64_t batch = 1, q_heads = 2, kv_heads = 1, sq = 64, sk = 64, dim = 64;
  bool causal = false;
  DType out = DType::f16;
  VScaleForm v_scale = VScaleForm::block;
  Scores scores = Scores::random;
  bool lse = true, nan = false;  // nan: key sk / 2 of the first KV head has scale NaN
  int64_t pitch = 0;             // of out rows
  int64_t misalign = 0;          // of out, elements
};

inline std::string name_of(const AttentionInt8Shape& s) {
  constexpr const char* kForms[] = {"", "/v_channel", "/v_head"};
  constexpr const char* kScores[] = {"", "/equal", "/one_hot", "/zero_scale"};
  std::string name = fmt::format("{}x{}x{}x{}x{}x{}/{}/{}{}{}", s.batch, s.q_heads, s.kv_heads, s.sq, s.sk,
                                 s.dim, s.causal ? "causal" : "full", name_of(s.out),
                                 kForms[static_cast<int>(s.v_scale)], kScores[static_cast<int>(s.scores)]);
  if (!s.lse) name += "/no_lse";
  if (s.nan) name += "/nan";
  if (s.pitch) name += fmt::format("/pitch{}", s.pitch);
  if (s.misalign) name += fmt::format("/misalign{}", s.misalign);
  return name;
}

// Of a row's scores, the one of key (7 row + 3) mod sk is 127^2 * 2, the others are 0: q has two channels of 127 that say
// which key in the halves of D, k has them too. Exact for up to (D / 2)^2 keys; more keys repeat the pattern, and ties are fine.
inline void one_hot_rows(harness::HostTensor& t, bool keys) {
  const int64_t dim = t.shape()[3], rows = t.shape()[2], half = dim / 2;
  for (int64_t i = 0; i < t.numel(); ++i) t.set(i, 0);
  for (int64_t r = 0; r < t.numel() / dim; ++r) {
    const int64_t row = r % rows, key = keys ? row : 7 * row + 3;
    t.set(r * dim + key % half, 127), t.set(r * dim + half + key / half % half, 127);
  }
}

inline void attention_int8_reference(const AttentionInt8Args& a) {
  float scratch[kInt8TileKeys];
  attention_int8_ref(a, 0, a.q.dim(0) * a.q.dim(1), scratch);
}

// Of tensors in order: q, q_scale, k, k_scale, v, v_scale, out, [lse].
inline AttentionInt8Args attention_int8_args(const AttentionInt8Shape& s, harness::CaseTensors t) {
  AttentionInt8Args a{.q = t[0], .q_scale = t[1], .k = t[2], .k_scale = t[3], .v = t[4], .v_scale = t[5]};
  const int64_t tiles = (s.sk + kInt8TileKeys - 1) / kInt8TileKeys,
                per_head = s.v_scale == VScaleForm::head ? 1 : s.dim,
                channel = s.v_scale == VScaleForm::head ? 0 : 1;
  if (s.v_scale != VScaleForm::block)
    a.v_scale = ConstTensor(t[5].data(), DType::f32, {s.batch, s.kv_heads, tiles, s.dim},
                            {s.kv_heads * per_head, per_head, 0, channel}, t[5].backend());
  a.causal = s.causal, a.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(s.dim)));
  if (s.scores == Scores::one_hot) a.scale = 1.0f;
  a.out = t[6];
  if (s.lse) a.lse = t[7];
  return a;
}

inline harness::OpCase attention_int8_case(const AttentionInt8Shape& s, std::string why, bool perf = false) {
  using harness::input, harness::output, harness::Judge;
  const int64_t tile = kInt8TileKeys, tiles = (s.sk + tile - 1) / tile,
                pages = (s.sk + kInt8PageKeys - 1) / kInt8PageKeys;
  const bool exact = s.scores != Scores::random;
  const auto q_codes = [s](harness::HostTensor& t, uint64_t seed) {
    if (s.scores == Scores::one_hot) return one_hot_rows(t, false);
    if (s.scores == Scores::equal) {
      t.fill(0);
      return;
    }
    t.fill_codes(seed);
  };
  const auto k_codes = [s](harness::HostTensor& t, uint64_t seed) {
    if (s.scores == Scores::one_hot) return one_hot_rows(t, true);
    t.fill_codes(seed);
  };
  // Codes of all sizes have a sigma of 74: with these scales scores of a row differ by a few units, as real ones do. One-hot
  // scores are powers of two times 127^2, so that no rounding is left.
  const double score = 4.0 / (74.0 * 74.0);
  const auto row_scale = s.scores == Scores::one_hot      ? harness::constant(1.0)
                         : s.scores == Scores::zero_scale ? harness::constant(0.0)
                                                          : harness::uniform(0.5, 1.5);
  const auto key_scale = [s, score](harness::HostTensor& t, uint64_t seed) {
    if (s.scores == Scores::one_hot)
      t.fill(0.25);
    else
      t.fill_uniform(seed, 0.5 * score, 1.5 * score);
    if (s.nan && s.sk > 0) t.set(s.sk / 2, std::numeric_limits<double>::quiet_NaN());
  };
  const std::vector<int64_t> v_shape =
      s.v_scale == VScaleForm::block     ? std::vector{s.batch, s.kv_heads, tiles, s.dim}
      : s.v_scale == VScaleForm::channel ? std::vector{s.batch, s.kv_heads, s.dim}
                                         : std::vector{s.batch, s.kv_heads};
  harness::OpCase c;
  c.name = name_of(s), c.why = std::move(why), c.perf = perf, c.nan_declared = s.nan;
  c.args = {input("q", DType::i8, {s.batch, s.q_heads, s.sq, s.dim}, q_codes),
            input("q_scale", DType::f32, {s.batch, s.q_heads, s.sq}, row_scale),
            input("k", DType::i8, {s.batch, s.kv_heads, s.sk, s.dim}, k_codes),
            input("k_scale", DType::f32, {s.batch, s.kv_heads, s.sk}, key_scale),
            input("v", DType::i8, {s.batch, s.kv_heads, pages, s.dim * kInt8PageKeys}, harness::all_codes()),
            input("v_scale", DType::f32, v_shape, harness::uniform(0.005, 0.02)),
            output("out", s.out, {s.batch, s.q_heads, s.sq, s.dim}, exact ? Judge::exact : Judge::floats)};
  c.args[6].pitch = s.pitch, c.args[6].misalign = s.misalign;
  c.args[6].nmse_cap = 1e-3;  // P has 8 bits; without them the cap would be 1e-6
  if (s.lse) {
    c.args.push_back(output("lse", DType::f32, {s.batch, s.q_heads, s.sq}, Judge::floats));
    c.args.back().nmse_cap = 1e-4;
    c.args.back().relative_slack = std::ldexp(1.0, -21);  // two libraries' logarithms, fused or not
  }
  const auto args_of = [s](harness::CaseTensors t) { return attention_int8_args(s, t); };
  c.call = [args_of](const Context& ctx, harness::CaseTensors t) { attention_int8(ctx, args_of(t)); };
  if (exact)
    c.reference = [args_of](harness::CaseTensors t) { attention_int8_reference(args_of(t)); };
  else
    c.reference = [args_of](harness::CaseTensors t) { attention_int8_unrounded(args_of(t)); };
  c.plain = [args_of](harness::CaseTensors t) { attention_int8_reference(args_of(t)); };
  c.variant = [args_of](const Context& ctx, harness::CaseTensors t) {
    return std::string(attention_int8_variant(ctx, args_of(t)));
  };
  c.shape = {{"B", s.batch}, {"Hq", s.q_heads}, {"Hkv", s.kv_heads},
             {"Sq", s.sq},   {"Sk", s.sk},      {"D", s.dim}};
  c.bytes = s.batch * (2 * s.kv_heads * s.sk * s.dim + s.q_heads * s.sq * s.dim * (1 + size_of(s.out)));
  int64_t pairs = 0;
  for (int64_t i = 0; i < s.sq; ++i)
    pairs += s.causal ? std::clamp<int64_t>(i + 1 + s.sk - s.sq, 0, s.sk) : s.sk;
  c.ops = 4 * s.batch * s.q_heads * s.dim * pairs;
  return c;
}

// The pass from floats to codes: exact. Arguments in order: q, k, v, q_codes, q_scale, k_codes, k_scale, v_codes, v_scale.
inline harness::OpCase attention_int8_quantize_case(const AttentionInt8Shape& s, DType dtype, bool hard,
                                                    std::string why) {
  using harness::input, harness::output, harness::Judge;
  const int64_t tile = kInt8TileKeys, tiles = (s.sk + tile - 1) / tile,
                pages = (s.sk + kInt8PageKeys - 1) / kInt8PageKeys;
  harness::OpCase c;
  c.name = fmt::format("quantize/{}x{}x{}x{}x{}x{}/{}", s.batch, s.q_heads, s.kv_heads, s.sq, s.sk, s.dim,
                       name_of(dtype));
  if (hard) c.name += "/hard";
  if (s.pitch) c.name += fmt::format("/pitch{}", s.pitch);
  if (s.misalign) c.name += fmt::format("/misalign{}", s.misalign);
  c.why = std::move(why), c.nan_declared = hard;
  const auto fill = hard ? harness::hard_rows() : harness::normal();
  const std::vector<int64_t> q{s.batch, s.q_heads, s.sq, s.dim}, k{s.batch, s.kv_heads, s.sk, s.dim};
  c.args = {input("q", dtype, q, fill),
            input("k", dtype, k, fill),
            input("v", dtype, k, fill),
            output("q_codes", DType::i8, q, Judge::exact),
            output("q_scale", DType::f32, {s.batch, s.q_heads, s.sq}, Judge::exact),
            output("k_codes", DType::i8, k, Judge::exact),
            output("k_scale", DType::f32, {s.batch, s.kv_heads, s.sk}, Judge::exact),
            output("v_codes", DType::i8, {s.batch, s.kv_heads, pages, s.dim * kInt8PageKeys}, Judge::exact),
            output("v_scale", DType::f32, {s.batch, s.kv_heads, tiles, s.dim}, Judge::exact)};
  for (int i = 0; i < 3; ++i)
    c.args[static_cast<size_t>(i)].pitch = s.pitch, c.args[static_cast<size_t>(i)].misalign = s.misalign;
  const auto args_of = [](harness::CaseTensors t) {
    return AttentionInt8QuantizeArgs{.q = t[0],
                                     .k = t[1],
                                     .v = t[2],
                                     .q_codes = t[3],
                                     .q_scale = t[4],
                                     .k_codes = t[5],
                                     .k_scale = t[6],
                                     .v_codes = t[7],
                                     .v_scale = t[8]};
  };
  c.call = [args_of](const Context& ctx, harness::CaseTensors t) {
    attention_int8_quantize(ctx, args_of(t));
  };
  c.reference = [args_of](harness::CaseTensors t) { attention_int8_quantize_ref(args_of(t)); };
  c.shape = {{"B", s.batch}, {"Hq", s.q_heads}, {"Hkv", s.kv_heads},
             {"Sq", s.sq},   {"Sk", s.sk},      {"D", s.dim}};
  c.bytes = s.batch * s.dim * (s.q_heads * s.sq + 2 * s.kv_heads * s.sk) * (size_of(dtype) + 1);
  return c;
}

// add(shape, why) for each case of attention itself.
template <class Add>
void each_attention_int8_shape(Add&& add) {
  for (const bool causal : {false, true}) {
    for (const int64_t keys : {1, 2, 15, 16, 17, 63, 64, 65, 127, 128, 129, 255, 256, 257, 300, 513})
      for (const Scores scores : {Scores::random, Scores::equal, Scores::one_hot})
        add({.sq = 5, .sk = keys, .causal = causal, .scores = scores},
            "key counts around pages, halves and tiles");
    for (const int64_t n : {1, 2, 7, 16, 63, 64, 65, 127, 128, 129, 192, 200})
      for (const Scores scores : {Scores::random, Scores::equal, Scores::one_hot, Scores::zero_scale})
        add({.q_heads = 1, .sq = n, .sk = n, .causal = causal, .scores = scores},
            "prompts: the diagonal in every phase of rows and tiles");
    for (const int64_t dim : {16, 32, 48, 80, 96, 112, 128})
      for (const Scores scores : {Scores::random, Scores::equal, Scores::one_hot})
        add({.sq = 70, .sk = 150, .dim = dim, .causal = causal, .scores = scores}, "head dimensions");
    add({.sq = 5, .sk = 3, .causal = causal},
        "Sq > Sk: causal, the first rows see nothing and give 0 and -inf");
    add({.sq = 3, .sk = 0, .causal = causal}, "no keys: 0 and -inf");
    add({.sq = 0, .sk = 30, .causal = causal}, "no queries");
    add({.sq = 300, .sk = 170, .causal = causal}, "whole blocks of rows that see nothing");
    add({.sq = 30, .sk = 700, .causal = causal}, "Sq < Sk: bottom-right aligned");
    add({.sq = 90, .sk = 300, .causal = causal, .nan = true},
        "a key with scale NaN reaches the rows that see it");
    add({.batch = 3, .q_heads = 6, .kv_heads = 2, .sq = 33, .sk = 140, .causal = causal},
        "batches and query groups");
    for (const VScaleForm form : {VScaleForm::channel, VScaleForm::head})
      for (const int64_t dim : {64, 128})
        add({.batch = 2,
             .q_heads = 4,
             .kv_heads = 2,
             .sq = 40,
             .sk = 530,
             .dim = dim,
             .causal = causal,
             .v_scale = form},
            "coarser scales of V, by strides of 0");
  }
  for (const DType out : {DType::f16, DType::bf16, DType::f32}) {
    add({.sq = 66, .sk = 300, .out = out, .lse = false}, "every output type, no LSE");
    add({.sq = 66, .sk = 300, .dim = 128, .out = out, .pitch = 136}, "pitched output");
    add({.sq = 10, .sk = 70, .out = out, .pitch = 67, .misalign = 1}, "rows of the output on no boundary");
  }
}

inline std::vector<harness::OpCase> attention_int8_cases() {
  std::vector<harness::OpCase> cases;
  for (const DType dtype : {DType::f16, DType::bf16, DType::f32})
    for (const bool hard : {false, true}) {
      for (const int64_t dim : {16, 64, 80, 128, 256})
        for (const int64_t keys : {1, 63, 64, 65, 200, 300})
          cases.push_back(attention_int8_quantize_case({.q_heads = 2, .sq = 37, .sk = keys, .dim = dim},
                                                       dtype, hard,
                                                       "floats to codes: pages and tiles cut anywhere"));
      cases.push_back(attention_int8_quantize_case(
          {.batch = 2, .q_heads = 4, .kv_heads = 2, .sq = 270, .sk = 530, .pitch = 72}, dtype, hard,
          "floats to codes: pitched rows"));
      cases.push_back(attention_int8_quantize_case({.sq = 9, .sk = 70, .dim = 96, .pitch = 99, .misalign = 1},
                                                   dtype, hard, "floats to codes: rows on no boundary"));
    }
  each_attention_int8_shape(
      [&](const AttentionInt8Shape& s, const char* why) { cases.push_back(attention_int8_case(s, why)); });
  return cases;
}

}  // namespace octavo
