// tokenizer.json files that are damaged, contradictory or ask for what is not supported: each is refused with its reason.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>

#include "tokenizer/byte_level.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/utf8.h"

namespace octavo {
namespace {

using nlohmann::json;

// A SentencePiece-style model with bytes, and a byte-level one.
json small_bpe() {
  json vocab = {{"<unk>", 0}};
  for (int b = 0; b < 256; ++b) {
    char name[8];
    std::snprintf(name, sizeof name, "<0x%02X>", b);
    vocab[name] = b + 1;
  }
  vocab["a"] = 257, vocab["b"] = 258, vocab["ab"] = 259;
  return {{"type", "BPE"},
          {"unk_token", "<unk>"},
          {"byte_fallback", true},
          {"vocab", vocab},
          {"merges", json::array({"a b"})}};
}

json document(json model = small_bpe()) {
  return {{"version", "1.0"},         {"added_tokens", json::array()}, {"normalizer", nullptr},
          {"pre_tokenizer", nullptr}, {"post_processor", nullptr},     {"decoder", nullptr},
          {"model", std::move(model)}};
}

json added(int id, const std::string& content, bool normalized = false) {
  return {{"id", id}, {"content", content}, {"normalized", normalized}, {"special", true}};
}

// Refused as a bad model, with `reason` in the message and the name of the file in front.
void expect_text_refused(const std::string& text, const std::string& reason) {
  try {
    Tokenizer::parse(text, "file.json");
    ADD_FAILURE() << "accepted, expected: " << reason;
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::bad_model) << e.what();
    EXPECT_NE(std::string(e.what()).find(reason), std::string::npos) << e.what() << "\nexpected: " << reason;
    EXPECT_EQ(std::string(e.what()).find("file.json"), 0u) << e.what();
  }
}

void expect_refused(const json& j, const std::string& reason) { expect_text_refused(j.dump(), reason); }

json changed(const std::function<void(json&)>& change) {
  json j = document();
  change(j);
  return j;
}

TEST(TokenizerLoad, TheUnchangedDocumentLoads) {
  const Tokenizer tokenizer = Tokenizer::parse(document().dump(), "file.json");
  EXPECT_EQ(tokenizer.encode("abc"), (std::vector<int32_t>{259, 'c' + 1}));
  EXPECT_EQ(tokenizer.vocab_size(), 260);
  EXPECT_EQ(tokenizer.unk_id(), 0);
}

TEST(TokenizerLoad, NoJsonOrNoTokenizer) {
  expect_text_refused("", "line 1, column 1: not valid JSON");
  expect_text_refused("{", "line 1, column 1: not valid JSON");
  expect_text_refused("[]", "is an array, expected an object");
  expect_text_refused("{}", "\"model\" is missing");
  expect_text_refused(R"({"model": 3})", "model: is a number, expected an object");
  expect_text_refused(R"({"model": null})", "\"model\" is missing");
  expect_text_refused(R"({"model": {}, "model": {}})", "duplicate key \"model\"");
  expect_refused(changed([](json& j) { j["version"] = "2.0"; }), "\"2.0\" is not supported");
  expect_text_refused(std::string(100000, '['), "nested deeper than 64 levels");
}

TEST(TokenizerLoad, Vocabulary) {
  expect_refused(changed([](json& j) { j["model"]["vocab"] = 1; }), "expected an object");
  expect_refused(changed([](json& j) { j["model"]["vocab"]["a"] = 0; }), "id 0 belongs to both");
  expect_refused(changed([](json& j) { j["model"]["vocab"]["a"] = -1; }), "has id -1");
  expect_refused(changed([](json& j) { j["model"]["vocab"]["a"] = 1e3; }), "is no integer");
  expect_refused(changed([](json& j) { j["model"]["vocab"]["a"] = "7"; }), "is no integer");
  expect_refused(changed([](json& j) { j["model"]["vocab"]["a"] = int64_t{1} << 31; }), "has id 2147483648");
  expect_refused(changed([](json& j) { j["model"]["vocab"]["a"] = UINT64_MAX; }), "outside");
  std::string twice = document().dump();
  twice.replace(twice.find("\"a\":257"), 7, "\"a\":257,\"a\":300");
  expect_text_refused(twice, "duplicate key \"a\"");
}

TEST(TokenizerLoad, Merges) {
  const auto with = [](json merges) {
    return changed([&](json& j) { j["model"]["merges"] = std::move(merges); });
  };
  expect_refused(with(3), "expected an array");
  expect_refused(with({"a"}), "is not two tokens");
  expect_refused(with({"a b c"}), "is not two tokens");
  expect_refused(with({1}), "merges[0]: expected");
  expect_refused(with({{"a", "b", "c"}}), "merges[0]: expected");
  expect_refused(with({"a b", "a x"}), "merges[1]: token \"x\" is not in the vocabulary");
  expect_refused(with({"x a"}), "token \"x\" is not in the vocabulary");
  expect_refused(with({"b a"}), "token \"ba\" is not in the vocabulary");
  expect_refused(changed([](json& j) { j["model"].erase("merges"); }), "\"merges\" is missing");
  expect_refused(changed([](json& j) { j["model"]["continuing_subword_prefix"] = "####"; }),
                 "shorter than continuing_subword_prefix");
  const json pairs = with(json::array({json::array({"a", "b"})}));
  EXPECT_EQ(Tokenizer::parse(pairs.dump(), "pairs").encode("ab"), std::vector<int32_t>{259});
}

TEST(TokenizerLoad, EachMissingByteTokenIsNamed) {
  for (int b = 0; b < 256; ++b) {
    char name[8];
    std::snprintf(name, sizeof name, "<0x%02X>", b);
    expect_refused(changed([&](json& j) {
                     j["model"]["vocab"].erase(name);
                     j["model"]["vocab"]["<0x-1>"] = b + 1;
                   }),
                   std::string(name) + " is missing");
  }
}

TEST(TokenizerLoad, ByteLevelWithoutAByte) {
  const std::string byte_a = "a";
  json model = {{"type", "BPE"}, {"vocab", {{"a", 0}}}, {"merges", json::array()}};
  json j = document(model);
  j["pre_tokenizer"] = {{"type", "ByteLevel"}, {"add_prefix_space", false}};
  expect_refused(j, "byte 0x00 has no token");
  j["model"]["unk_token"] = "a";  // then every byte has an answer
  EXPECT_EQ(Tokenizer::parse(j.dump(), "file.json").encode("xay"), (std::vector<int32_t>{0, 0, 0}));
}

TEST(TokenizerLoad, WrongTypesAndUnsupportedComponentsAreNamed) {
  const auto with = [](const char* part, json value) {
    return changed([&](json& j) { j[part] = std::move(value); });
  };
  expect_refused(with("model", {{"type", "Magic"}, {"vocab", json::object()}}),
                 "model: model \"Magic\" is not supported");
  expect_refused(with("model", {{"vocab", json::object()}}), "\"type\" is missing");
  expect_refused(changed([](json& j) { j["model"]["dropout"] = 0.1; }), "dropout: is 0.1");
  expect_refused(changed([](json& j) { j["model"]["byte_fallback"] = 1; }), "expected true or false");
  expect_refused(with("normalizer", {{"type", "Odd"}}), "normalizer: normalizer \"Odd\" is not supported");
  expect_refused(
      with("normalizer", {{"type", "Sequence"}, {"normalizers", {{{"type", "NFC"}}, {{"type", "Odd"}}}}}),
      "normalizers[1]");
  expect_refused(with("normalizer", {{"type", "Sequence"}, {"normalizers", {nullptr}}}),
                 "normalizers[0]: is null");
  expect_refused(with("normalizer", {{"type", "Replace"}, {"pattern", {{"Regex", "("}}}, {"content", ""}}),
                 "regular expression \"(\"");
  expect_refused(with("normalizer", {{"type", "Replace"}, {"pattern", {{"String", ""}}}, {"content", ""}}),
                 "an empty pattern");
  expect_refused(with("pre_tokenizer", {{"type", "Odd"}}), "pre-tokenizer \"Odd\" is not supported");
  expect_refused(with("pre_tokenizer", {{"type", "Split"},
                                        {"pattern", {{"Regex", "[a-z&&[^b]]"}}},
                                        {"behavior", "Isolated"},
                                        {"invert", false}}),
                 "&& in a character class is not supported");
  expect_refused(
      with("pre_tokenizer",
           {{"type", "Split"}, {"pattern", {{"String", "x"}}}, {"behavior", "Odd"}, {"invert", false}}),
      "behavior \"Odd\"");
  expect_refused(with("pre_tokenizer", {{"type", "Metaspace"}, {"replacement", "ab"}}),
                 "expected one character");
  expect_refused(
      with("pre_tokenizer", {{"type", "Metaspace"}, {"replacement", "_"}, {"prepend_scheme", "odd"}}),
      "\"odd\" is not supported");
  expect_refused(with("pre_tokenizer", {{"type", "FixedLength"}, {"length", 0}}),
                 "expected an integer from 1");
  expect_refused(with("decoder", {{"type", "Odd"}}), "decoder \"Odd\" is not supported");
  expect_refused(with("decoder", {{"type", "BPEDecoder"}, {"suffix", ""}}), "an empty string");
  expect_refused(with("decoder", {{"type", "Strip"}, {"content", "a"}, {"start", -1}, {"stop", 0}}),
                 "expected an integer from 0");
  expect_refused(with("post_processor", {{"type", "Odd"}}), "post-processor \"Odd\" is not supported");
}

TEST(TokenizerLoad, PrecompiledCharsmaps) {
  const auto with = [](const std::string& base64) {
    return changed([&](json& j) {
      j["normalizer"] = {{"type", "Precompiled"}, {"precompiled_charsmap", base64}};
    });
  };
  expect_refused(with(""), "normalizer.precompiled_charsmap: 0 bytes hold no size");
  expect_refused(with("AAA"), "3 characters of base64");
  expect_refused(with("AA*A"), "character 2 is no base64");
  expect_refused(with("/////w=="), "a trie of 4294967295 bytes where 0 are left");
  expect_refused(with("AAAAAA=="), "a trie of 0 bytes");
  expect_refused(with("BAAAAAAAAAD/"), "invalid UTF-8 at byte 0 of its texts");
  expect_refused(changed([](json& j) {
                   j["normalizer"] = {{"type", "Precompiled"}};
                 }),
                 "\"precompiled_charsmap\" is missing");
  EXPECT_EQ(Tokenizer::parse(with("BAAAAAAAAAA=").dump(), "no rules").encode("ab"),
            std::vector<int32_t>{259});
}

TEST(TokenizerLoad, PostProcessors) {
  const auto with = [](json single, json special) {
    return changed([&](json& j) {
      j["post_processor"] = {{"type", "TemplateProcessing"},
                             {"single", std::move(single)},
                             {"pair", json::array()},
                             {"special_tokens", std::move(special)}};
    });
  };
  const json text = {{"Sequence", {{"id", "A"}, {"type_id", 0}}}},
             bos = {{"SpecialToken", {{"id", "<s>"}, {"type_id", 0}}}};
  expect_refused(with({bos, text}, json::object()), "\"<s>\" is not in special_tokens");
  expect_refused(with({bos, text}, {{"<s>", {{"id", "<s>"}, {"ids", {9999}}}}}),
                 "id 9999 belongs to no token");
  expect_refused(with({bos, text}, {{"<s>", {{"id", "<s>"}, {"ids", {-1}}}}}), "expected an integer from 0");
  expect_refused(with({{{"Odd", 1}}}, json::object()), "expected a Sequence or a SpecialToken");
  expect_refused(with({{{"Sequence", {{"id", "B"}}}}}, json::object()), "asks for a second one");
  expect_refused(with(json(65, text), json::object()), "65 pieces");
  expect_refused(changed([](json& j) {
                   const json cls = {{"type", "BertProcessing"}, {"cls", {"a", 257}}, {"sep", {"b", 258}}};
                   j["post_processor"] = {{"type", "Sequence"}, {"processors", {cls, cls}}};
                 }),
                 "a second post-processor");
  expect_refused(changed([](json& j) {
                   j["post_processor"] = {{"type", "BertProcessing"}, {"cls", {"a"}}, {"sep", {"b", 258}}};
                 }),
                 "expected [token, id]");
}

TEST(TokenizerLoad, AddedTokens) {
  const auto with = [](json tokens) {
    return changed([&](json& j) { j["added_tokens"] = std::move(tokens); });
  };
  expect_refused(with(3), "expected an array");
  expect_refused(with({{{"id", 260}}}), "\"content\" is missing");
  expect_refused(with({added(-1, "x")}), "expected an integer from 0");
  expect_refused(changed([](json& j) {
                   j["model"]["vocab"]["far"] = 261;  // 261 tokens, so that the next free id by count is 261
                   j["added_tokens"] = {added(261, "x")};
                 }),
                 "would get id 261, which is taken");
  expect_refused(changed([](json& j) {
                   j["normalizer"] = {{"type", "Lowercase"}};
                   j["added_tokens"] = {added(260, "X", true), added(261, "x", true)};
                 }),
                 "both matched as \"x\"");
  expect_refused(changed([](json& j) {
                   j["normalizer"] = {{"type", "Strip"}, {"strip_left", true}, {"strip_right", true}};
                   j["added_tokens"] = {added(260, " ", true)};
                 }),
                 "nothing is left of");
  const Tokenizer odd = Tokenizer::parse(with({added(999, "<x>"), added(260, "")}).dump(), "file.json");
  EXPECT_EQ(odd.encode("<x>"), std::vector<int32_t>{260})
      << "numbered on behind the vocabulary, as the package does";
  ASSERT_EQ(odd.warnings().size(), 1u);
  EXPECT_NE(odd.warnings()[0].find("has id 260, not 999"), std::string::npos) << odd.warnings()[0];
}

TEST(TokenizerLoad, NamesInTheConfiguration) {
  const std::string text = document().dump();
  EXPECT_EQ(
      Tokenizer::parse(text, "f", R"({"bos_token": "a", "eos_token": {"content": "b"}, "pad_token": null})")
          .eos_id(),
      258);
  const Tokenizer odd = Tokenizer::parse(text, "f", R"({"pad_token": "[PAD]"})");
  EXPECT_EQ(odd.pad_id(), std::nullopt);
  ASSERT_EQ(odd.warnings().size(), 1u);
  EXPECT_NE(odd.warnings()[0].find("pad_token: \"[PAD]\" is no token"), std::string::npos)
      << odd.warnings()[0];
  try {
    Tokenizer::parse(text, "f", R"({"bos_token": "<s>"})");
    ADD_FAILURE() << "accepted";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::bad_model);
    EXPECT_NE(std::string(e.what()).find("\"<s>\" is no token"), std::string::npos) << e.what();
  }
}

TEST(TokenizerLoad, SelfCheck) {
  json bytes = {{"type", "BPE"}, {"vocab", json::object()}, {"merges", json::array()}};
  for (int b = 0; b < 256; ++b) {
    std::string character;
    tokenizer::append_utf8(character, tokenizer::kByteCharacters[b]);
    bytes["vocab"][character] = b;
  }
  json j = document(bytes);
  j["pre_tokenizer"] = j["decoder"] = {{"type", "ByteLevel"}, {"add_prefix_space", false}};
  EXPECT_TRUE(Tokenizer::parse(j.dump(), "file.json").warnings().empty());
  j["decoder"] = nullptr;
  const auto no_decoder = Tokenizer::parse(j.dump(), "file.json").warnings();
  ASSERT_EQ(no_decoder.size(), 1u);
  EXPECT_NE(no_decoder[0].find("\"decoder\" should be ByteLevel"), std::string::npos) << no_decoder[0];

  const auto no_unk = Tokenizer::parse(changed([](json& c) {
                                         c["model"]["byte_fallback"] = false;
                                         c["model"]["unk_token"] = "<none>";
                                       }).dump(),
                                       "file.json")
                          .warnings();
  ASSERT_EQ(no_unk.size(), 1u);
  EXPECT_NE(no_unk[0].find("neither is unk_token \"<none>\""), std::string::npos) << no_unk[0];

  expect_refused(changed([](json& c) {
                   c["pre_tokenizer"] = {{"type", "Split"},
                                         {"pattern", {{"Regex", "([^z]+)+(?=z)"}}},
                                         {"behavior", "Isolated"},
                                         {"invert", false}};
                 }),
                 "self-check: tokenizer: regular expression");
}

TEST(TokenizerLoad, FilesThatAreNotThere) {
  for (const char* path : {"/no/such/folder", "/no/such/tokenizer.json", "/"}) {
    try {
      Tokenizer::load(path);
      ADD_FAILURE() << path;
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::bad_model) << e.what();
      EXPECT_NE(std::string(e.what()).find(path), std::string::npos) << e.what();
    }
  }
}

TEST(TokenizerLoad, EveryTruncationAndFlippedByteIsAnErrorOrATokenizer) {
  const std::string good = document({{"type", "BPE"},
                                     {"unk_token", "<u>"},
                                     {"vocab", {{"<u>", 0}, {"a", 1}, {"b", 2}, {"ab", 3}}},
                                     {"merges", {"a b"}}})
                               .dump();
  int loaded = 0;
  const auto attempt = [&](const std::string& text) {
    try {
      const Tokenizer tokenizer = Tokenizer::parse(text, "file.json");
      tokenizer.decode(tokenizer.encode("abab c"));
      ++loaded;
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::bad_model) << e.what();
    }
  };
  for (size_t n = 0; n < good.size(); ++n) attempt(good.substr(0, n));
  EXPECT_EQ(loaded, 0);
  for (size_t i = 0; i < good.size(); ++i)
    for (const char c : {'\0', '"', '{', ']', '9', '\xff'}) {
      std::string text = good;
      text[i] = c;
      attempt(text);
    }
  EXPECT_GT(loaded, 0);
}

}  // namespace
}  // namespace octavo
