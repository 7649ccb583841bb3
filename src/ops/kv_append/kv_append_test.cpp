#include <cmath>
#include <functional>

#include "core/quantizer.h"
#include "core/thread_pool.h"
#include "harness/expect_cases.h"
#include "harness/isa_test.h"
#include "ops/kv_append/kv_append_cases.h"

namespace octavo {
namespace {

using harness::HostTensor;

class KvAppend : public harness::IsaTest {};
OCTAVO_EVERY_ISA(KvAppend);

TEST_P(KvAppend, MatchesTheSpecification) {
  auto cases = kv_append_cases();
  std::erase_if(cases, [](const harness::OpCase& c) { return c.perf; });
  harness::expect_cases(ctx, cases);
}

struct Setting {
  HostTensor k, v, sequences, positions, table, cache_k, cache_v, k_scale, v_scale;
  int64_t heads, head_dim, pages;
  Setting(DType cache, int64_t tokens, int64_t heads_, int64_t head_dim_, int64_t pages_)
      : k(DType::f32, {tokens, heads_, head_dim_}),
        v(DType::f32, {tokens, heads_, head_dim_}),
        sequences(DType::i32, {tokens}),
        positions(DType::i32, {tokens}),
        table(DType::i32, {pages_}),
        cache_k(cache, {pages_, heads_, 64, head_dim_}),
        cache_v(cache, {pages_, heads_, 64, head_dim_}),
        k_scale(DType::f32, {pages_, heads_, 64}),
        v_scale(DType::f32, {pages_, heads_, 64}),
        heads(heads_),
        head_dim(head_dim_),
        pages(pages_) {
    k.fill_normal(1), v.fill_normal(2), sequences.fill(0);
    for (int64_t t = 0; t < tokens; ++t) positions.set(t, static_cast<double>(t));
    for (int64_t p = 0; p < pages; ++p) table.set(p, static_cast<double>(pages - 1 - p));
    for (HostTensor* t : {&cache_k, &cache_v, &k_scale, &v_scale}) t->fill(5);
  }
  KvAppendArgs args() {
    KvAppendArgs a;
    a.k = k.view(), a.v = v.view(), a.sequences = sequences.view(), a.positions = positions.view();
    a.cache = KvView::paged(cache_k.dtype(), cache_k.as<void>(), cache_v.as<void>(), heads, head_dim, pages);
    a.cache.page_table = table.as<int32_t>();
    a.cache.k_scale = k_scale.as<float>(), a.cache.v_scale = v_scale.as<float>();
    return a;
  }
  std::vector<uint8_t> everything() const {
    std::vector<uint8_t> all;
    for (const HostTensor* t : {&cache_k, &cache_v, &k_scale, &v_scale}) {
      const auto bytes = t->bytes();
      all.insert(all.end(), bytes.begin(), bytes.end());
    }
    return all;
  }
};

// What the page says, written a second way: rounding by the harness, codes from the scale.
TEST_P(KvAppend, WritesRoundedValuesAndNothingElse) {
  for (DType cache : {DType::f32, DType::f16, DType::bf16, DType::i8}) {
    Setting s(cache, 2, 2, 20, 3);
    s.positions.set(0, 130), s.positions.set(1, 63);
    KvAppendArgs a = s.args();
    a.sequences = {};  // absent: sequence 0
    kv_append(ctx, a);
    int64_t changed = 0;
    for (int64_t i = 0; i < s.cache_k.numel(); ++i) changed += s.cache_k.get(i) != 5;
    EXPECT_LE(changed, 2 * 2 * 20);
    for (int64_t t = 0; t < 2; ++t)
      for (int64_t h = 0; h < 2; ++h) {
        const int64_t page = t == 0 ? 0 : 2,
                      slot = t == 0 ? 2 : 63;  // 130 = 2 * 64 + 2; the table reverses 3 pages
        const int64_t to = ((page * 2 + h) * 64 + slot) * 20, from = (t * 2 + h) * 20;
        double amax = 0;
        for (int64_t d = 0; d < 20; ++d) amax = std::max(amax, std::abs(s.v.get(from + d)));
        for (int64_t d = 0; d < 20; ++d) {
          const double x = s.v.get(from + d), y = s.cache_v.get(to + d);
          if (cache == DType::i8) {
            EXPECT_NEAR(y, x * 127 / amax, 0.5 + 1e-4);
          } else {
            EXPECT_EQ(y, harness::round_to(cache, x));
          }
        }
        if (cache == DType::i8) {
          EXPECT_EQ(s.v_scale.get((page * 2 + h) * 64 + slot),
                    static_cast<double>(static_cast<float>(amax) / 127.0f));
        }
      }
  }
}

TEST_P(KvAppend, SameBitsForEveryNumberOfThreads) {
  for (DType cache : {DType::f32, DType::f16, DType::bf16, DType::i8}) {
    std::vector<uint8_t> first;
    for (int threads : {1, 2, 3, 7}) {
      ThreadPool some(threads);
      ctx.pool = &some;
      Setting s(cache, 500, 2, 64, 8);
      kv_append(ctx, s.args());
      if (first.empty()) first = s.everything();
      EXPECT_EQ(s.everything(), first) << threads << " threads, cache " << name_of(cache);
    }
  }
}

TEST_P(KvAppend, WritesACallersDenseCacheByItsStrides) {  // (T, H, D), no pages
  constexpr int64_t kTokens = 100, kHeads = 3, kDim = 10;
  Setting s(DType::f16, kTokens, kHeads, kDim, 2);
  HostTensor k(DType::f16, {kTokens, kHeads, kDim}), v(DType::f16, {kTokens, kHeads, kDim});
  KvAppendArgs a = s.args();
  a.cache.k = k.as<void>(), a.cache.v = v.as<void>(), a.cache.page_table = nullptr;
  a.cache.token_stride = kHeads * kDim, a.cache.head_stride = kDim, a.cache.page_stride = 64 * kHeads * kDim;
  kv_append(ctx, a);
  for (int64_t i = 0; i < k.numel(); ++i) {
    ASSERT_EQ(k.get(i), harness::round_to(DType::f16, s.k.get(i)));
    ASSERT_EQ(v.get(i), harness::round_to(DType::f16, s.v.get(i)));
  }
  EXPECT_EQ(k.damage() + v.damage(), "");
}

TEST(KvAppendVariant, ConvertsInVectorsAndCopiesPlainly) {
  Setting codes(DType::i8, 1, 1, 8, 1), floats(DType::f32, 1, 1, 8, 1);
  Context ctx;
  ctx.isa = Isa::avx2;
  EXPECT_STREQ(kv_append_variant(ctx, codes.args()), "avx2");
  EXPECT_STREQ(kv_append_variant(ctx, floats.args()), "reference");
  ctx.isa = Isa::avx512;
  EXPECT_STREQ(kv_append_variant(ctx, codes.args()), "avx512");
  ctx.isa = Isa::reference;
  EXPECT_STREQ(kv_append_variant(ctx, codes.args()), "reference");
}

void expect_usage_error(const std::function<void(Setting&, KvAppendArgs&)>& damage,
                        const std::string& message) {
  Setting s(DType::i8, 5, 2, 16, 2);
  KvAppendArgs a = s.args();
  damage(s, a);
  const auto before = s.everything();
  try {
    kv_append(Context{}, a);
    ADD_FAILURE() << "accepted; expected: " << message;
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::usage);
    EXPECT_EQ(std::string(e.what()), "kv_append: " + message);
  }
  EXPECT_EQ(s.everything(), before) << "something was written: " << message;
}

TEST(KvAppendErrors, EveryArgument) {
  using S = Setting;
  using A = KvAppendArgs;
  expect_usage_error([](S&, A& a) { a.cache.dtype = DType::u8; },
                     "cache holds u8, expected one of: f32, f16, bf16, i8");
  expect_usage_error([](S&, A& a) { a.cache.heads = 0; },
                     "cache has 0 heads of 16 elements and 2 pages a sequence, expected at least 1, 1 and 0");
  expect_usage_error(
      [](S&, A& a) {
        a.k = ConstTensor(a.k.data(), DType::i8, {5, 2, 16});
      },
      "k is i8[5, 2, 16], expected one of: f32, f16, bf16");
  expect_usage_error(
      [](S&, A& a) {
        a.k = ConstTensor(a.k.data(), DType::f32, {5, 2, 15});
      },
      "k is f32[5, 2, 15], expected shape [any, 2, 16]");
  expect_usage_error(
      [](S&, A& a) {
        a.k = ConstTensor(a.k.data(), DType::f32, {5, 2, 16}, {32, 16, 2});
      },
      "k f32[5, 2, 16] has stride 2 in its last dimension, expected 1");
  expect_usage_error(
      [](S&, A& a) {
        a.v = ConstTensor(a.v.data(), DType::f32, {4, 2, 16});
      },
      "v is f32[4, 2, 16], expected shape [5, 2, 16]");
  expect_usage_error(
      [](S&, A& a) {
        a.v = ConstTensor(a.v.data(), DType::f16, {5, 2, 16});
      },
      "v is f16[5, 2, 16], expected one of: f32");
  expect_usage_error([](S&, A& a) { a.positions = ConstTensor(a.positions.data(), DType::i32, {4}); },
                     "positions is i32[4], expected shape [5]");
  expect_usage_error([](S&, A& a) { a.positions = {}; }, "positions is f32[], expected one of: i32");
  expect_usage_error([](S&, A& a) { a.sequences = ConstTensor(a.sequences.data(), DType::i64, {5}); },
                     "sequences is i64[5], expected one of: i32");
  expect_usage_error([](S&, A& a) { a.cache.k = nullptr; }, "cache has a null pointer for k or v");
  expect_usage_error(
      [](S&, A& a) { a.cache.v_scale = nullptr; },
      "cache is i8 and has no k_scale or v_scale; INT8 needs one fp32 scale per page, head and key");
  expect_usage_error([](S& s, A&) { s.positions.set(4, 128); },
                     "positions puts token 4 at position 128 of sequence 0, but the cache holds 128 tokens a "
                     "sequence (2 pages of 64); make the context longer or the prompt shorter");
  expect_usage_error([](S& s, A&) { s.positions.set(3, -1); },
                     "positions puts token 3 at position -1 of sequence 0, but the cache holds 128 tokens a "
                     "sequence (2 pages of 64); make the context longer or the prompt shorter");
  expect_usage_error([](S& s, A&) { s.sequences.set(2, -3); },
                     "sequences names sequence -3 for token 2, expected 0 or more");
  expect_usage_error([](S& s, A&) { s.positions.set(4, 64), s.table.set(1, -1); },
                     "cache has no page for position 64 of sequence 0 (page table entry 1 is -1)");
}

}  // namespace
}  // namespace octavo
