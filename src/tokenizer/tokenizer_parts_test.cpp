// The parts by themselves: patterns against PCRE2, merging against its definition, limits on hostile input, time.
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <nlohmann/json.hpp>
#include <thread>

#include "harness/random.h"
#include "tokenizer/bpe_merge.h"
#include "tokenizer/byte_trie.h"
#include "tokenizer/splitters.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/unicode.h"
#include "tokenizer/utf8.h"

namespace octavo::tokenizer {
namespace {

using harness::random_bits;
using nlohmann::json;

const json kNothing;
Regex regex(const std::string& pattern) { return Regex(pattern, JsonNode(kNothing, "file.json", "pattern")); }

std::vector<std::string> matches(const std::string& pattern, const std::string& text) {
  std::vector<Span> spans;
  regex(pattern).split(text, spans);
  std::vector<std::string> found;
  for (const Span& s : spans)
    if (s.is_match) found.push_back(text.substr(s.begin, s.end - s.begin));
  return found;
}
using Strings = std::vector<std::string>;

std::string random_text(uint64_t seed, size_t most) {
  static const std::u32string kEdges =
      U" \t\n\r\u00a0\u180e\u3000'sStTlLdreve\u017f019\u00b2\u0660\u4e00\u0301\u200b.!"
      U"\U0001f600\U0001e4d0\U00010d40";
  std::string text;
  const size_t n = random_bits(seed, 0) % most;
  for (size_t i = 1; i <= n; ++i) {
    const uint64_t r = random_bits(seed, i);
    char32_t c = r % 8 < 6 ? kEdges[(r >> 8) % kEdges.size()] : (r >> 8) % 0x110000;
    if (c >= 0xd800 && c < 0xe000) c = 'a';
    append_utf8(text, c);
  }
  return text;
}

TEST(Splitters, EqualTheirPatternsOnPcre2) {
  for (const std::string_view pattern : {kGpt2Pattern, kLlama3Pattern, kQwen2Pattern}) {
    const Splitter splitter = *splitter_for(pattern);
    const Regex reference = regex(std::string(pattern));
    for (uint64_t seed = 0; seed < 5000; ++seed) {
      const std::string text = random_text(seed, 30);
      std::vector<Span> got, want;
      split_with(splitter, text, got);
      reference.split(text, want);
      ASSERT_EQ(got.size(), want.size()) << pattern << " on " << json(text).dump(-1, ' ', true);
      for (size_t i = 0; i < got.size(); ++i) {
        ASSERT_EQ(got[i].end, want[i].end) << pattern << " on " << json(text).dump(-1, ' ', true);
        ASSERT_TRUE(want[i].is_match);
      }
    }
  }
  EXPECT_EQ(splitter_for(R"(\s+)"), std::nullopt);
}

TEST(RegexTranslation, RubyMeaning) {
  EXPECT_EQ(matches(R"(\s)", "a\u180e\u00a0\u200b\u3000"), (Strings{"\u00a0", "\u3000"}));
  EXPECT_EQ(matches(R"(\h+)", "xyz12aFg"), (Strings{"12aF"}));
  EXPECT_EQ(matches("^.", "ab\ncd"), (Strings{"a", "c"}));
  EXPECT_EQ(matches("(?m:a.b)", "a\nb"), (Strings{"a\nb"}));
  EXPECT_EQ(matches("a.b", "a\nb"), Strings{});
  EXPECT_EQ(matches("a{2}+b", "aaaab"), (Strings{"aaaab"}));
  EXPECT_EQ(matches("a++a", "aaa"), Strings{});
  EXPECT_EQ(matches("(?i:'s)", "'S'\u017f"), (Strings{"'S", "'\u017f"}));
  EXPECT_EQ(matches(R"(\w)", "\u00b2"), (Strings{"\u00b2"}));
  EXPECT_EQ(matches(R"([\w])", "\u00b2"), Strings{});
  EXPECT_EQ(matches(R"([^\s\p{L}]+)", "ab1\u0660 !"), (Strings{"1\u0660", "!"}));
  EXPECT_EQ(matches(R"(\p{^L}|\P{N})", "1a"), (Strings{"1", "a"}));
  EXPECT_EQ(matches(R"(\p{L}+)", "\U0001e4d0\U00010d4a"), (Strings{"\U0001e4d0\U00010d4a"}))
      << "letters of Unicode 15 and 16";
  EXPECT_EQ(matches(R"([\p{Cn}])", "\U0001e4d0"), Strings{});
  EXPECT_EQ(matches(R"(\bfoo\b)", "foo foox \u00e9foo"), (Strings{"foo"}));
  EXPECT_EQ(matches(R"(\u00e9|\x{1F600})", "\u00e9\U0001f600"), (Strings{"\u00e9", "\U0001f600"}));
  EXPECT_EQ(matches(R"([]a]+|{)", "a]{"), (Strings{"a]", "{"}));
}

TEST(RegexTranslation, WhatIsNotSupportedIsNamed) {
  const std::pair<const char*, const char*> cases[] = {{"[a&&b]", "&& in a character class"},
                                                       {"[a[b]]", "[ inside a character class"},
                                                       {R"(\X)", "escape \\X"},
                                                       {R"(\p{Han})", "property \\p{Han}"},
                                                       {"(?x) a", "group (?x"},
                                                       {"(?i)a|b", "a flag before alternatives"},
                                                       {"(a", "not closed"},
                                                       {"[a", "not closed"},
                                                       {R"(\)", "a backslash"},
                                                       {R"(\xff)", "a single byte"},
                                                       {R"(\x{110000})", "\\x{110000}"},
                                                       {"(?~a)", "group (?~"},
                                                       {"(?<n>a)", "group (?<"},
                                                       {"a)", "a ) without ("},
                                                       {"*", "quantifier"},
                                                       {R"(\p)", "\\p without"},
                                                       {"a{,3}", "interval without"},
                                                       {R"(\k<a>)", "escape \\k"}};
  for (const auto& [pattern, reason] : cases) {
    try {
      regex(pattern);
      ADD_FAILURE() << pattern;
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::bad_model);
      EXPECT_NE(std::string(e.what()).find(reason), std::string::npos) << e.what();
      EXPECT_EQ(std::string(e.what()).find("file.json: pattern: "), 0u) << e.what();
    }
  }
}

TEST(Regex, GivesUpInsteadOfHanging) {
  const auto start = std::chrono::steady_clock::now();
  try {
    std::vector<Span> spans;
    regex("(a+)+$").split(std::string(4000, 'a') + "b", spans);
    ADD_FAILURE() << "no limit was hit";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::usage);
    EXPECT_NE(std::string(e.what()).find("(a+)+$"), std::string::npos) << e.what();
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
}

// The definition: the lowest rank, the leftmost of equals, again and again.
std::vector<int32_t> merged_by_definition(const MergeTable& table, std::vector<int32_t> symbols) {
  for (;;) {
    size_t best = symbols.size();
    MergeTable::Merge merge{MergeTable::kNone, -1};
    for (size_t i = 0; i + 1 < symbols.size(); ++i)
      if (const auto m = table.find(symbols[i], symbols[i + 1]); m.rank < merge.rank) best = i, merge = m;
    if (best == symbols.size()) return symbols;
    symbols[best] = merge.id;
    symbols.erase(symbols.begin() + best + 1);
  }
}

// Merges of random tokens; `in_order`: only of tokens that exist already.
std::vector<MergeTable::Rule> random_rules(uint64_t seed, bool in_order) {
  std::vector<MergeTable::Rule> rules;
  for (int i = 0; i < 60; ++i) {
    const int tokens = in_order ? 4 + i : 64;
    rules.push_back({static_cast<int32_t>(random_bits(seed, 2 * i) % tokens),
                     static_cast<int32_t>(random_bits(seed, 2 * i + 1) % tokens), 4 + i});
  }
  return rules;
}

TEST(BpeMerge, EqualsTheDefinition) {
  MergeScratch scratch;
  for (uint64_t seed = 0; seed < 4000; ++seed) {
    const bool in_order = seed % 2;
    const MergeTable table(random_rules(seed / 20 * 2 + in_order, in_order));
    ASSERT_EQ(table.in_order(), in_order);
    std::vector<int32_t> symbols(random_bits(seed, 1000) % 150);
    for (size_t i = 0; i < symbols.size(); ++i) symbols[i] = random_bits(seed, i + 1001) % 4;
    const auto want = merged_by_definition(table, symbols);
    merge_symbols(table, symbols, scratch);
    ASSERT_EQ(symbols, want) << seed;
  }
}

TEST(BpeMerge, ALaterMergeOfTheSamePairCounts) {
  const MergeTable table({{0, 1, 4}, {0, 1, 5}});
  EXPECT_EQ(table.find(0, 1).id, 5);
  EXPECT_EQ(table.find(0, 1).rank, 1u);
  EXPECT_EQ(table.find(1, 0).rank, MergeTable::kNone);
  EXPECT_EQ(MergeTable().find(0, 0).rank, MergeTable::kNone);
}

TEST(ByteTrie, FindsAllPrefixes) {
  const ByteTrie trie({{"a", 1}, {"abc", 3}, {"b", 4}, {"", 9}, {"\xff", 5}});
  Strings found;
  trie.for_each_prefix("abcd", [&](int32_t value, size_t length) {
    found.push_back(std::to_string(value) + ":" + std::to_string(length));
  });
  EXPECT_EQ(found, (Strings{"1:1", "3:3"}));
  EXPECT_EQ(trie.longest("ab").value, 1);
  EXPECT_EQ(trie.longest("\xff\xff").length, 1u);
  EXPECT_EQ(trie.longest("c").value, -1);
  EXPECT_EQ(trie.longest("").value, -1);
  EXPECT_EQ(ByteTrie().longest("a").value, -1);
  EXPECT_TRUE(ByteTrie({{"", 1}}).empty());
}

TEST(Unicode, NormalForms) {
  EXPECT_EQ(normalize(U"e\u0301\u0323", NormalForm::nfc), U"\u1eb9\u0301");
  EXPECT_EQ(normalize(U"\u1eb9\u0301", NormalForm::nfd), U"e\u0323\u0301");
  EXPECT_EQ(normalize(U"\uac01", NormalForm::nfd), U"\u1100\u1161\u11a8");
  EXPECT_EQ(normalize(U"\u1100\u1161\u11a8", NormalForm::nfc), U"\uac01");
  EXPECT_EQ(normalize(U"\ufb01\u2460", NormalForm::nfkc), U"fi1");
  EXPECT_EQ(normalize(U"\u0958", NormalForm::nfc), U"\u0915\u093c") << "excluded from composition";
}

TEST(Unicode, Utf8OfEveryCodePoint) {
  for (char32_t c = 0; c < 0x110000; ++c) {
    std::string text;
    append_utf8(text, c);
    const bool surrogate = c >= 0xd800 && c < 0xe000;
    ASSERT_EQ(first_invalid_utf8(text), surrogate ? 0 : std::string::npos) << static_cast<uint32_t>(c);
    ASSERT_EQ(decode_utf8(text.data()).value, c);
    ASSERT_EQ(decode_utf8_before(text.data(), text.data() + text.size()).value, c);
  }
}

TEST(Threads, DeepTextOnASmallStack) {
  std::string text(1 << 20, 'x');
  for (size_t i = 0; i < text.size(); i += 3) text[i] = ' ';
  const Tokenizer demo = Tokenizer::load(std::string(OCTAVO_SOURCE_DIR) + "/models/demo");
  pthread_attr_t small;
  pthread_attr_init(&small);
  pthread_attr_setstacksize(&small, 256 << 10);
  std::pair<const Tokenizer*, const std::string*> job{&demo, &text};
  pthread_t thread;
  ASSERT_EQ(pthread_create(
                &thread, &small,
                [](void* p) -> void* {
                  const auto& [tokenizer, input] = *static_cast<decltype(job)*>(p);
                  tokenizer->encode(*input);
                  tokenizer->encode(std::string(1 << 20, 'y'));
                  return nullptr;
                },
                &job),
            0);
  pthread_join(thread, nullptr);
  pthread_attr_destroy(&small);
}

TEST(Threads, ShareOneTokenizer) {
  const Tokenizer demo = Tokenizer::load(std::string(OCTAVO_SOURCE_DIR) + "/models/demo");
  std::vector<std::string> texts;
  std::vector<std::vector<int32_t>> want;
  for (uint64_t seed = 0; seed < 200; ++seed)
    texts.push_back(random_text(seed, 200)), want.push_back(demo.encode(texts.back()));
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      for (size_t i = 0; i < texts.size(); ++i) EXPECT_EQ(demo.encode(texts[i]), want[i]);
    });
  for (auto& thread : threads) thread.join();
}

}  // namespace
}  // namespace octavo::tokenizer
