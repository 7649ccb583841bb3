// Time grows with the length of a text, whatever it holds: 2.3 times at most for each doubling.
#include <gtest/gtest.h>
#include <time.h>

#include <nlohmann/json.hpp>

#include "tokenizer/tokenizer.h"
#include "tokenizer/unicode.h"
#include "tokenizer/utf8.h"

namespace octavo::tokenizer {
namespace {

using nlohmann::json;

// Of this thread on the CPU, so that a busy machine does not matter much.
double thread_seconds() {
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

double seconds_for(const Tokenizer& tokenizer, const std::string& text) {
  const double start = thread_seconds();
  tokenizer.encode(text);
  return thread_seconds() - start;
}

std::string run_of(char32_t c, size_t bytes) {
  std::string text;
  while (text.size() < bytes) append_utf8(text, c);
  return text;
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr size_t kBytes = 1 << 17;
#else
constexpr size_t kBytes = 1 << 20;
#endif
constexpr int kMostPairs = 20;
constexpr double kFourDoublings = 2.3 * 2.3 * 2.3 * 2.3;

// Over four doublings, 2.3 each: between any two sizes a cache or the allocator's page limit may lie, which costs once.
// NOTE: the best of up to 20 pairs: what another process does to the caches only adds time, and a quadratic step shows as a
// factor of 256 against the 28 that are allowed.
void expect_linear(const Tokenizer& tokenizer, const std::string& text, const std::string& what) {
  size_t part = text.size() / 16;
  while ((static_cast<unsigned char>(text[part]) & 0xc0) == 0x80) ++part;
  double small = 1e9, whole = 1e9;
  for (int pair = 0; pair < kMostPairs && (pair < 2 || whole > kFourDoublings * small); ++pair) {
    small = std::min(small, seconds_for(tokenizer, text.substr(0, part)));
    whole = std::min(whole, seconds_for(tokenizer, text));
  }
  EXPECT_LE(whole, kFourDoublings * small)
      << what << ": " << small << " s, sixteen times as long " << whole << " s";
}

// A character of each general category, and eleven that tokenizers treat in ways of their own.
std::vector<char32_t> forty_characters() {
  std::vector<char32_t> characters{U' ',      U'\n',     U'\'',     U'0',          U'\u00e9',    U'\u4e00',
                                   U'\uac01', U'\u0301', U'\u2581', U'\U0001f600', U'\U0010ffff'};
  for (int i = 0; i < kCategories; ++i)
    if (const auto category = static_cast<Category>(i); category != Category::Cs)
      characters.push_back(static_cast<char32_t>(ranges_of(set_of(category))[0].first));
  return characters;
}

TEST(Time, AMebibyteOfOneCharacter) {
  const Tokenizer demo = Tokenizer::load(std::string(OCTAVO_SOURCE_DIR) + "/models/demo");
  const auto characters = forty_characters();
  ASSERT_EQ(characters.size(), 40u);
  for (const char32_t c : characters)
    expect_linear(demo, run_of(c, kBytes), "U+" + std::to_string(static_cast<uint32_t>(c)));
}

Tokenizer with_parts(json model, json normalizer, json pre_tokenizer) {
  const json document = {{"version", "1.0"},  {"added_tokens", json::array()},  {"normalizer", normalizer},
                         {"model", model},    {"pre_tokenizer", pre_tokenizer}, {"post_processor", nullptr},
                         {"decoder", nullptr}};
  return Tokenizer::parse(document.dump(), "tokenizer.json");
}

// The other models, with words as long as the text.
TEST(Time, OtherModels) {
  const json nothing;
  const json vocab = {{"<u>", 0}, {"a", 1},   {"aa", 2},   {"aaaa", 3},
                      {"b", 4},   {"##a", 5}, {"##aa", 6}, {" ", 7}};
  const json bert = {{"type", "BertNormalizer"},
                     {"clean_text", true},
                     {"handle_chinese_chars", true},
                     {"strip_accents", nullptr},
                     {"lowercase", true}};
  const json unigram = json::parse(
      R"({"type": "Unigram", "unk_id": 0, "vocab": [["<u>", 0], ["a", -2], ["aa", -3], ["aaaa", -5], ["_", -4]]})");
  const std::pair<const char*, Tokenizer> tokenizers[] = {
      {"out of order BPE",
       with_parts({{"type", "BPE"}, {"unk_token", "<u>"}, {"vocab", vocab}, {"merges", {"aa aa", "a a"}}},
                  nothing, nothing)},
      {"WordPiece", with_parts({{"type", "WordPiece"},
                                {"unk_token", "<u>"},
                                {"max_input_chars_per_word", 1 << 30},
                                {"vocab", vocab}},
                               bert, {{"type", "BertPreTokenizer"}})},
      {"Unigram",
       with_parts(unigram, {{"type", "NFKC"}}, {{"type", "Metaspace"}, {"replacement", "\u2581"}})},
      {"splits",
       with_parts({{"type", "WordLevel"}, {"unk_token", "<u>"}, {"vocab", vocab}},
                  {{"type", "Replace"}, {"pattern", {{"Regex", "\\s{2,}|b+"}}}, {"content", " "}},
                  {{"type", "Sequence"},
                   {"pretokenizers",
                    {{{"type", "UnicodeScripts"}},
                     {{"type", "Digits"}, {"individual_digits", true}},
                     {{"type", "Split"},
                      {"pattern",
                       {{"Regex", "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+|\\s+"}}},
                      {"behavior", "Isolated"},
                      {"invert", false}}}}})}};
  for (const auto& [name, tokenizer] : tokenizers)
    for (const char32_t c : {U'a', U' ', U'b', U'\u00e9', U'\u0301', U'\u4e00', U'1'})
      expect_linear(tokenizer, run_of(c, kBytes / 2),
                    name + (", U+" + std::to_string(static_cast<uint32_t>(c))));
}

TEST(Time, Decoding) {
  const Tokenizer demo = Tokenizer::load(std::string(OCTAVO_SOURCE_DIR) + "/models/demo");
  const auto seconds = [&](size_t count) {
    std::vector<int32_t> ids(count);
    for (size_t i = 0; i < count; ++i)
      ids[i] = static_cast<int32_t>(1 + i % 256);  // bytes, many of them invalid
    const double start = thread_seconds();
    demo.decode(ids);
    return thread_seconds() - start;
  };
  double few = 1e9, many = 1e9;
  for (int pair = 0; pair < kMostPairs && (pair < 2 || many > kFourDoublings * few); ++pair)
    few = std::min(few, seconds(25'000)), many = std::min(many, seconds(400'000));
  EXPECT_LE(many, kFourDoublings * few) << few << " s, sixteen times as many " << many << " s";
}

}  // namespace
}  // namespace octavo::tokenizer
