#include "tokenizer/parts.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <unordered_set>

#include "tokenizer/byte_level.h"
#include "tokenizer/sentencepiece.h"

namespace octavo::tokenizer {
namespace {

const nlohmann::json kNull;

JsonNode child_or_null(const JsonNode& node, const char* key) {
  return node.has(key) ? node.child(key) : JsonNode(kNull, node.file(), key);
}

AddedToken read_added_token(const JsonNode& node) {
  AddedToken token;
  token.content = node.string("content");
  token.special = node.boolean_or("special", false);
  token.single_word = node.boolean_or("single_word", false);
  token.lstrip = node.boolean_or("lstrip", false);
  token.rstrip = node.boolean_or("rstrip", false);
  token.normalized = node.boolean_or("normalized", true);
  return token;
}

std::string normalized(const Parts& parts, const AddedToken& token) {
  if (!token.normalized || !parts.normalizer) return token.content;
  NormalizedText text{token.content, false};
  parts.normalizer->apply(text);
  return text.text;
}

// A token that the model has keeps the model's id; the others are numbered on behind the vocabulary.
void read_added_tokens(const JsonNode& list, Parts& parts) {
  if (list.is_null()) return;
  int64_t next_id = parts.model->vocabulary().count();
  for (const JsonNode& node : list.elements()) {
    AddedToken token = read_added_token(node);
    const int64_t declared = node.integer("id", 0, kLargestId);
    if (token.content.empty()) continue;
    const bool known = parts.find(token.content) >= 0;
    token.id = known ? parts.find(token.content) : static_cast<int32_t>(next_id++);
    if (!known && (parts.model->vocabulary().has(token.id) || token.id > kLargestId))
      node.fail(fmt::format("{} would get id {}, which is taken by another token", in_quotes(token.content),
                            token.id));
    if (token.id != declared)
      parts.warnings.push_back(fmt::format("{}: {}: {} has id {}, not {}", node.file(), node.path(),
                                           in_quotes(token.content), token.id, declared));
    token.matched = normalized(parts, token);
    if (const auto same = parts.added_by_content.find(token.content); same != parts.added_by_content.end()) {
      const_cast<AddedToken&>(*same->second) = std::move(token);  // the later of two entries counts
      continue;
    }
    const AddedToken& kept = parts.added.emplace_back(std::move(token));
    parts.added_by_content.emplace(kept.content, &kept);
    parts.added_by_id.emplace(kept.id, &kept);
  }
  std::vector<const AddedToken*> raw, normalized_ones;
  std::unordered_set<std::string_view> raw_texts, normalized_texts;
  for (const AddedToken& token : parts.added) {
    if (token.matched.empty())
      list.fail(fmt::format("nothing is left of {} after the normalizer", in_quotes(token.content)));
    (token.normalized ? normalized_ones : raw).push_back(&token);
    if (!(token.normalized ? normalized_texts : raw_texts).insert(token.matched).second)
      list.fail(fmt::format("two tokens are both matched as {}", in_quotes(token.matched)));
  }
  parts.raw_matcher = TokenMatcher(std::move(raw));
  parts.normalized_matcher = TokenMatcher(std::move(normalized_ones));
}

void count_ids(Parts& parts) {
  parts.vocab_size = parts.model->vocabulary().limit();
  std::unordered_set<std::string_view> special_contents;
  for (const AddedToken& token : parts.added) {
    parts.vocab_size = std::max(parts.vocab_size, token.id + 1);
    if (token.special) special_contents.insert(token.content);
  }
  parts.special.resize(parts.vocab_size);
  for (int32_t id = 0; id < parts.vocab_size; ++id)
    if (const std::string* text = parts.decoded_text(id))
      parts.special[id] = special_contents.contains(*text);
}

// "bos_token": a string, or an object with "content". Texts cannot begin or end with a token that does not exist; a
// padding token that only the configuration knows is common and harmless.
std::optional<int32_t> named_token(Parts& parts, const JsonNode& config, const JsonNode& map, const char* key,
                                   bool must_exist) {
  for (const JsonNode* node : {&config, &map}) {
    if (node->is_null() || !node->has(key)) continue;
    const JsonNode value = node->child(key);
    const std::string text = value.is_object() ? value.string("content") : value.text();
    const int32_t id = parts.find(text);
    if (id >= 0) return id;
    const std::string problem = fmt::format("{} is no token of tokenizer.json", in_quotes(text));
    if (must_exist) value.fail(problem);
    parts.warnings.push_back(fmt::format("{}: {}: {}", value.file(), value.path(), problem));
    return std::nullopt;
  }
  return std::nullopt;
}

// What the configuration does not name stays as it is.
void name_tokens(Parts& parts, const JsonNode& config, const JsonNode& map) {
  const auto name = [&](std::optional<int32_t>& id, const char* key, bool must_exist) {
    if (const auto named = named_token(parts, config, map, key, must_exist)) id = named;
  };
  name(parts.bos, "bos_token", true), name(parts.eos, "eos_token", true);
  name(parts.unk, "unk_token", false), name(parts.pad, "pad_token", false);
  if (!parts.unk && !parts.model->unk_token().empty())
    if (const int32_t id = parts.find(parts.model->unk_token()); id >= 0) parts.unk = id;
}

// Control pieces and the unknown piece are special tokens, found in the text itself. User-defined pieces are found in the
// normalised text, and merge with nothing; Unigram finds its own.
void add_pieces_of_their_own(const SentencePieceFile& file, Parts& parts) {
  std::vector<const AddedToken*> raw, normalized_ones;
  for (size_t id = 0; id < file.pieces.size(); ++id) {
    const SentencePieceFile::Piece& piece = file.pieces[id];
    using Type = SentencePieceFile::Type;
    const bool special = piece.type == Type::control || piece.type == Type::unknown;
    const bool frozen =
        piece.type == Type::user_defined && file.algorithm == SentencePieceFile::Algorithm::bpe;
    if (!special && !frozen) continue;
    AddedToken token;
    token.id = static_cast<int32_t>(id);
    token.content = token.matched = piece.text;
    token.special = special, token.normalized = !special;
    const AddedToken& kept = parts.added.emplace_back(std::move(token));
    parts.added_by_content.emplace(kept.content, &kept);
    parts.added_by_id.emplace(kept.id, &kept);
    (special ? raw : normalized_ones).push_back(&kept);
  }
  parts.raw_matcher = TokenMatcher(std::move(raw));
  parts.normalized_matcher = TokenMatcher(std::move(normalized_ones));
}

// Every byte that UTF-8 uses must come back from its token; else text would be lost without a word.
void check_bytes(const Parts& parts, const JsonNode& node) {
  const auto scratch = parts.model->make_scratch();
  for (int byte = 0; byte < 256; ++byte) {
    if (byte == 0xc0 || byte == 0xc1 || byte > 0xf4) continue;
    const char raw = static_cast<char>(byte);
    std::vector<int32_t> ids;
    parts.model->encode(std::string_view(&raw, 1), *scratch, ids);
    if (ids.size() == 1 && parts.model->vocabulary().text(ids[0]) == parts.model->unk_token()) continue;
    std::string back;
    for (const int32_t id : ids)
      back += from_byte_characters(parts.model->vocabulary().text(id)).value_or("");
    if (back != std::string_view(&raw, 1))
      node.fail(fmt::format("byte 0x{:02X} has no token ({}) and there is no unk_token", byte,
                            in_quotes(to_byte_characters({&raw, 1}))));
  }
}

}  // namespace

std::shared_ptr<Parts> read_parts(const JsonNode& tokenizer, const JsonNode& config, const JsonNode& map) {
  tokenizer.expect_object();
  if (tokenizer.has("version") && tokenizer.string("version") != "1.0")
    tokenizer.child("version").fail(
        fmt::format("{} is not supported, expected \"1.0\"", in_quotes(tokenizer.string("version"))));
  auto parts = std::make_shared<Parts>();
  parts->model = make_model(tokenizer.child("model"));
  parts->normalizer = make_normalizer(child_or_null(tokenizer, "normalizer"));
  parts->pre_tokenizer = make_pre_tokenizer(child_or_null(tokenizer, "pre_tokenizer"));
  if (parts->pre_tokenizer && parts->model->accepts_raw_bytes() && parts->pre_tokenizer->leave_bytes_raw()) {
    parts->model->use_raw_bytes();
    parts->spells_bytes = true;
    check_bytes(*parts, tokenizer.child("model"));
  }
  parts->decoder = make_decoder(child_or_null(tokenizer, "decoder"));
  read_added_tokens(child_or_null(tokenizer, "added_tokens"), *parts);
  count_ids(*parts);
  const auto is_known = [&](int64_t id) {
    return id >= 0 && id < parts->vocab_size && parts->decoded_text(static_cast<int32_t>(id)) != nullptr;
  };
  parts->post_processor = PostProcessor(child_or_null(tokenizer, "post_processor"), is_known);
  name_tokens(*parts, config, map);
  return parts;
}

std::shared_ptr<Parts> read_parts(const SentencePieceFile& file, const JsonNode& config,
                                  const JsonNode& map) {
  auto parts = std::make_shared<Parts>();
  parts->model = make_model(file);
  parts->normalizer = make_sentencepiece_normalizer(file);
  parts->decoder.push_back(make_sentencepiece_decoder(file));
  add_pieces_of_their_own(file, *parts);
  count_ids(*parts);
  const auto piece = [&](int32_t id) { return id < 0 ? std::nullopt : std::optional(id); };
  parts->bos = piece(file.bos_id), parts->eos = piece(file.eos_id), parts->pad = piece(file.pad_id);
  name_tokens(*parts, config, map);
  const auto ids = [&](const char* key, bool fallback, const std::optional<int32_t>& id) {
    const bool added = config.is_null() ? fallback : config.boolean_or(key, fallback);
    return added && id ? std::vector<int32_t>{*id} : std::vector<int32_t>{};
  };
  parts->post_processor =
      PostProcessor(ids("add_bos_token", true, parts->bos), ids("add_eos_token", false, parts->eos));
  return parts;
}

}  // namespace octavo::tokenizer
