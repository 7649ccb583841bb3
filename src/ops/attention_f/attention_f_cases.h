// The cases of attention_f. One table drives test, verify and bench.
#pragma once
#include <fmt/format.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "harness/op_case.h"
#include "ops/attention_f/attention_f.h"
#include "ops/attention_f/attention_f_ref.h"

namespace octavo {

// The pages of a pool in an order that is not the identity: page i of the table is the pool's page (7 i + 3) mod n.
inline void shuffled_pages(harness::HostTensor& t, uint64_t) {
  const int64_t n = t.numel();
  const int64_t step = n % 7 ? 7 : 11;
  for (int64_t i = 0; i < n; ++i) t.set(i, static_cast<double>((step * i + 3) % n));
}

struct AttentionShape {
  std::vector<int64_t> queries;  // Sq of each sequence
  std::vector<int64_t> keys;     // Sk of each sequence
  int64_t q_heads = 4, kv_heads = 2, head_dim = 64;
  DType q = DType::f32, kv = DType::f32;
  bool causal = true;
  int64_t window = 0;
  bool paged = true, lse = true;
  int64_t pitch = 0;  // of q and out rows
};

inline std::string name_of(const AttentionShape& s) {
  std::string lengths;
  for (size_t b = 0; b < s.queries.size(); ++b)
    lengths += fmt::format("{}{}_{}", b ? "+" : "", s.queries[b], s.keys[b]);
  std::string name =
      fmt::format("{}x{}x{}x{}x{}/{}/q_{}/kv_{}", s.queries.size(), s.q_heads, s.kv_heads, lengths,
                  s.head_dim, s.causal ? "causal" : "full", name_of(s.q), name_of(s.kv));
  if (s.window) name += fmt::format("/window{}", s.window);
  if (!s.paged) name += "/dense";
  if (!s.lse) name += "/no_lse";
  if (s.pitch) name += fmt::format("/pitch{}", s.pitch);
  return name;
}

// The call of a case.
inline AttentionFArgs attention_args(const AttentionShape& s, harness::CaseTensors t) {
  int64_t longest = 0;
  for (const int64_t keys : s.keys) longest = std::max(longest, keys);
  AttentionFArgs a;
  a.q = t[0];
  a.kv = KvView::paged(s.kv, t[1].data(), t[2].data(), s.kv_heads, s.head_dim, (longest + 63) / 64);
  a.kv.backend = t[1].backend();
  if (s.kv == DType::i8) a.kv.k_scale = t[3].as<float>(), a.kv.v_scale = t[4].as<float>();
  if (s.paged) a.kv.page_table = t[5].as<int32_t>();
  a.q_start = t[6], a.kv_len = t[7];
  a.causal = s.causal, a.window = s.window;
  a.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(s.head_dim)));
  a.out = t[8];
  if (s.lse) a.lse = t[9];
  return a;
}

// Arguments in order: q, k, v, k_scale, v_scale, page_table, q_start, kv_len, out, [lse].
inline harness::OpCase attention_case(const AttentionShape& s, std::string why, bool perf = false) {
  using harness::input, harness::output, harness::Judge;
  const auto sequences = static_cast<int64_t>(s.queries.size());
  int64_t tokens = 0, longest = 0, pairs = 0, keys = 0;
  for (size_t b = 0; b < s.queries.size(); ++b) {
    tokens += s.queries[b], longest = std::max(longest, s.keys[b]), keys += s.keys[b];
    for (int64_t i = 0; i < s.queries[b]; ++i)
      pairs += s.causal ? std::clamp<int64_t>(i + 1 + s.keys[b] - s.queries[b], 0, s.keys[b]) : s.keys[b];
  }
  const int64_t pages = (longest + 63) / 64, pool = std::max<int64_t>(1, sequences * pages);
  const auto starts = [s](harness::HostTensor& t, uint64_t) {
    double at = 0;
    t.set(0, 0);
    for (size_t b = 0; b < s.queries.size(); ++b)
      t.set(static_cast<int64_t>(b) + 1, at += static_cast<double>(s.queries[b]));
  };
  const auto lengths = [s](harness::HostTensor& t, uint64_t) {
    for (size_t b = 0; b < s.keys.size(); ++b) t.set(static_cast<int64_t>(b), static_cast<double>(s.keys[b]));
  };
  const bool codes = s.kv == DType::i8;
  const auto cache = codes ? harness::all_codes() : harness::normal();
  harness::OpCase c;
  c.name = name_of(s), c.why = std::move(why), c.perf = perf;
  c.args = {input("q", s.q, {tokens, s.q_heads, s.head_dim}, harness::normal()),
            input("k", s.kv, {pool, s.kv_heads, 64, s.head_dim}, cache),
            input("v", s.kv, {pool, s.kv_heads, 64, s.head_dim}, cache),
            input("k_scale", DType::f32, {pool, s.kv_heads, 64}, harness::uniform(0.005, 0.02)),
            input("v_scale", DType::f32, {pool, s.kv_heads, 64}, harness::uniform(0.005, 0.02)),
            input("page_table", DType::i32, {pool}, shuffled_pages),
            input("q_start", DType::i32, {sequences + 1}, starts),
            input("kv_len", DType::i32, {sequences}, lengths),
            output("out", s.q, {tokens, s.q_heads, s.head_dim}, Judge::floats)};
  c.args[0].pitch = c.args[8].pitch = s.pitch;
  if (s.lse) c.args.push_back(output("lse", DType::f32, {tokens, s.q_heads}, Judge::floats));

  const auto args_of = [s](harness::CaseTensors t) { return attention_args(s, t); };
  c.call = [args_of](const Context& ctx, harness::CaseTensors t) {
    const AttentionFArgs a = args_of(t);
    if (ctx.backend != Backend::cpu || ctx.workspace) return attention_f(ctx, a);
    Context with = ctx;
    const Buffer scratch(attention_f_workspace_bytes(ctx, a) + 1);
    std::memset(scratch.data(), 0xff,
                static_cast<size_t>(scratch.bytes()));  // NaN: what a call leaves must not matter
    with.workspace = Tensor(scratch.data(), DType::u8, {scratch.bytes()});
    attention_f(with, a);
  };
  c.reference = [args_of](harness::CaseTensors t) { attention_f_ref<double>(args_of(t)); };
  c.plain = [args_of](harness::CaseTensors t) { attention_f_ref<float>(args_of(t)); };
  c.bytes = 2 * keys * s.kv_heads * (s.head_dim * size_of(s.kv) + (codes ? 4 : 0)) +
            2 * tokens * s.q_heads * s.head_dim * size_of(s.q);
  c.ops = 4 * pairs * s.q_heads * s.head_dim;
  return c;
}

inline std::vector<harness::OpCase> attention_f_cases() {
  std::vector<harness::OpCase> cases;
  const auto add = [&](const AttentionShape& s, const char* why) { cases.push_back(attention_case(s, why)); };
  for (int64_t keys : {1, 2, 63, 64, 65, 127, 128, 129, 1000})
    add({.queries = {1}, .keys = {keys}}, "decode: one query, key counts around the 64-key leaf");
  for (int64_t n : {2, 3, 7, 16, 17, 63, 64, 65, 130})
    add({.queries = {n}, .keys = {n}}, "prefill: the causal diagonal in every phase of block and leaf");
  for (int64_t d : {1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 40, 72, 80, 96, 112, 128, 160, 192, 256, 257})
    add({.queries = {5}, .keys = {70}, .head_dim = d},
        "head dimensions: whole vectors, tails of every kind, above 256");
  for (auto [hq, hkv] : {std::pair{1, 1}, {2, 1}, {3, 1}, {4, 4}, {6, 2}, {7, 1}, {12, 4}, {32, 8}, {71, 1}})
    add({.queries = {3}, .keys = {100}, .q_heads = hq, .kv_heads = hkv, .head_dim = 32},
        "query groups of every register block, and one above a block (MQA of 71)");
  for (DType kv : {DType::f32, DType::f16, DType::bf16, DType::i8})
    for (DType q : {DType::f32, DType::f16, DType::bf16}) {
      add({.queries = {1}, .keys = {200}, .q = q, .kv = kv}, "decode of every pair of dtypes");
      add({.queries = {21}, .keys = {90}, .q = q, .kv = kv},
          "a chunk of a prompt, every pair of dtypes: leaves widened to f32");
      add({.queries = {3}, .keys = {90}, .head_dim = 20, .q = q, .kv = kv}, "a tail in every pair of dtypes");
    }
  for (bool causal : {true, false}) {
    add({.queries = {5}, .keys = {3}, .causal = causal},
        "Sq > Sk: causal, the first rows see nothing and give 0 and -inf");
    add({.queries = {3}, .keys = {0}, .causal = causal}, "no keys: 0 and -inf");
    add({.queries = {70}, .keys = {70}, .causal = causal, .paged = false}, "no page table");
    add({.queries = {40}, .keys = {300}, .causal = causal}, "Sq < Sk: bottom-right aligned");
    add({.queries = {4, 1, 0, 33, 2}, .keys = {4, 129, 10, 100, 0}, .causal = causal},
        "variable lengths, one sequence without queries, one without keys");
  }
  for (int64_t window : {1, 2, 63, 64, 65, 100, 1000}) {
    add({.queries = {9}, .keys = {260}, .window = window}, "sliding window against leaf borders");
    add({.queries = {150}, .keys = {150}, .window = window}, "sliding window in a prompt");
  }
  add({.queries = {1}, .keys = {3000}, .kv = DType::i8, .window = 1000},
      "a window that starts inside a subtree");
  add({.queries = {4}, .keys = {150}, .causal = false, .window = 70},
      "window without causal: a lower end only");
  add({.queries = {9}, .keys = {80}, .lse = false, .pitch = 77}, "pitched q and out, no LSE");
  add({.queries = {9}, .keys = {80}, .q = DType::f16, .pitch = 67}, "pitched 16-bit q and out");
  add({.queries = {1, 1, 1}, .keys = {4097, 513, 64}, .q_heads = 8, .kv_heads = 1},
      "splits of unequal sequences");

  const auto bench = [&](const AttentionShape& s, const char* why) {
    cases.push_back(attention_case(s, why, true));
  };
  for (DType kv : {DType::f32, DType::f16, DType::bf16, DType::i8}) {
    bench({.queries = {1}, .keys = {4096}, .q_heads = 32, .kv_heads = 8, .head_dim = 64, .kv = kv},
          "Llama-3.2-1B decode at 4k");
    bench({.queries = {1}, .keys = {4096}, .q_heads = 32, .kv_heads = 8, .head_dim = 128, .kv = kv},
          "Llama-3.1-8B decode at 4k");
    bench({.queries = {1}, .keys = {512}, .q_heads = 8, .kv_heads = 4, .head_dim = 48, .kv = kv},
          "a small model, mid context");
  }
  for (DType kv : {DType::f32, DType::i8})
    bench({.queries = {256}, .keys = {512}, .q_heads = 32, .kv_heads = 8, .head_dim = 64, .kv = kv},
          "Llama-3.2-1B, a chunk of a prompt");
  return cases;
}

}  // namespace octavo
