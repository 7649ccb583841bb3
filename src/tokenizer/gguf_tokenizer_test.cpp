#include "tokenizer/gguf_tokenizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "formats/sample_gguf.h"
#include "harness/expect_error.h"
#include "harness/temp_folder.h"

namespace octavo {
namespace {

namespace fs = std::filesystem;
using harness::content_of;
using harness::expect_error;
using harness::TempFolder;
using B = GgufBuilder;
using Ids = std::vector<int32_t>;

const fs::path kGoldens = fs::path(OCTAVO_SOURCE_DIR) / "tests/goldens/gguf";
const fs::path kShared = fs::path(OCTAVO_SOURCE_DIR) / "../shared/data";

std::vector<std::string> split_at(const std::string& text, const std::string& mark) {
  std::vector<std::string> parts;
  size_t at = 0;
  for (size_t next; (next = text.find(mark, at)) != text.npos; at = next + mark.size())
    parts.push_back(text.substr(at, next - at));
  parts.push_back(text.substr(at));
  return parts;
}

struct GgufTokenizer : ::testing::Test {
  TempFolder folder;
  Tokenizer load(const B& b) {
    return load_gguf_tokenizer(GgufFile::open(folder.write("t.gguf", b.build())));
  }
};

// How byte-level BPE spells the 256 bytes: printable ones as themselves, the others from U+0100 on.
std::vector<std::string> byte_characters() {
  std::vector<std::string> all;
  int next = 0x100;
  for (int b = 0; b < 256; ++b) {
    const bool printable = (b >= 33 && b <= 126) || (b >= 161 && b != 173);
    const int c = printable ? b : next++;
    all.push_back(c < 0x80
                      ? std::string(1, static_cast<char>(c))
                      : std::string{static_cast<char>(0xc0 | c >> 6), static_cast<char>(0x80 | (c & 0x3f))});
  }
  return all;
}

B byte_level() {
  std::vector<std::string> tokens;
  for (char c = 'a'; c <= 'z'; ++c) tokens.push_back(std::string(1, c));
  tokens.insert(tokens.end(),
                {"\xc4\xa0", "1", "2", "3", "th", "the", "\xc4\xa0the", "12", "<|end|>", "<tool>"});
  for (const std::string& byte : byte_characters())
    if (std::find(tokens.begin(), tokens.end(), byte) == tokens.end()) tokens.push_back(byte);
  std::vector<int32_t> types(tokens.size(), 1);
  types[34] = 3, types[35] = 4;
  B b;
  b.string("tokenizer.ggml.model", "gpt2").strings("tokenizer.ggml.tokens", tokens);
  b.numbers("tokenizer.ggml.token_type", 5, types);
  b.strings("tokenizer.ggml.merges", {"t h", "th e", "\xc4\xa0 the", "1 2"});
  return b.u32("tokenizer.ggml.bos_token_id", 34).u32("tokenizer.ggml.eos_token_id", 34);
}

TEST_F(GgufTokenizer, ByteLevelTokens) {
  const Tokenizer t = load(byte_level());
  EXPECT_EQ(t.encode("the the"), (Ids{31, 32}));
  EXPECT_EQ(t.encode("a<|end|>b<tool>"), (Ids{0, 34, 1, 35}));
  EXPECT_TRUE(t.is_special(34));
  EXPECT_FALSE(t.is_special(35));
  EXPECT_EQ(t.bos_id(), 34);
  EXPECT_EQ(t.decode(Ids{31, 32}), "the the");
  EXPECT_EQ(load(byte_level().boolean("tokenizer.ggml.add_bos_token", true)).encode("a"), (Ids{34, 0}));
  EXPECT_EQ(load(byte_level().boolean("tokenizer.ggml.add_eos_token", true)).encode("a"), (Ids{0, 34}));
}

TEST_F(GgufTokenizer, ThePatternIsTheOneThatTheFileNames) {
  EXPECT_EQ(load(byte_level().string("tokenizer.ggml.pre", "gpt-2")).encode("123"), (Ids{33, 29}));
  EXPECT_EQ(load(byte_level().string("tokenizer.ggml.pre", "llama-bpe")).encode("123"), (Ids{33, 29}));
  EXPECT_EQ(load(byte_level().string("tokenizer.ggml.pre", "qwen2")).encode("123"), (Ids{27, 28, 29}));
  EXPECT_EQ(load(byte_level().string("tokenizer.ggml.pre", "smollm")).encode("123"), (Ids{27, 28, 29}));
}

TEST_F(GgufTokenizer, WhatIsNotUnderstoodAsksForAFolder) {
  const auto refused = [&](const B& b, const std::string& message) {
    expect_error(ErrorKind::bad_model, message, [&] { load(b); });
  };
  refused(B(), "\"tokenizer.ggml.model\" is missing");
  refused(B().string("tokenizer.ggml.model", "bert"),
          "\"tokenizer.ggml.model\" is \"bert\", expected \"gpt2\" or \"llama\"; give the model's own "
          "tokenizer with --tokenizer DIR");
  refused(byte_level().string("tokenizer.ggml.pre", "tekken"), "\"tokenizer.ggml.pre\" is \"tekken\"");
  refused(B().string("tokenizer.ggml.model", "gpt2"), "\"tokenizer.ggml.tokens\" is missing");
  const auto tokens = [](const std::vector<std::string>& t) {
    B b;
    return b.string("tokenizer.ggml.model", "llama").strings("tokenizer.ggml.tokens", t);
  };
  refused(tokens({"a", "\xff"}), "which is not UTF-8");
  refused(tokens({"a", "b"}).numbers<int32_t>("tokenizer.ggml.token_type", 5, {1}),
          "tokenizer.ggml.token_type has 1 items, tokenizer.ggml.tokens has 2");
  refused(tokens({"a", "b"}).numbers<int32_t>("tokenizer.ggml.token_type", 5, {1, 9}),
          "\"tokenizer.ggml.token_type\" is");
  refused(tokens({"a", "b"}).numbers<float>("tokenizer.ggml.scores", 6, {1}),
          "tokenizer.ggml.scores has 1 items, expected a number for each of the 2 tokens");
  refused(tokens({"a", "b"})
              .numbers<float>("tokenizer.ggml.scores", 6, {1, 2})
              .u32("tokenizer.ggml.bos_token_id", 2),
          "\"tokenizer.ggml.bos_token_id\" is 2, expected an integer from 0 to 1");
  refused(tokens({"a", "b"})
              .numbers<float>("tokenizer.ggml.scores", 6, {1, 2})
              .boolean("tokenizer.ggml.remove_extra_whitespaces", true),
          "remove_extra_whitespaces\" is true, expected false");
  refused(tokens({"a", std::string(300, 'b')}).numbers<float>("tokenizer.ggml.scores", 6, {1, 2}),
          "has 300 bytes, the limit is 256");
}

TEST_F(GgufTokenizer, SentencePieceGivesTheIdsOfTransformers) {
  const Tokenizer t = load_gguf_tokenizer(GgufFile::open(kGoldens / "tiny.gguf"));
  std::istringstream lines(content_of(kGoldens / "tokenizer.jsonl"));
  int count = 0;
  for (std::string line; std::getline(lines, line); ++count) {
    const auto row = nlohmann::json::parse(line);
    EXPECT_EQ(t.encode(row["text"].get<std::string>()), row["ids"].get<Ids>()) << row["text"];
  }
  EXPECT_GE(count, 10);
  EXPECT_EQ(t.encode(" x"), (Ids{1, 276, 276, 300}));  // SentencePiece: a blank in front of every text
  EXPECT_EQ(t.decode(t.encode(" x y\n")), " x y\n");
}

// llama.cpp's own vocabulary file and test vectors.
TEST_F(GgufTokenizer, Gpt2VectorsOfLlamaCpp) {
  const fs::path vocabulary = kShared / "tokenizer-vectors/ggml-vocab-gpt-2.gguf";
  if (!fs::exists(vocabulary)) GTEST_SKIP() << vocabulary << " is not here";
  const Tokenizer t = load_gguf_tokenizer(GgufFile::open(vocabulary));
  const auto inputs = split_at(content_of(vocabulary.string() + ".inp"), "\n__ggml_vocab_test__\n");
  const auto outputs = split_at(content_of(vocabulary.string() + ".out"), "\n");
  ASSERT_GE(outputs.size(), inputs.size());
  for (size_t i = 0; i < inputs.size(); ++i) {
    std::istringstream numbers(outputs[i]);
    Ids expected;
    for (int32_t id; numbers >> id;) expected.push_back(id);
    EXPECT_EQ(t.encode(inputs[i]), expected) << inputs[i];
  }
}

}  // namespace
}  // namespace octavo
