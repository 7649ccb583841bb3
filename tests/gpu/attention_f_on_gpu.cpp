#include "gpu/attention_f_on_gpu.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>

#include "ops/attention_f/attention_f_cases.h"
#include "ops/attention_f/attention_f_cuda.h"

namespace octavo::gpu {
namespace {

using harness::HostTensor;
using harness::OpCase;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

int64_t longest(const std::vector<int64_t>& lengths) {
  return *std::max_element(lengths.begin(), lengths.end());
}

// The place in a pool of page p of sequence b, as shuffled_pages (or no table) says.
int64_t page_place(const AttentionShape& s, int64_t b, int64_t p) {
  const int64_t pages = (longest(s.keys) + 63) / 64;
  const int64_t pool = std::max<int64_t>(1, static_cast<int64_t>(s.queries.size()) * pages),
                at = b * pages + p;
  return s.paged ? ((pool % 7 ? 7 : 11) * at + 3) % pool : at;
}

// NaN in K and V in every slot of the pool that is no live key: it must never reach a result.
OpCase poisoned(const AttentionShape& s, const char* why) {
  OpCase c = attention_case(s, why);
  c.name += "/poisoned";
  for (const int arg : {1, 2}) {
    c.args[static_cast<size_t>(arg)].fill = [s, fill = c.args[static_cast<size_t>(arg)].fill](HostTensor& t,
                                                                                              uint64_t seed) {
      HostTensor clean(t.dtype(), t.shape());
      fill(clean, seed);
      for (int64_t i = 0; i < t.numel(); ++i) t.set(i, kNan);
      const int64_t page = 64 * s.head_dim;
      for (size_t b = 0; b < s.keys.size(); ++b)
        for (int64_t j = 0; j < s.keys[b]; ++j)
          for (int64_t h = 0; h < s.kv_heads; ++h) {
            const int64_t at = (page_place(s, static_cast<int64_t>(b), j / 64) * s.kv_heads + h) * page +
                               j % 64 * s.head_dim;
            for (int64_t d = 0; d < s.head_dim; ++d) t.set(at + d, clean.get(at + d));
          }
    };
  }
  return c;
}

// `value` in K or V of key `key` of sequence 0 (all heads): reaches exactly the rows that see it.
OpCase planted(const AttentionShape& s, bool in_v, int64_t key, double value, const char* why) {
  OpCase c = attention_case(s, why);
  c.name += fmt::format("/{}_of_{}_is_{}", in_v ? "v" : "k", key, value);
  c.nan_declared = true;
  auto& arg = c.args[in_v ? 2 : 1];
  arg.fill = [s, key, value, fill = arg.fill](HostTensor& t, uint64_t seed) {
    fill(t, seed);
    for (int64_t h = 0; h < s.kv_heads; ++h)
      t.set((page_place(s, 0, key / 64) * s.kv_heads + h) * 64 * s.head_dim + key % 64 * s.head_dim + 5,
            value);
  };
  return c;
}

OpCase scaled(const AttentionShape& s, float factor, const char* why) {
  OpCase c = attention_case(s, why);
  c.name += fmt::format("/q_times_{}", factor);
  c.args[0].fill = [factor, fill = c.args[0].fill](HostTensor& t, uint64_t seed) {
    fill(t, seed);
    for (int64_t i = 0; i < t.numel(); ++i) t.set(i, factor * t.get(i));
  };
  return c;
}

// q [B T, Hq, D] and k, v [B, T, Hkv, D] (BSHD) or [B, Hkv, T, D] (BHSD keys): what PyTorch users hold.
OpCase dense(int64_t batch, int64_t length, int64_t q_heads, int64_t kv_heads, int64_t d, DType dtype,
             bool causal, bool heads_first) {
  using harness::input, harness::output, harness::Judge, harness::normal;
  OpCase c;
  c.name = fmt::format("{}x{}x{}x{}x{}/{}/{}/{}", batch, q_heads, kv_heads, length, d,
                       causal ? "causal" : "full", name_of(dtype), heads_first ? "bhsd" : "bshd");
  c.why = "a caller's dense keys and values by their strides";
  const std::vector<int64_t> shape = heads_first ? std::vector<int64_t>{batch, kv_heads, length, d}
                                                 : std::vector<int64_t>{batch, length, kv_heads, d};
  const auto starts = [length](HostTensor& t, uint64_t) {
    for (int64_t i = 0; i < t.numel(); ++i) t.set(i, static_cast<double>(i * length));
  };
  const auto lengths = [length](HostTensor& t, uint64_t) {
    for (int64_t i = 0; i < t.numel(); ++i) t.set(i, static_cast<double>(length));
  };
  c.args = {input("q", dtype, {batch * length, q_heads, d}, normal()),
            input("k", dtype, shape, normal()),
            input("v", dtype, shape, normal()),
            input("q_start", DType::i32, {batch + 1}, starts),
            input("kv_len", DType::i32, {batch}, lengths),
            output("out", dtype, {batch * length, q_heads, d}, Judge::floats),
            output("lse", DType::f32, {batch * length, q_heads}, Judge::floats)};
  const auto args_of = [=](harness::CaseTensors t) {
    AttentionFArgs a;
    a.q = t[0];
    KvView& kv = a.kv;
    kv.dtype = dtype, kv.k = t[1].data(), kv.v = t[2].data(), kv.heads = kv_heads, kv.head_dim = d;
    kv.token_stride = heads_first ? d : kv_heads * d, kv.head_stride = heads_first ? length * d : d;
    kv.page_stride = 64 * kv.token_stride, kv.sequence_stride = kv_heads * length * d;
    kv.pages_per_sequence = (length + 63) / 64, kv.backend = t[1].backend();
    a.q_start = t[3], a.kv_len = t[4], a.causal = causal;
    a.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(d)));
    a.out = t[5], a.lse = t[6];
    return a;
  };
  c.call = [args_of](const Context& ctx, harness::CaseTensors t) { attention_f(ctx, args_of(t)); };
  c.reference = [args_of](harness::CaseTensors t) { attention_f_ref<double>(args_of(t)); };
  c.plain = [args_of](harness::CaseTensors t) { attention_f_ref<float>(args_of(t)); };
  return c;
}

constexpr DType kHalves[] = {DType::f16, DType::bf16};

// The case on the portable kernel, which a Hopper device would not choose.
OpCase on_sm80(const AttentionShape& s, OpCase c) {
  c.name += "/sm80";
  c.call = [s](const Context& ctx, harness::CaseTensors t) { attention_f_sm80(ctx, attention_args(s, t)); };
  return c;
}

AttentionShape shaped(std::vector<int64_t> queries, std::vector<int64_t> keys, int64_t d, DType dtype,
                      bool causal) {
  return {.queries = std::move(queries),
          .keys = std::move(keys),
          .q_heads = 2,
          .kv_heads = 1,
          .head_dim = d,
          .q = dtype,
          .kv = dtype,
          .causal = causal};
}

void add_edges(std::vector<OpCase>& cases) {
  int64_t number = 0;
  for (const int64_t d : {64, 128})
    for (const bool causal : {true, false})
      for (const int64_t sq : {1, 3, 17, 63, 64, 65, 127, 128, 129, 191, 192, 193, 250})
        for (const int64_t sk : {1, 5, 63, 64, 65, 127, 128, 129, 191, 192, 193, 256, 257, 320}) {
          auto s = shaped({sq}, {sk}, d, kHalves[number % 2], causal);
          s.lse = number % 3 != 0, s.paged = number % 5 != 0;
          ++number;
          cases.push_back(attention_case(s, "tile edges"));
          if (number % 2 == 0) cases.push_back(on_sm80(s, attention_case(s, "tile edges")));
        }
}

void add_masks(std::vector<OpCase>& cases) {
  for (const DType t : kHalves)
    for (const int64_t d : {64, 128})
      for (const bool causal : {true, false}) {
        for (const int64_t window : {1, 2, 63, 64, 65, 100, 128, 200, 1000}) {
          auto s = shaped({250}, {250}, d, t, causal);
          s.window = window;
          cases.push_back(attention_case(s, "sliding window over several tiles"));
          cases.push_back(on_sm80(s, cases.back()));
          s.queries = {70}, s.keys = {400};
          cases.push_back(attention_case(s, "sliding window, fewer queries than keys"));
        }
        for (auto [hq, hkv] :
             {std::pair{1, 1}, {4, 1}, {8, 2}, {6, 2}, {7, 7}, {16, 1}, {64, 1}, {12, 4}, {128, 1}})
          for (auto [sq, sk] :
               {std::pair<int64_t, int64_t>{1, 200}, {5, 5}, {16, 130}, {70, 70}, {33, 200}, {130, 64}}) {
            auto s = shaped({sq}, {sk}, d, t, causal);
            s.q_heads = hq, s.kv_heads = hkv;
            cases.push_back(attention_case(s, "query groups: heads that share a tile, and that cannot"));
            if (hq != 7)
              cases.push_back(
                  on_sm80(s, attention_case(s, "query groups: heads that share a tile, and that cannot")));
          }
        cases.push_back(attention_case(shaped({4, 1, 0, 33, 2, 200}, {4, 129, 10, 100, 0, 300}, d, t, causal),
                                       "variable lengths, one without queries, one without keys"));
        cases.push_back(attention_case(shaped({200, 10, 90}, {100, 5, 400}, d, t, causal),
                                       "variable lengths, more queries than keys"));
        std::vector<int64_t> many, their_keys;
        for (int64_t b = 0; b < 70; ++b) many.push_back(b * 7 % 23), their_keys.push_back(b * 31 % 140);
        cases.push_back(
            attention_case(shaped(many, their_keys, d, t, causal), "more sequences than a warp has lanes"));
      }
}

void add_hard(std::vector<OpCase>& cases) {
  for (const DType t : kHalves)
    for (const int64_t d : {64, 128})
      for (const bool causal : {true, false}) {
        for (const bool paged : {true, false})
          for (const int64_t sk : {1, 40, 64, 65, 100, 129, 200, 300}) {
            auto s = shaped({sk / 2 + 1, 30}, {sk, 77}, d, t, causal);
            s.paged = paged;
            cases.push_back(poisoned(s, "NaN wherever there is no live key"));
            if (paged) cases.push_back(on_sm80(s, poisoned(s, "NaN wherever there is no live key")));
          }
        for (const double value : {kNan, HUGE_VAL, -HUGE_VAL})
          for (const bool in_v : {true, false})
            for (const int64_t key : {0, 3, 64, 100, 149}) {
              const auto s = shaped({150}, {150}, d, t, causal);
              cases.push_back(
                  planted(s, in_v, key, value, "NaN or Inf reaches exactly the rows that see it"));
              cases.push_back(on_sm80(s, cases.back()));
            }
        for (const float factor : {0.0f, 0.01f, 8.0f, 60.0f})
          cases.push_back(scaled(shaped({130}, {300}, d, t, causal), factor,
                                 "flat and peaky scores: the running maximum's every path"));
        for (auto [sq, sk] : {std::pair<int64_t, int64_t>{100, 30}, {300, 1}, {5, 0}, {200, 0}, {0, 5}})
          cases.push_back(
              attention_case(shaped({sq}, {sk}, d, t, causal), "rows that see nothing give 0 and -inf"));
        auto s = shaped({100}, {130}, d, t, causal);
        for (const int64_t pitch : {d + 8, d + 64, d + 1}) {
          s.pitch = pitch;
          cases.push_back(attention_case(s, "pitched q and out; the last on no 16 bytes"));
        }
      }
}

void add_layouts(std::vector<OpCase>& cases) {
  for (const DType t : kHalves)
    for (const int64_t d : {64, 128})
      for (const bool causal : {true, false})
        for (const bool heads_first : {true, false})
          for (const int64_t length : {1, 50, 64, 100, 128, 200, 333}) {
            cases.push_back(dense(2, length, 4, 2, d, t, causal, heads_first));
            if (length == 200) cases.push_back(dense(3, length, 40, 10, d, t, causal, heads_first));
          }
  for (const bool causal : {true, false})
    for (const int64_t d : {64, 128}) {
      cases.push_back(attention_case(shaped({1500}, {1500}, d, DType::f16, causal), "many key tiles"));
      auto s = shaped({520}, {520}, d, DType::f16, causal);
      s.q_heads = 40, s.kv_heads = 40;
      cases.push_back(attention_case(s, "several tiles a block"));
    }
}

void add_other_dims(std::vector<OpCase>& cases) {
  for (const DType t : kHalves)
    for (const bool causal : {true, false})
      for (const int64_t d : {8, 16, 24, 32, 40, 48, 56, 72, 80, 96, 112, 160, 192, 256})
        for (auto [sq, sk] : {std::pair<int64_t, int64_t>{1, 100}, {70, 70}, {65, 200}}) {
          const auto s = shaped({sq}, {sk}, d, t, causal);
          cases.push_back(attention_case(s, "other head dimensions"));
          if (d <= 128) cases.push_back(on_sm80(s, cases.back()));
        }
}

}  // namespace

std::vector<OpCase> attention_f_on_gpu() {
  std::vector<OpCase> cases = attention_f_cases();
  add_edges(cases), add_masks(cases), add_hard(cases), add_layouts(cases), add_other_dims(cases);
  // NOTE: tensor cores cut off bits of their sums, always downwards, so scores and their LSE are off by some 2^-22 with a sign; the
  // plain version rounds to nearest, which averages out. 2^-21, times 8 since the rule allows the mean an eighth of the slack.
  for (OpCase& c : cases)
    for (harness::CaseArg& arg : c.args)
      if (arg.name == "lse") arg.relative_slack = 0x1p-18;
  return cases;
}

}  // namespace octavo::gpu
