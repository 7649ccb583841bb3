// Ids and texts against the `tokenizers` package: recorded ones in git, and the real tokenizers under ../shared/data.
#include "tokenizer/tokenizer.h"

#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "harness/random.h"
#include "tokenizer/utf8.h"

namespace octavo {
namespace {

using harness::random_bits;
using nlohmann::json;
namespace fs = std::filesystem;

const fs::path kSource = OCTAVO_SOURCE_DIR;
const fs::path kShared = kSource / "../shared/data";
const fs::path kDemo = kSource / "models/demo";

std::string contents(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file) << path;
  return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

std::vector<std::string> split_at(const std::string& text, const std::string& separator) {
  std::vector<std::string> parts;
  size_t begin = 0;
  for (size_t at; (at = text.find(separator, begin)) != std::string::npos; begin = at + separator.size())
    parts.push_back(text.substr(begin, at - begin));
  parts.push_back(text.substr(begin));
  return parts;
}

std::vector<int32_t> numbers_in(const std::string& text) {
  std::istringstream in(text);
  std::vector<int32_t> numbers;
  for (int32_t n; in >> n;) numbers.push_back(n);
  return numbers;
}

// The text that a stream decoder gives, checked to be valid UTF-8 after every id.
std::string streamed(const Tokenizer& tokenizer, const std::vector<int32_t>& ids, bool skip_special) {
  StreamDecoder stream(tokenizer, skip_special);
  std::string text;
  for (const int32_t id : ids) {
    text += stream.push(id);
    EXPECT_EQ(tokenizer::first_invalid_utf8(text), std::string::npos) << "half a character after id " << id;
  }
  return text + stream.finish();
}

std::string random_text(uint64_t seed) {
  std::string text;
  const int characters = static_cast<int>(random_bits(seed, 0) % 40);
  for (int i = 1; i <= characters; ++i) {
    const uint64_t r = random_bits(seed, i);
    char32_t c = r % 8 < 4 ? 32 + (r >> 8) % 95 : r % 8 < 6 ? (r >> 8) % 0x800 : (r >> 8) % 0x110000;
    if (c >= 0xd800 && c < 0xe000) c = ' ';
    tokenizer::append_utf8(text, c);
  }
  return text;
}

ErrorKind kind_of_failure(const std::function<void()>& body, std::string& message) {
  try {
    body();
  } catch (const Error& e) {
    message = e.what();
    return e.kind();
  }
  ADD_FAILURE() << "nothing was thrown";
  return ErrorKind::runtime;
}

TEST(TokenizerDemo, FiveThousandStringsHaveTheIdsOfThePackage) {
  const Tokenizer tokenizer = Tokenizer::load(kDemo);
  int compared = 0;
  for (const std::string& line : lines_of(contents(kSource / "tests/goldens/tokenizer_demo.jsonl"))) {
    const json golden = json::parse(line);
    const auto text = golden["text"].get<std::string>();
    const auto ids = golden["ids"].get<std::vector<int32_t>>();
    EXPECT_EQ(tokenizer.encode(text, {.add_special_tokens = golden.value("special", false)}), ids) << line;
    ++compared;
  }
  EXPECT_EQ(compared, 5000);
}

TEST(TokenizerDemo, TokensAndTheirNames) {
  const Tokenizer tokenizer = Tokenizer::load(kDemo / "tokenizer.json");
  EXPECT_EQ(tokenizer.vocab_size(), 4096);
  EXPECT_EQ(tokenizer.bos_id(), 0);
  EXPECT_EQ(tokenizer.eos_id(), 0);
  EXPECT_EQ(tokenizer.unk_id(), std::nullopt);
  EXPECT_EQ(tokenizer.pad_id(), std::nullopt);
  EXPECT_EQ(tokenizer.id_of("<|endoftext|>"), 0);
  EXPECT_EQ(tokenizer.id_of("no such token"), std::nullopt);
  EXPECT_EQ(tokenizer.token(0), "<|endoftext|>");
  EXPECT_EQ(tokenizer.token(-1), "");
  EXPECT_EQ(tokenizer.token(4096), "");
  EXPECT_TRUE(tokenizer.is_special(0));
  EXPECT_FALSE(tokenizer.is_special(1));
  EXPECT_FALSE(tokenizer.is_special(-1));
  EXPECT_FALSE(tokenizer.is_special(1 << 30));
  EXPECT_TRUE(tokenizer.warnings().empty());
}

TEST(TokenizerDemo, SpecialTokensInTheText) {
  const Tokenizer tokenizer = Tokenizer::load(kDemo);
  const std::string text = "one<|endoftext|>two";
  EXPECT_EQ(tokenizer.encode(text)[0], 0);
  EXPECT_EQ(std::ranges::count(tokenizer.encode(text), 0), 2);
  const auto as_text = tokenizer.encode(text, {.add_special_tokens = false, .parse_special = false});
  EXPECT_EQ(std::ranges::count(as_text, 0), 0);
  EXPECT_EQ(tokenizer.decode(as_text, true), text);
  EXPECT_EQ(tokenizer.decode(tokenizer.encode(text), true), "onetwo");
  EXPECT_EQ(tokenizer.decode(tokenizer.encode(text), false), "<|endoftext|>" + text);
}

TEST(TokenizerDemo, TenThousandTextsComeBack) {
  const Tokenizer tokenizer = Tokenizer::load(kDemo);
  for (uint64_t seed = 0; seed < 10'000; ++seed) {
    const std::string text = random_text(seed);
    const auto ids = tokenizer.encode(text, {.add_special_tokens = false, .parse_special = false});
    ASSERT_EQ(tokenizer.decode(ids, false), text) << "seed " << seed;
  }
}

TEST(TokenizerDemo, StreamEqualsDecodeForRandomIds) {
  const Tokenizer tokenizer = Tokenizer::load(kDemo);
  for (uint64_t seed = 0; seed < 3000; ++seed) {
    std::vector<int32_t> ids(random_bits(seed, 0) % 30);
    for (size_t i = 0; i < ids.size(); ++i) ids[i] = random_bits(seed, i + 1) % (seed % 2 ? 4096 : 260);
    for (const bool skip : {true, false})
      ASSERT_EQ(streamed(tokenizer, ids, skip), tokenizer.decode(ids, skip)) << "seed " << seed;
  }
}

TEST(TokenizerDemo, StreamHandsTextOutAtOnceAndStartsAfresh) {
  const Tokenizer tokenizer = Tokenizer::load(kDemo);
  StreamDecoder stream(tokenizer);
  for (int round = 0; round < 2; ++round) {
    std::string expected;
    for (const int32_t id : tokenizer.encode("The old house stood alone.")) {
      const std::string token = id == 0 ? "" : tokenizer.decode(std::vector{id});
      EXPECT_EQ(stream.push(id), token);
    }
    EXPECT_EQ(stream.finish(), "");
    const auto euro = tokenizer.encode("€", {.add_special_tokens = false});
    ASSERT_GT(euro.size(), 1u);
    EXPECT_EQ(stream.push(euro[0]), "");
    EXPECT_EQ(stream.finish(), "\xef\xbf\xbd") << "an unfinished character at the end";
  }
}

TEST(TokenizerDemo, BadInputIsRefusedWithItsPlace) {
  const Tokenizer tokenizer = Tokenizer::load(kDemo);
  std::string message;
  const std::map<std::string, size_t> bad = {
      {"abc\xff", 3},          {"\xc0\x80", 0},          {"ab\xe2\x82", 2}, {"0123456789\xed\xa0\x80", 10},
      {"\xf4\x90\x80\x80", 0}, {"a\xf0\x80\x80\x80", 1}, {"\x80", 0}};
  for (const auto& [text, offset] : bad) {
    EXPECT_EQ(kind_of_failure([&] { tokenizer.encode(text); }, message), ErrorKind::usage);
    EXPECT_NE(message.find("at byte " + std::to_string(offset) + " "), std::string::npos) << message;
  }
  StreamDecoder stream(tokenizer);
  for (const int32_t id : {-1, 4096, INT32_MAX, INT32_MIN}) {
    EXPECT_EQ(kind_of_failure([&] { tokenizer.decode(std::vector{1, id}); }, message), ErrorKind::usage);
    EXPECT_NE(message.find(std::to_string(id)), std::string::npos) << message;
    EXPECT_NE(message.find("4096"), std::string::npos) << message;
    EXPECT_EQ(kind_of_failure([&] { stream.push(id); }, message), ErrorKind::usage);
  }
  EXPECT_EQ(tokenizer.decode(std::vector<int32_t>{}), "");
  EXPECT_EQ(tokenizer.encode("", {.add_special_tokens = false}), std::vector<int32_t>{});
  EXPECT_EQ(kind_of_failure([&] { tokenizer.encode(std::string((64 << 20) + 1, 'a')); }, message),
            ErrorKind::usage);
  EXPECT_NE(message.find("67108865"), std::string::npos) << message;
}

// Models by name, and tokenizers that refer to them.
TEST(TokenizerSmall, EveryKindOfTokenizerHasTheIdsAndTextsOfThePackage) {
  std::map<std::string, json> models;
  int tokenizers = 0;
  for (const std::string& line : lines_of(contents(kSource / "tests/goldens/tokenizer_small.jsonl"))) {
    const json golden = json::parse(line);
    if (golden.contains("model")) {
      json model = golden.contains("like") ? models.at(golden["like"]) : json::object();
      model.update(golden["json"]);
      models[golden["model"]] = model;
      continue;
    }
    json document = golden["json"];
    document["model"] = models.at(document["model"]);
    const auto name = golden["tokenizer"].get<std::string>();
    const Tokenizer tokenizer = Tokenizer::parse(document.dump(), name);
    for (const json& c : golden["encode"]) {
      const int flags = c[1];
      EXPECT_EQ(tokenizer.encode(c[0].get<std::string>(), {bool(flags & 1), bool(flags & 2)}),
                c[2].get<std::vector<int32_t>>())
          << name << c;
    }
    for (const json& c : golden["decode"]) {
      const auto ids = c[0].get<std::vector<int32_t>>();
      EXPECT_EQ(tokenizer.decode(ids, c[1]), c[2].get<std::string>()) << name << c;
      EXPECT_EQ(streamed(tokenizer, ids, c[1]), c[2].get<std::string>()) << name << c;
    }
    ++tokenizers;
  }
  EXPECT_EQ(tokenizers, 17);
}

class SharedData : public ::testing::Test {
 protected:
  static Tokenizer load_or_skip(const std::string& path, bool& present) {
    present = fs::exists(kShared / path);
    return Tokenizer::load(present ? kShared / path : kDemo);
  }
};

#define OCTAVO_LOAD_SHARED(name, path)                       \
  bool present_##name = false;                               \
  const Tokenizer name = load_or_skip(path, present_##name); \
  if (!present_##name) GTEST_SKIP() << (kShared / (path)) << " is absent"

TEST_F(SharedData, Gpt2OnTheVectorsOfLlamaCpp) {
  OCTAVO_LOAD_SHARED(tokenizer, "gpt2-tokenizer/tokenizer.json");
  const auto inputs =
      split_at(contents(kShared / "tokenizer-vectors/ggml-vocab-gpt-2.gguf.inp"), "\n__ggml_vocab_test__\n");
  const auto outputs = split_at(contents(kShared / "tokenizer-vectors/ggml-vocab-gpt-2.gguf.out"), "\n");
  ASSERT_EQ(inputs.size(), 47u);
  ASSERT_GE(outputs.size(), 47u);
  for (size_t i = 0; i < inputs.size(); ++i) {
    EXPECT_EQ(tokenizer.encode(inputs[i]), numbers_in(outputs[i])) << inputs[i];
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(inputs[i])), inputs[i]);
  }
}

TEST_F(SharedData, NeoxOnTheVectorsOfMpt) {  // MPT uses GPT-NeoX's tokenizer
  OCTAVO_LOAD_SHARED(tokenizer, "neox-tokenizer/tokenizer.json");
  const auto inputs =
      split_at(contents(kShared / "tokenizer-vectors/ggml-vocab-mpt.gguf.inp"), "\n__ggml_vocab_test__\n");
  const auto outputs = split_at(contents(kShared / "tokenizer-vectors/ggml-vocab-mpt.gguf.out"), "\n");
  ASSERT_EQ(inputs.size(), 47u);
  ASSERT_GE(outputs.size(), 47u);
  for (size_t i = 0; i < inputs.size(); ++i)
    EXPECT_EQ(tokenizer.encode(inputs[i]), numbers_in(outputs[i])) << inputs[i];
}

// bert-base-uncased as its tokenizer.json is, around the vocabulary that is there as text.
TEST_F(SharedData, BertOnTheVectorsOfBge) {
  if (!fs::exists(kShared / "bert-vocab")) GTEST_SKIP() << (kShared / "bert-vocab") << " is absent";
  json vocab;
  for (const std::string& line : lines_of(contents(kShared / "bert-vocab/vocab.txt")))
    vocab[line] = vocab.size();
  const json document = {{"version", "1.0"},
                         {"normalizer",
                          {{"type", "BertNormalizer"},
                           {"clean_text", true},
                           {"handle_chinese_chars", true},
                           {"strip_accents", nullptr},
                           {"lowercase", true}}},
                         {"pre_tokenizer", {{"type", "BertPreTokenizer"}}},
                         {"model", {{"type", "WordPiece"}, {"unk_token", "[UNK]"}, {"vocab", vocab}}}};
  const Tokenizer tokenizer = Tokenizer::parse(document.dump(), "bert");
  const auto inputs = split_at(contents(kShared / "tokenizer-vectors/ggml-vocab-bert-bge.gguf.inp"),
                               "\n__ggml_vocab_test__\n");
  const auto outputs = split_at(contents(kShared / "tokenizer-vectors/ggml-vocab-bert-bge.gguf.out"), "\n");
  ASSERT_EQ(inputs.size(), 47u);
  ASSERT_GE(outputs.size(), 47u);
  for (size_t i = 0; i < inputs.size(); ++i)
    EXPECT_EQ(tokenizer.encode(inputs[i]), numbers_in(outputs[i])) << inputs[i];
}

TEST_F(SharedData, StoriesIsALlama2Tokenizer) {
  OCTAVO_LOAD_SHARED(tokenizer, "stories260K/hf");
  EXPECT_EQ(tokenizer.bos_id(), 1);
  EXPECT_EQ(tokenizer.eos_id(), 2);
  EXPECT_EQ(tokenizer.unk_id(), 0);
  EXPECT_EQ(tokenizer.encode(""), std::vector<int32_t>{1});
  EXPECT_EQ(tokenizer.encode("Once upon a time, é😀"),
            (std::vector<int32_t>{1, 403, 407, 261, 378, 432, 410, 485, 243, 162, 155, 131}));
  const std::string text = contents(kShared / "stories260K/expected_greedy.txt");
  EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), text);
  EXPECT_EQ(streamed(tokenizer, tokenizer.encode(text), true), text);
}

TEST_F(SharedData, StreamOfByteFallbackEqualsDecodeForRandomIds) {
  OCTAVO_LOAD_SHARED(tokenizer, "stories260K/hf");
  for (uint64_t seed = 0; seed < 3000; ++seed) {
    std::vector<int32_t> ids(random_bits(seed, 0) % 20);
    for (size_t i = 0; i < ids.size(); ++i) ids[i] = random_bits(seed, i + 1) % (seed % 2 ? 512 : 262);
    for (const bool skip : {true, false})
      ASSERT_EQ(streamed(tokenizer, ids, skip), tokenizer.decode(ids, skip)) << "seed " << seed;
  }
}

}  // namespace
}  // namespace octavo
