// SentencePiece model files: ids and texts against the package, and damaged ones.
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "harness/temp_folder.h"
#include "tokenizer/protobuf.h"
#include "tokenizer/sample_sentencepiece.h"
#include "tokenizer/sentencepiece_file.h"
#include "tokenizer/tokenizer.h"

namespace octavo {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

const fs::path kGoldens = fs::path(OCTAVO_SOURCE_DIR) / "tests/goldens/sentencepiece";
using Wire = ProtobufBytes;
constexpr EncodeOptions kPlain{.add_special_tokens = false, .parse_special = false};

std::string streamed(const Tokenizer& tokenizer, const std::vector<int32_t>& ids) {
  StreamDecoder stream(tokenizer, false);
  std::string text;
  for (const int32_t id : ids) text += stream.push(id);
  return text + stream.finish();
}

TEST(SentencePiece, IdsAndTextsOfThePackage) {
  std::ifstream file(kGoldens / "cases.jsonl");
  int models = 0, compared = 0;
  for (std::string line; std::getline(file, line); ++models) {
    const json golden = json::parse(line);
    const std::string name = golden["model"];
    const Tokenizer tokenizer = Tokenizer::load(kGoldens / (name + ".model"));
    for (const json& c : golden["encode"]) {
      EXPECT_EQ(json(tokenizer.encode(c[0].get<std::string>(), kPlain)), c[1]) << name << ": " << c[0];
      ++compared;
    }
    for (const json& c : golden["decode"]) {
      const auto ids = c[0].get<std::vector<int32_t>>();
      EXPECT_EQ(tokenizer.decode(ids, false), c[1].get<std::string>()) << name << ": " << c[0];
      EXPECT_EQ(streamed(tokenizer, ids), c[1].get<std::string>()) << name << ": " << c[0];
      ++compared;
    }
  }
  EXPECT_EQ(models, 6);
  EXPECT_GT(compared, 1400);
}

TEST(SentencePiece, SpecialTokens) {
  const Tokenizer tokenizer = Tokenizer::load(kGoldens / "bpe_bytes.model");
  EXPECT_EQ(tokenizer.unk_id(), 0);
  EXPECT_EQ(tokenizer.bos_id(), 1);
  EXPECT_EQ(tokenizer.eos_id(), 2);
  EXPECT_EQ(tokenizer.pad_id(), std::nullopt);
  const auto plain = tokenizer.encode("the", kPlain);
  auto with_bos = plain;
  with_bos.insert(with_bos.begin(), 1);
  EXPECT_EQ(tokenizer.encode("the"), with_bos);
  EXPECT_EQ(tokenizer.encode("</s>", {.add_special_tokens = false}), std::vector<int32_t>{2});
  EXPECT_GT(tokenizer.encode("</s>", kPlain).size(), 1u);
  EXPECT_TRUE(tokenizer.is_special(2));
  EXPECT_FALSE(tokenizer.is_special(plain[0]));
  EXPECT_EQ(tokenizer.decode(std::vector<int32_t>{1, 2}), "");
}

TEST(SentencePiece, FolderWithConfiguration) {
  const harness::TempFolder folder;
  folder.write("tokenizer.model", harness::content_of(kGoldens / "unigram_rules.model"));
  EXPECT_EQ(Tokenizer::load(folder.path()).encode("the")[0], 1);
  EXPECT_EQ(Tokenizer::load(folder.path()).pad_id(), 3);
  folder.write("tokenizer_config.json",
               R"({"add_bos_token": false, "add_eos_token": true, "eos_token": "</s>"})");
  const auto ids = Tokenizer::load(folder.path()).encode("the");
  EXPECT_NE(ids.front(), 1);
  EXPECT_EQ(ids.back(), 2);
  folder.write("tokenizer_config.json", R"({"bos_token": "<no such piece>"})");
  try {
    Tokenizer::load(folder.path());
    ADD_FAILURE() << "accepted";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("\"<no such piece>\" is no token"), std::string::npos) << e.what();
  }
}

void expect_refused(const std::string& bytes, const std::string& reason) {
  try {
    Tokenizer::parse_sentencepiece(bytes, "file.model");
    ADD_FAILURE() << "accepted, expected: " << reason;
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::bad_model);
    EXPECT_NE(std::string(e.what()).find(reason), std::string::npos) << e.what() << "\nexpected: " << reason;
    EXPECT_EQ(std::string(e.what()).find("file.model"), 0u) << e.what();
  }
}

TEST(SentencePiece, DamagedAndUnsupportedFilesAreNamed) {
  EXPECT_EQ(Tokenizer::parse_sentencepiece(sample_sentencepiece().bytes, "f").encode("ab", kPlain),
            (std::vector<int32_t>{6, 5}));
  EXPECT_EQ(Tokenizer::parse_sentencepiece(sample_sentencepiece(1).bytes, "f").encode("ab", kPlain),
            (std::vector<int32_t>{6, 5}));
  expect_refused("", "no pieces");
  expect_refused("IQ== 0\nIg== 1\n", "this is no SentencePiece model");  // a vocabulary of tiktoken
  expect_refused(sample_sentencepiece().bytes + "\x0a\x7f", "a field of 127 bytes where 0 are left");
  expect_refused(sample_sentencepiece().bytes + "\x0b", "wire type 3");
  expect_refused(sample_sentencepiece().bytes + std::string(1, '\0'), "field number 0");
  expect_refused(sample_sentencepiece().bytes + "\x08" + std::string(11, '\xff'), "more than 64 bits");
  expect_refused(sample_sentencepiece().text(1, sample_piece("a", 0)).bytes, "has both id 3 and 7");
  expect_refused(sample_sentencepiece().text(1, sample_piece("", 0)).bytes, "piece 7 (\"\"): is empty");
  expect_refused(sample_sentencepiece().text(1, sample_piece("\xff", 0)).bytes, "is no UTF-8");
  expect_refused(sample_sentencepiece().text(1, sample_piece(std::string(513, 'a'), 0)).bytes,
                 "has 513 bytes, at most 512");
  expect_refused(sample_sentencepiece().text(1, sample_piece("c", std::nanf(""))).bytes, "score nan");
  expect_refused(sample_sentencepiece().text(1, sample_piece("c", 0, 9)).bytes, "type 9 is not known");
  expect_refused(sample_sentencepiece().text(1, sample_piece("c", 0, 5)).bytes, "unused pieces");
  expect_refused(sample_sentencepiece().text(1, sample_piece("c", 0, 2)).bytes, "2 pieces of type unknown");
  expect_refused(sample_sentencepiece().text(1, sample_piece("ac", 0)).bytes,
                 "its character \"c\" is no piece");
  expect_refused(sample_sentencepiece(4).bytes, "model_type 4 is not supported");
  expect_refused(sample_sentencepiece().text(2, Wire().number(24, 1).bytes).bytes,
                 "treat_whitespace_as_suffix");
  expect_refused(sample_sentencepiece().text(2, Wire().number(35, 1).bytes).bytes, "<0x00> is missing");
  expect_refused(sample_sentencepiece().text(2, Wire().text(44, "\xff").bytes).bytes,
                 "unk_surface is no UTF-8");
  expect_refused(sample_sentencepiece().text(3, Wire().text(2, "abc").bytes).bytes,
                 "precompiled_charsmap: 3 bytes hold no size");
  expect_refused(sample_sentencepiece().text(5, Wire().text(2, "abc").bytes).bytes, "denormalizer_spec");
}

// Found by fuzzing: what is left of a character is U+FFFD, byte by byte, as in the package.
TEST(SentencePiece, ARuleMayEndInsideACharacter) {
  std::vector<uint32_t> trie(196);         // the children of unit u are at u ^ (unit >> 10) ^ their byte
  trie[0xc3] = 1u << 10 | 1u << 8 | 0xc3;  // has a value, at 0xc3 ^ 1
  trie[0xc3 ^ 1] = 0;                      // the text at byte 0
  std::string charsmap(4 + 4 * trie.size(), '\0');
  const auto trie_bytes = static_cast<uint32_t>(4 * trie.size());
  std::memcpy(charsmap.data(), &trie_bytes, 4);
  std::memcpy(charsmap.data() + 4, trie.data(), trie_bytes);
  charsmap += std::string("a\0", 2);
  const Tokenizer tokenizer = Tokenizer::parse_sentencepiece(
      sample_sentencepiece().text(3, Wire().text(2, charsmap).bytes).bytes, "f");
  EXPECT_EQ(tokenizer.encode("\u00e9", kPlain), (std::vector<int32_t>{6, 3, 0}));
  EXPECT_EQ(tokenizer.encode("b\u00e9", kPlain), (std::vector<int32_t>{6, 4, 3, 0}));
  EXPECT_EQ(tokenizer.encode("\u00e8b", kPlain), (std::vector<int32_t>{6, 3, 0, 4}));
}

TEST(SentencePiece, EveryTruncationIsAnErrorOrATokenizer) {
  const std::string good = sample_sentencepiece().bytes;
  int loaded = 0;
  for (size_t n = 0; n <= good.size(); ++n) {
    try {
      const Tokenizer tokenizer = Tokenizer::parse_sentencepiece(good.substr(0, n), "f");
      tokenizer.decode(tokenizer.encode("abab c", kPlain));
      ++loaded;
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::bad_model) << e.what();
    }
  }
  EXPECT_GE(loaded, 2);
}

TEST(SharedSentencePiece, MistralOnTheVectors) {
  const fs::path shared = fs::path(OCTAVO_SOURCE_DIR) / "../shared/data";
  if (!fs::exists(shared / "mistral-tokenizer")) GTEST_SKIP() << shared << " is absent";
  const Tokenizer tokenizer = Tokenizer::load(shared / "mistral-tokenizer");
  std::ifstream file(kGoldens / "mistral_vectors.jsonl");
  int compared = 0;
  for (std::string line; std::getline(file, line); ++compared) {
    const json golden = json::parse(line);
    EXPECT_EQ(json(tokenizer.encode(golden[0].get<std::string>(), kPlain)), golden[1]) << line;
    EXPECT_EQ(tokenizer.decode(golden[1].get<std::vector<int32_t>>(), false), golden[2].get<std::string>())
        << line;
  }
  EXPECT_EQ(compared, 47);
}

}  // namespace
}  // namespace octavo
