#include "tokenizer/gguf_tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <tuple>
#include <unordered_map>

#include "formats/in_quotes.h"
#include "tokenizer/splitters.h"
#include "tokenizer/utf8.h"

namespace octavo {
namespace {

using Json = nlohmann::json;

constexpr const char* kKeys = "tokenizer.ggml.";
constexpr const char* kSpaceMark = "\xe2\x96\x81";  // U+2581, how SentencePiece writes a blank
constexpr size_t kMaxPieceBytes = 256;              // SentencePiece's own limit is 16 characters

enum TokenType : int64_t { normal = 1, unknown = 2, control = 3, user_defined = 4, unused = 5, byte = 6 };

struct Vocabulary {
  std::vector<std::string> tokens;  // by id
  std::vector<int64_t> types;       // by id, TokenType
};

// Splits, then spells bytes as characters.
Json split_by(std::string_view pattern) {
  return {
      {"type", "Sequence"},
      {"pretokenizers",
       {{{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}, {"invert", false}},
        {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", false}}}}};
}

Json byte_level() {
  return {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}};
}

Json digits_alone() {
  return {{"type", "Sequence"},
          {"pretokenizers", {{{"type", "Digits"}, {"individual_digits", true}}, byte_level()}}};
}

// What tokenizer.ggml.pre stands for.
struct WordSplit {
  Json pre_tokenizer, normalizer = nullptr;
  bool ignore_merges = false;
};

WordSplit word_split(const ConfigObject& metadata) {
  const std::string key = std::string(kKeys) + "pre", name = metadata.string_or(key, "default");
  if (name == "gpt-2" || name == "default") return {byte_level()};
  if (name == "llama-bpe" || name == "llama3" || name == "llama-v3")
    return {split_by(tokenizer::kLlama3Pattern), nullptr, true};
  if (name == "qwen2") return {split_by(tokenizer::kQwen2Pattern), {{"type", "NFC"}}};
  if (name == "smollm") return {digits_alone()};
  metadata.fail(
      key, "one of gpt-2, llama-bpe, qwen2, smollm; give the model's own tokenizer with --tokenizer DIR");
}

Vocabulary read_vocabulary(const ConfigObject& metadata) {
  const std::string tokens = std::string(kKeys) + "tokens", types = std::string(kKeys) + "token_type";
  Vocabulary v{metadata.strings(tokens), metadata.integers(types, normal, byte)};
  if (v.tokens.empty()) metadata.fail(tokens, "the tokens of the vocabulary");
  for (const std::string& token : v.tokens)
    if (tokenizer::first_invalid_utf8(token) != token.npos)
      throw Error(ErrorKind::bad_model, fmt::format("{}: {} has the token {}, which is not UTF-8",
                                                    metadata.name(), tokens, in_quotes(token)));
  if (v.types.empty()) v.types.assign(v.tokens.size(), normal);
  if (v.types.size() != v.tokens.size())
    throw Error(ErrorKind::bad_model, fmt::format("{}: {} has {} items, {} has {}", metadata.name(), types,
                                                  v.types.size(), tokens, v.tokens.size()));
  return v;
}

std::optional<int64_t> id_of(const ConfigObject& metadata, const Vocabulary& v, const char* name) {
  const std::string key = fmt::format("{}{}_token_id", kKeys, name);
  if (!metadata.has(key)) return {};
  return metadata.integer(key, 0, static_cast<int64_t>(v.tokens.size()) - 1);
}

// [token, id] of the vocabulary; a token that occurs twice keeps its first id.
Json vocabulary_json(const Vocabulary& v) {
  Json vocab = Json::object();
  for (size_t id = 0; id < v.tokens.size(); ++id) vocab.emplace(v.tokens[id], id);
  return vocab;
}

Json added_tokens(const Vocabulary& v, std::initializer_list<std::optional<int64_t>> named) {
  Json added = Json::array();
  for (size_t id = 0; id < v.tokens.size(); ++id) {
    const bool is_named = std::find(named.begin(), named.end(), static_cast<int64_t>(id)) != named.end();
    const bool special = v.types[id] == control || v.types[id] == unknown || is_named;
    if (!special && v.types[id] != user_defined) continue;
    added.push_back({{"id", id},
                     {"content", v.tokens[id]},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", special}});
  }
  return added;
}

// <s> in front, </s> behind, where the file asks for it.
Json template_with(const Vocabulary& v, std::optional<int64_t> first, std::optional<int64_t> last) {
  Json single = Json::array(), specials = Json::object();
  const auto add = [&](std::optional<int64_t> id) {
    if (!id) return;
    const std::string& token = v.tokens[static_cast<size_t>(*id)];
    single.push_back({{"SpecialToken", {{"id", token}, {"type_id", 0}}}});
    specials[token] = {{"id", token}, {"ids", Json::array({*id})}, {"tokens", Json::array({token})}};
  };
  add(first);
  single.push_back({{"Sequence", {{"id", "A"}, {"type_id", 0}}}});
  add(last);
  if (specials.empty()) return nullptr;
  Json pair = single;
  pair.push_back({{"Sequence", {{"id", "B"}, {"type_id", 1}}}});
  return {{"type", "TemplateProcessing"}, {"single", single}, {"pair", pair}, {"special_tokens", specials}};
}

int64_t characters(std::string_view utf8) {
  return std::count_if(utf8.begin(), utf8.end(), [](char c) { return (c & 0xc0) != 0x80; });
}

// Every way to put a piece together from two others, best score first; ties as transformers sorts them.
Json merges_of(const Vocabulary& v, const std::vector<double>& scores, const std::string& name) {
  std::unordered_map<std::string_view, size_t> ids;
  for (size_t id = 0; id < v.tokens.size(); ++id) ids.emplace(v.tokens[id], id);
  struct Merge {
    double score;
    size_t left, right;
  };
  std::vector<Merge> merges;
  for (size_t id = 0; id < v.tokens.size(); ++id) {
    const std::string_view piece = v.tokens[id];
    if (v.types[id] != normal && v.types[id] != user_defined) continue;
    if (piece.size() > kMaxPieceBytes)
      throw Error(ErrorKind::bad_model, fmt::format("{}: the piece {} has {} bytes, the limit is {}", name,
                                                    in_quotes(piece, 40), piece.size(), kMaxPieceBytes));
    const size_t begin = merges.size();
    for (size_t at = 1; at < piece.size(); ++at) {
      const auto left = ids.find(piece.substr(0, at)), right = ids.find(piece.substr(at));
      if (left != ids.end() && right != ids.end())
        merges.push_back({scores[id], left->second, right->second});
    }
    std::sort(
        merges.begin() + static_cast<std::ptrdiff_t>(begin), merges.end(),
        [](const Merge& a, const Merge& b) { return std::tie(a.left, a.right) < std::tie(b.left, b.right); });
  }
  const auto order = [&](const Merge& m) {
    return std::tuple(-m.score, -characters(v.tokens[m.left]), -characters(v.tokens[m.right]));
  };
  std::stable_sort(merges.begin(), merges.end(),
                   [&](const Merge& a, const Merge& b) { return order(a) < order(b); });
  Json list = Json::array();
  for (const Merge& m : merges) list.push_back({v.tokens[m.left], v.tokens[m.right]});
  return list;
}

Json bpe_model(const Vocabulary& v, Json merges) {
  return {{"type", "BPE"},
          {"dropout", nullptr},
          {"continuing_subword_prefix", nullptr},
          {"end_of_word_suffix", nullptr},
          {"fuse_unk", false},
          {"byte_fallback", false},
          {"ignore_merges", false},
          {"unk_token", nullptr},
          {"vocab", vocabulary_json(v)},
          {"merges", std::move(merges)}};
}

Json byte_level_tokenizer(const ConfigObject& metadata, const Vocabulary& v) {
  WordSplit split = word_split(metadata);
  Json model = bpe_model(v, metadata.strings(std::string(kKeys) + "merges"));
  model["ignore_merges"] = split.ignore_merges;
  return {{"normalizer", std::move(split.normalizer)},
          {"pre_tokenizer", std::move(split.pre_tokenizer)},
          {"decoder",
           {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}}},
          {"model", std::move(model)}};
}

std::vector<double> read_scores(const ConfigObject& metadata, const Vocabulary& v) {
  const std::string key = std::string(kKeys) + "scores";
  std::vector<double> scores;
  if (metadata.has(key) && metadata.json().at(key).is_array())
    for (const Json& score : metadata.json().at(key))
      scores.push_back(score.is_number() ? score.get<double>() : NAN);
  if (scores.size() != v.tokens.size() ||
      std::any_of(scores.begin(), scores.end(), [](double s) { return s != s; }))
    throw Error(ErrorKind::bad_model,
                fmt::format("{}: {} has {} items, expected a number for each of the {} tokens",
                            metadata.name(), key, scores.size(), v.tokens.size()));
  return scores;
}

Json sentencepiece_tokenizer(const ConfigObject& metadata, const Vocabulary& v) {
  const std::string squeeze = std::string(kKeys) + "remove_extra_whitespaces";
  if (metadata.boolean_or(squeeze, false))
    metadata.fail(squeeze, "false; give the model's own tokenizer with --tokenizer DIR");
  const bool prefix = metadata.boolean_or(std::string(kKeys) + "add_space_prefix", true);
  Json model = bpe_model(v, merges_of(v, read_scores(metadata, v), metadata.name()));
  model["byte_fallback"] = model["fuse_unk"] = true;
  if (const auto unk = id_of(metadata, v, "unknown"))
    model["unk_token"] = v.tokens[static_cast<size_t>(*unk)];
  Json normalizers = Json::array();
  if (prefix) normalizers.push_back({{"type", "Prepend"}, {"prepend", kSpaceMark}});
  normalizers.push_back({{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", kSpaceMark}});
  Json decoders = {{{"type", "Replace"}, {"pattern", {{"String", kSpaceMark}}}, {"content", " "}},
                   {{"type", "ByteFallback"}},
                   {{"type", "Fuse"}}};
  if (prefix) decoders.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  return {{"normalizer", {{"type", "Sequence"}, {"normalizers", std::move(normalizers)}}},
          {"pre_tokenizer", nullptr},
          {"decoder", {{"type", "Sequence"}, {"decoders", std::move(decoders)}}},
          {"model", std::move(model)}};
}

}  // namespace

TokenizerText gguf_tokenizer_text(const GgufFile& file) {
  const ConfigObject& metadata = file.metadata();
  const std::string key = std::string(kKeys) + "model", kind = metadata.string(key);
  if (kind != "gpt2" && kind != "llama")
    metadata.fail(key, "\"gpt2\" or \"llama\"; give the model's own tokenizer with --tokenizer DIR");
  const bool sentencepiece = kind == "llama";
  const Vocabulary v = read_vocabulary(metadata);
  const auto bos = id_of(metadata, v, "bos"), eos = id_of(metadata, v, "eos"),
             unk = id_of(metadata, v, "unknown"), pad = id_of(metadata, v, "padding");
  // llama.cpp's defaults: SentencePiece texts begin with <s>, byte-level ones do not.
  const bool add_bos = metadata.boolean_or(std::string(kKeys) + "add_bos_token", sentencepiece);
  const bool add_eos = metadata.boolean_or(std::string(kKeys) + "add_eos_token", false);

  Json json = sentencepiece ? sentencepiece_tokenizer(metadata, v) : byte_level_tokenizer(metadata, v);
  json["version"] = "1.0";
  json["truncation"] = json["padding"] = nullptr;
  json["added_tokens"] = added_tokens(v, {bos, eos, unk, pad});
  json["post_processor"] = template_with(v, add_bos ? bos : std::nullopt, add_eos ? eos : std::nullopt);

  Json config = Json::object();
  const auto name = [&](const char* field, std::optional<int64_t> id) {
    if (id) config[field] = v.tokens[static_cast<size_t>(*id)];
  };
  name("bos_token", bos), name("eos_token", eos), name("unk_token", unk), name("pad_token", pad);
  if (metadata.has("tokenizer.chat_template"))
    config["chat_template"] = metadata.string("tokenizer.chat_template");
  try {
    return {json.dump(), config.dump()};
  } catch (const Json::exception&) {
    throw Error(ErrorKind::bad_model, metadata.name() + ": the tokenizer holds text that is not UTF-8");
  }
}

Tokenizer load_gguf_tokenizer(const GgufFile& file) {
  const TokenizerText text = gguf_tokenizer_text(file);
  return Tokenizer::parse(text.tokenizer_json, file.path().string() + " (its tokenizer)", text.config_json);
}

}  // namespace octavo
