// The cases of kv_append: all outputs exact.
#pragma once
#include <fmt/format.h>

#include <vector>

#include "harness/op_case.h"
#include "ops/kv_append/kv_append.h"
#include "ops/kv_append/kv_append_ref.h"

namespace octavo {

struct AppendShape {
  int64_t tokens = 5, heads = 2, head_dim = 64;
  DType from = DType::f32, cache = DType::f32;
  int64_t sequences = 1, pages = 2;
  bool paged = true;
  int64_t pitch = 0, misalign = 0;
};

// Arguments in order: k, v, sequences, positions, page_table, cache_k, cache_v, k_scale, v_scale. Token t goes to
// sequence t % B at position (t / B + 61) % capacity: across the border of the first page.
inline harness::OpCase append_case(const AppendShape& s, std::string why, bool perf = false) {
  using harness::input, harness::output, harness::Judge;
  const int64_t pool = s.sequences * s.pages + 1, capacity = s.pages * KvView::kPageTokens;
  const auto written = [](harness::CaseArg arg) {  // the cache's other slots must keep their bytes
    arg.fill = arg.dtype == DType::i8 ? harness::all_codes() : harness::normal();
    return arg;
  };
  const auto rows = perf ? harness::normal() : harness::hard_rows();
  harness::OpCase c;
  c.name = fmt::format("{}x{}x{}/{}/cache_{}/b{}{}", s.tokens, s.heads, s.head_dim, name_of(s.from),
                       name_of(s.cache), s.sequences, s.paged ? "" : "/dense");
  if (s.pitch || s.misalign) c.name += fmt::format("/pitch{}_{}", s.pitch, s.misalign);
  c.why = std::move(why), c.perf = perf, c.nan_declared = !perf;
  c.args = {input("k", s.from, {s.tokens, s.heads, s.head_dim}, rows),
            input("v", s.from, {s.tokens, s.heads, s.head_dim}, rows),
            input("sequences", DType::i32, {s.tokens},
                  [s](harness::HostTensor& t, uint64_t) {
                    for (int64_t i = 0; i < s.tokens; ++i) t.set(i, static_cast<double>(i % s.sequences));
                  }),
            input("positions", DType::i32, {s.tokens},
                  [s, capacity](harness::HostTensor& t, uint64_t) {
                    for (int64_t i = 0; i < s.tokens; ++i)
                      t.set(i, static_cast<double>((i / s.sequences + 61) % capacity));
                  }),
            input("page_table", DType::i32, {s.sequences * s.pages},
                  [pool](harness::HostTensor& t, uint64_t) {
                    for (int64_t i = 0; i < t.numel(); ++i) t.set(i, static_cast<double>(pool - 1 - i));
                  }),
            written(output("cache_k", s.cache, {pool, s.heads, 64, s.head_dim}, Judge::exact)),
            written(output("cache_v", s.cache, {pool, s.heads, 64, s.head_dim}, Judge::exact)),
            written(output("k_scale", DType::f32, {pool, s.heads, 64}, Judge::exact)),
            written(output("v_scale", DType::f32, {pool, s.heads, 64}, Judge::exact))};
  for (int i : {0, 1})
    c.args[static_cast<size_t>(i)].pitch = s.pitch, c.args[static_cast<size_t>(i)].misalign = s.misalign;
  const auto args_of = [s](harness::CaseTensors t) {
    KvAppendArgs a;
    a.k = t[0], a.v = t[1], a.sequences = t[2], a.positions = t[3];
    a.cache = KvView::paged(s.cache, t[5].data(), t[6].data(), s.heads, s.head_dim, s.pages);
    a.cache.backend = t[5].backend();
    if (s.paged) a.cache.page_table = t[4].as<int32_t>();
    if (s.cache == DType::i8) a.cache.k_scale = t[7].as<float>(), a.cache.v_scale = t[8].as<float>();
    return a;
  };
  c.call = [args_of](const Context& ctx, harness::CaseTensors t) { kv_append(ctx, args_of(t)); };
  c.reference = [args_of](harness::CaseTensors t) { kv_append_ref(args_of(t)); };
  const int64_t elements = 2 * s.tokens * s.heads * s.head_dim;
  c.bytes =
      elements * (size_of(s.from) + size_of(s.cache)) + (s.cache == DType::i8 ? 8 * s.tokens * s.heads : 0);
  return c;
}

inline std::vector<harness::OpCase> kv_append_cases() {
  std::vector<harness::OpCase> cases;
  for (DType from : {DType::f32, DType::f16, DType::bf16})
    for (DType cache : {DType::f32, DType::f16, DType::bf16, DType::i8}) {
      for (int64_t d : {1, 3, 7, 8, 9, 16, 17, 33, 48, 63, 64, 80, 128, 257})
        cases.push_back(append_case({.head_dim = d, .from = from, .cache = cache},
                                    "head dimensions with tails of every kind; hard rows"));
      cases.push_back(append_case({.tokens = 0, .from = from, .cache = cache}, "no tokens"));
      cases.push_back(append_case({.tokens = 30, .from = from, .cache = cache, .sequences = 3},
                                  "three sequences, pages in falling order, across a page border"));
      cases.push_back(append_case({.tokens = 9, .from = from, .cache = cache, .sequences = 2, .paged = false},
                                  "no page table"));
      cases.push_back(
          append_case({.tokens = 9, .head_dim = 33, .from = from, .cache = cache, .pitch = 40, .misalign = 1},
                      "pitched and misaligned rows"));
      cases.push_back(append_case({.tokens = 300, .head_dim = 32, .from = from, .cache = cache, .pages = 6},
                                  "enough work for every thread"));
    }
  for (DType cache : {DType::f32, DType::f16, DType::bf16, DType::i8}) {
    cases.push_back(append_case({.tokens = 1, .heads = 8, .head_dim = 128, .cache = cache},
                                "decode of an 8B model", true));
    cases.push_back(append_case({.tokens = 512, .heads = 8, .head_dim = 128, .cache = cache, .pages = 16},
                                "a chunk of a prompt", true));
  }
  return cases;
}

}  // namespace octavo
