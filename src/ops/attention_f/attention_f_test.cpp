#include <limits>
#include <map>

#include "harness/expect_cases.h"
#include "harness/isa_test.h"
#include "ops/attention_f/attention_f_cases.h"

namespace octavo {
namespace {

using harness::HostTensor;

class AttentionF : public harness::IsaTest {};
OCTAVO_EVERY_ISA(AttentionF);

TEST_P(AttentionF, MatchesTheSpecification) {
  auto cases = attention_f_cases();
  std::erase_if(cases, [](const harness::OpCase& c) { return c.perf; });
  harness::expect_cases(ctx, cases);
}

// attention_f_ref (keys converted once a head) against attention_f_ref_row (the plain loops), every bit of both.
template <class Real>
void expect_rows_one_by_one(const AttentionShape& s) {
  const harness::OpCase c = attention_case(s, "");
  const auto run = [&](auto&& reference) {
    std::vector<HostTensor> tensors = harness::make_args(c);
    std::vector<Tensor> views;
    for (const auto& t : tensors) views.push_back(t.view());
    HostTensor sums(DType::f64, tensors[8].shape());
    views[8] = sums.view();
    reference(attention_args(s, views));
    return std::pair(sums.bytes(), tensors[9].bytes());
  };
  const auto all = run([](const AttentionFArgs& a) { attention_f_ref<Real>(a); });
  const auto each = run([](const AttentionFArgs& a) {
    const int32_t* q_start = a.q_start.as<int32_t>();
    for (int64_t b = 0; b < a.kv_len.dim(0); ++b) {
      std::vector<Real> scores(static_cast<size_t>(a.kv_len.as<int32_t>()[b]));
      for (int64_t t = q_start[b]; t < q_start[b + 1]; ++t)
        for (int64_t h = 0; h < a.q.dim(1); ++h) attention_f_ref_row<Real>(a, b, t, h, scores.data());
    }
  });
  EXPECT_TRUE(all == each) << c.name;
}

TEST(AttentionFRef, AllRowsAreTheRowsOneByOne) {
  for (const DType kv : {DType::f32, DType::f16, DType::i8})
    for (const int64_t window : {0, 20})
      for (const bool causal : {true, false}) {
        const AttentionShape s{.queries = {5, 0, 70, 3},
                               .keys = {70, 4, 40, 0},
                               .head_dim = 37,
                               .kv = kv,
                               .causal = causal,
                               .window = window};
        expect_rows_one_by_one<double>(s), expect_rows_one_by_one<float>(s);
      }
}

// A cache of one kind with `sequences` sequences of `capacity` keys, filled, and queries for all of them.
struct Setting {
  int64_t sequences, pages, q_heads, kv_heads, head_dim;
  HostTensor q, k, v, k_scale, v_scale, table, q_start, kv_len, out, lse;

  Setting(std::vector<int64_t> queries, std::vector<int64_t> keys, int64_t q_heads_, int64_t kv_heads_,
          int64_t head_dim_, DType kv)
      : sequences(static_cast<int64_t>(keys.size())),
        q_heads(q_heads_),
        kv_heads(kv_heads_),
        head_dim(head_dim_) {
    int64_t tokens = 0, longest = 0;
    for (int64_t n : queries) tokens += n;
    for (int64_t n : keys) longest = std::max(longest, n);
    pages = (longest + 63) / 64;
    const int64_t pool = sequences * pages;
    q = HostTensor(DType::f32, {tokens, q_heads, head_dim}), q.fill_normal(1);
    k = HostTensor(kv, {pool, kv_heads, 64, head_dim}), v = HostTensor(kv, {pool, kv_heads, 64, head_dim});
    if (kv == DType::i8)
      k.fill_codes(2), v.fill_codes(3);
    else
      k.fill_normal(2), v.fill_normal(3);
    k_scale = HostTensor(DType::f32, {pool, kv_heads, 64}), k_scale.fill_uniform(4, 0.005, 0.02);
    v_scale = HostTensor(DType::f32, {pool, kv_heads, 64}), v_scale.fill_uniform(5, 0.005, 0.02);
    table = HostTensor(DType::i32, {pool}), shuffled_pages(table, 0);
    out = HostTensor(DType::f32, {tokens, q_heads, head_dim}),
    lse = HostTensor(DType::f32, {tokens, q_heads});
    q_start = HostTensor(DType::i32, {sequences + 1}), kv_len = HostTensor(DType::i32, {sequences});
    set_lengths(queries, keys);
  }
  void set_lengths(const std::vector<int64_t>& queries, const std::vector<int64_t>& keys) {
    double at = 0;
    q_start.set(0, 0);
    for (size_t b = 0; b < keys.size(); ++b) {
      q_start.set(static_cast<int64_t>(b) + 1, at += static_cast<double>(queries[b]));
      kv_len.set(static_cast<int64_t>(b), static_cast<double>(keys[b]));
    }
  }
  AttentionFArgs args() {
    AttentionFArgs a;
    a.q = q.view(), a.out = out.view(), a.lse = lse.view(), a.q_start = q_start.view(),
    a.kv_len = kv_len.view();
    a.kv = KvView::paged(k.dtype(), k.as<void>(), v.as<void>(), kv_heads, head_dim, pages);
    a.kv.k_scale = k_scale.as<float>(), a.kv.v_scale = v_scale.as<float>();
    a.kv.page_table = table.as<int32_t>();
    a.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(head_dim)));
    return a;
  }
};

void run(const Context& ctx, const AttentionFArgs& args) {
  Context with = ctx;
  const Buffer scratch(attention_f_workspace_bytes(ctx, args) + 1);
  std::memset(scratch.data(), 0xff, static_cast<size_t>(scratch.bytes()));
  with.workspace = Tensor(scratch.data(), DType::u8, {scratch.bytes()});
  attention_f(with, args);
}

using Bytes = std::vector<uint8_t>;
Bytes result(const Setting& s) {
  Bytes bytes = s.out.bytes(), lse = s.lse.bytes();
  bytes.insert(bytes.end(), lse.begin(), lse.end());
  return bytes;
}

constexpr DType kCaches[] = {DType::f32, DType::f16, DType::bf16, DType::i8};

TEST_P(AttentionF, SameBitsForEveryNumberOfThreads) {
  for (DType kv : kCaches)
    for (int64_t window : {0, 300}) {
      Setting decode({1}, {3000}, 8, 2, 64, kv), prompt({100, 3, 1}, {100, 2000, 700}, 6, 2, 40, kv);
      for (Setting* s : {&decode, &prompt}) {
        Bytes first;
        for (int threads : {1, 2, 3, 7}) {
          ThreadPool some(threads);
          ctx.pool = &some;
          s->out.fill(NAN), s->lse.fill(NAN);
          AttentionFArgs a = s->args();
          a.window = window;
          run(ctx, a);
          if (first.empty()) first = result(*s);
          EXPECT_EQ(result(*s), first)
              << threads << " threads, cache " << name_of(kv) << ", window " << window;
        }
      }
    }
}

TEST_P(AttentionF, APromptInChunksGivesTheBitsOfOneCall) {
  constexpr int64_t kPrompt = 150;
  for (DType kv : kCaches) {
    if (GetParam() == Isa::reference && kv != DType::i8)
      continue;  // its rows do not know of each other, and it is slow
    for (int64_t heads : {1, 2, 4, 8})
      for (int64_t window : {0, 70}) {
        Setting whole({kPrompt}, {kPrompt}, heads, heads > 4 ? 2 : 1, heads == 2 ? 20 : 64, kv);
        AttentionFArgs all = whole.args();
        all.window = window;
        run(ctx, all);
        const Bytes want = result(whole);
        for (int64_t chunk : {1, 3, 16, 64, 100}) {
          whole.out.fill(NAN), whole.lse.fill(NAN);
          for (int64_t at = 0; at < kPrompt; at += chunk) {
            const int64_t n = std::min(chunk, kPrompt - at);
            whole.set_lengths({n}, {at + n});
            AttentionFArgs part = all;
            part.q = ConstTensor(whole.q.as<float>() + at * heads * whole.head_dim, DType::f32,
                                 {n, heads, whole.head_dim});
            part.out = Tensor(whole.out.as<float>() + at * heads * whole.head_dim, DType::f32,
                              {n, heads, whole.head_dim});
            part.lse = Tensor(whole.lse.as<float>() + at * heads, DType::f32, {n, heads});
            run(ctx, part);
          }
          whole.set_lengths({kPrompt}, {kPrompt});
          EXPECT_EQ(result(whole), want) << "chunks of " << chunk << ", " << heads << " heads, cache "
                                         << name_of(kv) << ", window " << window;
        }
      }
  }
}

TEST_P(AttentionF, ASequenceKeepsItsBitsInEveryBatch) {
  for (DType kv : kCaches) {
    Setting batch({1, 33, 5, 1}, {1000, 33, 64, 129}, 4, 2, 64, kv);
    run(ctx, batch.args());
    const Bytes together = batch.out.bytes();
    const std::vector<int64_t> queries = {1, 33, 5, 1}, keys = {1000, 33, 64, 129};
    int64_t row = 0;
    for (size_t b = 0; b < keys.size(); ++b) {
      AttentionFArgs alone = batch.args();
      HostTensor start(DType::i32, {2}), length(DType::i32, {1}), out(DType::f32, {queries[b], 4, 64});
      start.set(0, 0), start.set(1, static_cast<double>(queries[b])),
          length.set(0, static_cast<double>(keys[b]));
      alone.q = ConstTensor(batch.q.as<float>() + row * 4 * 64, DType::f32, {queries[b], 4, 64});
      alone.q_start = start.view(), alone.kv_len = length.view(), alone.out = out.view(), alone.lse = {};
      alone.kv.page_table = batch.table.as<int32_t>() + static_cast<int64_t>(b) * batch.pages;
      run(ctx, alone);
      const Bytes got = out.bytes();
      EXPECT_TRUE(std::equal(got.begin(), got.end(), together.begin() + row * 4 * 64 * 4))
          << "sequence " << b << ", cache " << name_of(kv);
      row += queries[b];
    }
  }
}

// Everything that no query may see is NaN: unused slots of pages, their scales, keys before the window.
TEST_P(AttentionF, NanInUnusedSlotsDoesNotLeak) {
  for (DType kv : kCaches)
    for (int64_t window : {0, 50})
      for (int64_t queries : {1, 5, 40})
        for (int64_t head_dim : {20, 64}) {
          Setting s({queries, queries}, {131, 70}, 4, 2, head_dim, kv);
          AttentionFArgs a = s.args();
          a.window = window;
          run(ctx, a);
          const Bytes clean = result(s);
          for (int64_t b = 0; b < 2; ++b) {
            const auto keys = static_cast<int64_t>(s.kv_len.get(b));
            for (int64_t j = 0; j < s.pages * 64; ++j) {
              const bool live = j < keys && (window == 0 || j > keys - queries - window);
              for (int64_t h = 0; h < 2 && !live; ++h) {
                s.k_scale.set(a.kv.scale_offset(b, h, j), NAN),
                    s.v_scale.set(a.kv.scale_offset(b, h, j), NAN);
                for (int64_t d = 0; d < head_dim && kv != DType::i8; ++d)
                  s.k.set(a.kv.offset(b, h, j) + d, NAN), s.v.set(a.kv.offset(b, h, j) + d, NAN);
              }
            }
          }
          run(ctx, a);
          EXPECT_EQ(result(s), clean) << "cache " << name_of(kv) << ", window " << window << ", " << queries
                                      << " queries, D " << head_dim;
        }
}

TEST_P(AttentionF, NanInALaterTokenDoesNotReachEarlierRows) {
  Setting s({70}, {70}, 4, 2, 64, DType::f32);
  AttentionFArgs a = s.args();
  run(ctx, a);
  const Bytes clean = s.out.bytes();
  for (int64_t d = 0; d < 64; ++d)
    s.v.set(a.kv.offset(0, 0, 37) + d, NAN), s.k.set(a.kv.offset(0, 1, 37) + d, NAN);
  run(ctx, a);
  const Bytes poisoned = s.out.bytes();
  const size_t row = 4 * 64 * sizeof(float);
  EXPECT_TRUE(std::equal(clean.begin(), clean.begin() + 37 * static_cast<int64_t>(row), poisoned.begin()));
  for (int64_t i = 37 * 4 * 64; i < s.out.numel(); ++i) ASSERT_TRUE(std::isnan(s.out.get(i))) << i;
  EXPECT_FALSE(std::isnan(s.lse.get(37 * 4)));     // head 0: only v is NaN
  EXPECT_TRUE(std::isnan(s.lse.get(37 * 4 + 2)));  // head 2 reads KV head 1, whose key is NaN
}

TEST_P(AttentionF, ScoresOfMinusInfinityWeighNothing) {
  Setting s({1}, {200}, 1, 1, 8, DType::f32);
  AttentionFArgs a = s.args();
  s.q.fill(1.0);
  for (int64_t j = 0; j < 64; ++j) s.k.set(a.kv.offset(0, 0, j), -INFINITY);  // a whole leaf
  run(ctx, a);
  EXPECT_TRUE(std::isfinite(s.lse.get(0)) && std::isfinite(s.out.get(0)));
  for (int64_t j = 0; j < 200; ++j) s.k.set(a.kv.offset(0, 0, j), -INFINITY);
  run(ctx, a);  // as if fully masked
  EXPECT_EQ(s.lse.get(0), -INFINITY);
  EXPECT_EQ(s.out.get(0), 0.0);
}

TEST_P(AttentionF, ReadsACallersDenseCacheByItsStrides) {  // (B, T, H, D), as PyTorch users hold it
  constexpr int64_t kSequences = 2, kKeys = 100, kHeads = 2, kDim = 24;
  Setting paged({3, 3}, {kKeys, kKeys}, 4, kHeads, kDim, DType::f32);
  AttentionFArgs a = paged.args();
  HostTensor k(DType::f32, {kSequences, kKeys, kHeads, kDim}),
      v(DType::f32, {kSequences, kKeys, kHeads, kDim});
  for (int64_t b = 0; b < kSequences; ++b)
    for (int64_t j = 0; j < kKeys; ++j)
      for (int64_t h = 0; h < kHeads; ++h)
        for (int64_t d = 0; d < kDim; ++d) {
          const int64_t to = ((b * kKeys + j) * kHeads + h) * kDim + d, from = a.kv.offset(b, h, j) + d;
          k.set(to, paged.k.get(from)), v.set(to, paged.v.get(from));
        }
  run(ctx, a);
  const Bytes want = result(paged);
  paged.out.fill(NAN), paged.lse.fill(NAN);
  a.kv.k = k.as<void>(), a.kv.v = v.as<void>(), a.kv.page_table = nullptr;
  a.kv.token_stride = kHeads * kDim, a.kv.head_stride = kDim, a.kv.page_stride = 64 * kHeads * kDim,
  a.kv.sequence_stride = kKeys * kHeads * kDim;
  run(ctx, a);
  EXPECT_EQ(result(paged), want);
}

TEST_P(AttentionF, RowsOutsideEverySequenceStayUntouched) {
  Setting s({2, 2}, {10, 10}, 2, 1, 16, DType::f32);
  s.q_start.set(0, 1), s.q_start.set(1, 2), s.q_start.set(2, 3);
  s.out.fill(7.0);
  run(ctx, s.args());
  EXPECT_EQ(s.out.get(0), 7.0);
  EXPECT_EQ(s.out.get(3 * 2 * 16), 7.0);
  EXPECT_NE(s.out.get(2 * 16), 7.0);
}

TEST_P(AttentionF, NothingToDo) {
  Setting s({0}, {10}, 2, 1, 16, DType::f32);
  attention_f(ctx, s.args());
  EXPECT_EQ(s.out.damage(), "");
}

TEST(AttentionFVariant, IsTheBestOfTheInstructionSet) {
  Setting s({1}, {10}, 2, 1, 16, DType::f32);
  Context ctx;
  ctx.isa = Isa::reference;
  EXPECT_STREQ(attention_f_variant(ctx, s.args()), "reference");
  ctx.isa = Isa::avx2;
  EXPECT_STREQ(attention_f_variant(ctx, s.args()), "avx2_blocked");
  ctx.isa = Isa::avx512;
  EXPECT_STREQ(attention_f_variant(ctx, s.args()), "avx512_blocked");
}

void expect_usage_error(const std::function<void(Setting&, AttentionFArgs&)>& damage,
                        const std::string& message) {
  Setting s({3, 2}, {70, 10}, 4, 2, 16, DType::i8);
  AttentionFArgs a = s.args();
  Buffer scratch(1 << 20);
  Context ctx;
  ctx.workspace = Tensor(scratch.data(), DType::u8, {scratch.bytes()});
  attention_f(ctx, a);  // good before the damage
  damage(s, a);
  try {
    attention_f(ctx, a);
    ADD_FAILURE() << "accepted; expected: " << message;
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::usage);
    EXPECT_EQ(std::string(e.what()), "attention_f: " + message);
  }
}

TEST(AttentionFErrors, EveryArgument) {
  using S = Setting;
  using A = AttentionFArgs;
  float f[16 * 4 * 5] = {};
  expect_usage_error(
      [](S&, A& a) {
        a.q = ConstTensor(a.q.data(), DType::i32, {5, 4, 16});
      },
      "q is i32[5, 4, 16], expected one of: f32, f16, bf16");
  expect_usage_error(
      [](S&, A& a) {
        a.q = ConstTensor(a.q.data(), DType::f32, {5, 64});
      },
      "q is f32[5, 64], expected shape [any, any, any]");
  expect_usage_error(
      [](S&, A& a) {
        a.q = ConstTensor(a.q.data(), DType::f32, {5, 4, 16}, {64, 16, 2});
      },
      "q f32[5, 4, 16] has stride 2 in its last dimension, expected 1");
  expect_usage_error(
      [](S&, A& a) {
        a.q = ConstTensor(a.q.data(), DType::f32, {5, 0, 16});
      },
      "q is f32[5, 0, 16], expected at least 1 head of 1 element");
  expect_usage_error([](S&, A& a) { a.kv.dtype = DType::i32; },
                     "kv holds i32, expected one of: f32, f16, bf16, i8");
  expect_usage_error([](S&, A& a) { a.kv.head_dim = 32; }, "kv has head dimension 32, but q has 16");
  expect_usage_error([](S&, A& a) { a.kv.heads = 3; }, "kv has 3 heads, but q has 4; expected a divisor");
  expect_usage_error(
      [](S&, A& a) { a.kv.k_scale = nullptr; },
      "kv is i8 and has no k_scale or v_scale; INT8 needs one fp32 scale per page, head and key");
  expect_usage_error([](S&, A& a) { a.kv.v = nullptr; }, "kv has a null pointer for k or v");
  expect_usage_error(
      [&](S&, A& a) {
        a.out = Tensor(f, DType::f32, {5, 4, 15});
      },
      "out is f32[5, 4, 15], expected shape [5, 4, 16]");
  expect_usage_error(
      [&](S&, A& a) {
        a.out = Tensor(f, DType::f16, {5, 4, 16});
      },
      "out is f16[5, 4, 16], expected one of: f32");
  expect_usage_error(
      [&](S&, A& a) {
        a.out = Tensor(nullptr, DType::f32, {5, 4, 16});
      },
      "out is f32[5, 4, 16] with a null pointer");
  expect_usage_error(
      [&](S&, A& a) {
        a.lse = Tensor(f, DType::f32, {5, 2});
      },
      "lse is f32[5, 2], expected shape [5, 4]");
  expect_usage_error(
      [&](S&, A& a) {
        a.lse = Tensor(f, DType::f16, {5, 4});
      },
      "lse is f16[5, 4], expected one of: f32");
  expect_usage_error([](S&, A& a) { a.kv_len = ConstTensor(a.kv_len.data(), DType::i64, {2}); },
                     "kv_len is i64[2], expected one of: i32");
  expect_usage_error([](S&, A& a) { a.kv_len = ConstTensor(a.kv_len.data(), DType::i32, {1}); },
                     "q_start is i32[3], expected shape [2]");
  expect_usage_error([](S& s, A&) { s.q_start.set(2, 6); }, "q_start runs from 0 to 6, but q has 5 rows");
  expect_usage_error([](S& s, A&) { s.q_start.set(1, 6); }, "q_start falls from 6 to 5 at sequence 1");
  expect_usage_error([](S& s, A&) { s.kv_len.set(1, 129); },
                     "kv_len is 129 for sequence 1, but the cache holds 0 to 128 keys a sequence");
  expect_usage_error([](S& s, A&) { s.kv_len.set(0, -1); },
                     "kv_len is -1 for sequence 0, but the cache holds 0 to 128 keys a sequence");
  expect_usage_error([](S& s, A&) { s.table.set(1, -1); },
                     "kv has page table entry -1 for page 1 of sequence 0, which holds keys");
  expect_usage_error([](S&, A& a) { a.scale = INFINITY; }, "scale is inf, expected a finite number");
  expect_usage_error([](S&, A& a) { a.window = -1; }, "window is -1, expected 0 (all keys) or more");
}

TEST_P(AttentionF, AWorkspaceThatIsTooSmallIsNamed) {
  Setting s({3}, {70}, 4, 2, 16, DType::f32);
  const int64_t needed = attention_f_workspace_bytes(ctx, s.args());
  Buffer scratch(needed);
  ctx.workspace = Tensor(scratch.data(), DType::u8, {needed});
  attention_f(ctx, s.args());
  ctx.workspace = Tensor(scratch.data(), DType::u8, {needed - 1});
  try {
    attention_f(ctx, s.args());
    ADD_FAILURE() << "accepted";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::usage);
    EXPECT_EQ(
        std::string(e.what()),
        fmt::format("attention_f: workspace holds {} bytes, needs {}; allocate attention_f_workspace_bytes()",
                    needed - 1, needed));
  }
}

TEST_P(AttentionF, StaysInsideItsWorkspace) {
  for (auto [queries, keys] : {std::pair<int64_t, int64_t>{1, 4000}, {64, 64}, {33, 500}}) {
    Setting s({queries}, {keys}, 6, 2, 40, DType::f16);
    HostTensor scratch(DType::u8, {attention_f_workspace_bytes(ctx, s.args())}, 0, 3);
    ctx.workspace = scratch.view();
    attention_f(ctx, s.args());
    EXPECT_EQ(scratch.damage(), "");
  }
}

}  // namespace
}  // namespace octavo
