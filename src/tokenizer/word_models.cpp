#include "tokenizer/word_models.h"

#include <fmt/format.h>

#include <algorithm>

namespace octavo::tokenizer {
namespace {

int32_t id_of_unk(const JsonNode& node, const Vocabulary& vocabulary, const std::string& unk_token) {
  const int32_t id = vocabulary.find(unk_token);
  if (id < 0) node.fail(fmt::format("unk_token {} is not in the vocabulary", in_quotes(unk_token)));
  return id;
}

}  // namespace

WordPieceModel::WordPieceModel(const JsonNode& node) : unk_token_(node.string_or("unk_token", "[UNK]")) {
  read_vocabulary(node.child("vocab"), vocabulary_);
  unk_id_ = id_of_unk(node, vocabulary_, unk_token_);
  if (node.has("max_input_chars_per_word"))
    most_characters_ = node.integer("max_input_chars_per_word", 0, INT32_MAX);
  const std::string prefix = node.string_or("continuing_subword_prefix", "##");
  std::vector<ByteTrie::Entry> starting, continuing;
  for (int32_t id = 0; id < vocabulary_.limit(); ++id) {
    if (!vocabulary_.has(id)) continue;
    const std::string_view text = vocabulary_.text(id);
    starting.emplace_back(text, id);
    if (text.starts_with(prefix)) continuing.emplace_back(text.substr(prefix.size()), id);
  }
  starting_ = ByteTrie(std::move(starting));
  continuing_ = ByteTrie(std::move(continuing));
}

void WordPieceModel::encode(std::string_view word, ModelScratch&, std::vector<int32_t>& ids) const {
  const size_t before = ids.size();
  const auto characters = std::count_if(
      word.begin(), word.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; });
  bool known = characters <= most_characters_;
  for (size_t at = 0; known && at < word.size();) {
    const ByteTrie::Found piece = (at == 0 ? starting_ : continuing_).longest(word.substr(at));
    known = piece.value >= 0;
    if (known) ids.push_back(piece.value);
    at += piece.length;
  }
  if (!known) {
    ids.resize(before);
    ids.push_back(unk_id_);
  }
}

WordLevelModel::WordLevelModel(const JsonNode& node) : unk_token_(node.string("unk_token")) {
  read_vocabulary(node.child("vocab"), vocabulary_);
  unk_id_ = id_of_unk(node, vocabulary_, unk_token_);
}

void WordLevelModel::encode(std::string_view word, ModelScratch&, std::vector<int32_t>& ids) const {
  const int32_t id = vocabulary_.find(word);
  ids.push_back(id < 0 ? unk_id_ : id);
}

}  // namespace octavo::tokenizer
