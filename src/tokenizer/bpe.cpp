#include "tokenizer/bpe.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>

#include "tokenizer/bpe_merge.h"
#include "tokenizer/byte_level.h"
#include "tokenizer/utf8.h"
#include "tokenizer/word_cache.h"

namespace octavo::tokenizer {
namespace {

struct BpeScratch : ModelScratch {
  WordCache cache;
  MergeScratch merge;
  std::vector<int32_t> symbols;
};

}  // namespace

static size_t slots_for(size_t rules) {
  size_t slots = 2;
  while (slots < 2 * rules + 2) slots *= 2;
  return slots;
}

void MergeTable::insert(const Rule& rule, uint32_t rank) {
  const uint64_t key = key_of(rule.left, rule.right);
  size_t i = slot_of(key);
  while (slots_[i].key != kEmpty && slots_[i].key != key) i = (i + 1) & mask_;
  slots_[i] = {key, {rank, rule.id}};
}

MergeTable::MergeTable(std::vector<Rule> rules, const std::vector<uint32_t>& ranks)
    : slots_(slots_for(rules.size())), mask_(slots_.size() - 1), rules_(std::move(rules)), in_order_(false) {
  for (size_t i = 0; i < rules_.size(); ++i) insert(rules_[i], ranks[i]);
}

MergeTable::MergeTable(std::vector<Rule> rules)
    : slots_(slots_for(rules.size())), mask_(slots_.size() - 1), rules_(std::move(rules)) {
  std::unordered_map<int32_t, uint32_t> last_rank_of;  // the highest rank that makes a token
  for (uint32_t rank = 0; rank < rules_.size(); ++rank) {
    insert(rules_[rank], rank);
    last_rank_of[rules_[rank].id] = rank;
  }
  for (uint32_t rank = 0; rank < rules_.size(); ++rank)
    for (const int32_t part : {rules_[rank].left, rules_[rank].right})
      if (const auto made = last_rank_of.find(part); made != last_rank_of.end() && made->second >= rank)
        in_order_ = false;
}

BpeModel::BpeModel(const JsonNode& node) {
  if (node.has("dropout")) {
    const nlohmann::json& dropout = node.child("dropout").json();
    if (!dropout.is_number() || dropout.get<double>() != 0.0)
      node.child("dropout").fail("is " + dropout.dump() +
                                 ": encoding at random is not supported, set it to null");
  }
  fuse_unk_ = node.boolean_or("fuse_unk", false);
  byte_fallback_ = node.boolean_or("byte_fallback", false);
  ignore_merges_ = node.boolean_or("ignore_merges", false);
  unk_token_ = node.string_or("unk_token", "");
  prefix_ = node.string_or("continuing_subword_prefix", "");
  suffix_ = node.string_or("end_of_word_suffix", "");

  const JsonNode vocab = node.child("vocab");
  read_vocabulary(vocab, vocabulary_);
  find_ids_of_characters();
  if (byte_fallback_) fallback_ids_ = byte_fallback_ids(vocab, vocabulary_);
  read_merges(node.child("merges"));
  see_whether_marks_part();
}

BpeModel::BpeModel(const SentencePieceFile& file)
    : unk_token_(file.pieces[file.unk_id].text), fuse_unk_(true) {
  byte_fallback_ = file.byte_fallback;
  read_vocabulary(file, vocabulary_);
  find_ids_of_characters();
  if (byte_fallback_) fallback_ids_ = byte_fallback_ids(JsonNode(nlohmann::json(), file.name), vocabulary_);

  std::vector<float> scores;  // all that occur, the highest first: the rank of a merge
  for (const SentencePieceFile::Piece& piece : file.pieces)
    if (piece.in_text()) scores.push_back(piece.score);
  std::sort(scores.begin(), scores.end(), std::greater<>{});
  scores.erase(std::unique(scores.begin(), scores.end()), scores.end());

  std::vector<MergeTable::Rule> rules;
  std::vector<uint32_t> ranks;
  const auto piece_of = [&](std::string_view text) {
    const int32_t id = vocabulary_.find(text);
    return id >= 0 && file.pieces[id].in_text() ? id : -1;
  };
  for (size_t id = 0; id < file.pieces.size(); ++id) {
    const SentencePieceFile::Piece& piece = file.pieces[id];
    if (!piece.in_text()) continue;
    const std::string_view text = piece.text;
    const auto rank = static_cast<uint32_t>(
        std::lower_bound(scores.begin(), scores.end(), piece.score, std::greater<>{}) - scores.begin());
    for (size_t at = 0, bytes = 0; at < text.size(); at += bytes) {
      bytes = static_cast<size_t>(decode_utf8(text.data() + at).bytes);
      if (piece.type == SentencePieceFile::Type::normal && piece_of(text.substr(at, bytes)) < 0)
        throw Error(ErrorKind::bad_model,
                    fmt::format("{}: piece {} ({}): its character {} is no piece, which is not supported",
                                file.name, id, in_quotes(text), in_quotes(text.substr(at, bytes))));
      const int32_t left = piece_of(text.substr(0, at)), right = piece_of(text.substr(at));
      if (at == 0 || left < 0 || right < 0) continue;
      rules.push_back({left, right, static_cast<int32_t>(id)});
      ranks.push_back(rank);
    }
  }
  merges_ = MergeTable(std::move(rules), ranks);
  see_whether_marks_part();
}

void BpeModel::see_whether_marks_part() {
  marks_part_ = !ignore_merges_ && prefix_.empty() && suffix_.empty() && vocabulary_.find(kSpaceMark) >= 0;
  for (int32_t id = 0; marks_part_ && id < vocabulary_.limit(); ++id) {
    std::string_view text = vocabulary_.text(id);
    while (text.starts_with(kSpaceMark)) text.remove_prefix(std::size(kSpaceMark) - 1);
    marks_part_ = text.find(kSpaceMark) == std::string_view::npos;
  }
}

void BpeModel::find_ids_of_characters() {
  for (int c = 0; c < 128; ++c) ascii_ids_[c] = vocabulary_.find(std::string(1, static_cast<char>(c)));
  if (!unk_token_.empty()) unk_id_ = vocabulary_.find(unk_token_);
}

// Both forms of a merge: "left right", and ["left", "right"].
void BpeModel::read_merges(const JsonNode& node) {
  if (!node.json().is_array()) node.fail("expected an array");
  std::vector<MergeTable::Rule> rules;
  rules.reserve(node.json().size());
  std::string left, right;
  for (const nlohmann::json& merge : node.json()) {
    const auto fail = [&](const std::string& problem) {
      JsonNode(merge, node.file(), fmt::format("{}[{}]", node.path(), &merge - &node.json()[0]))
          .fail(problem);
    };
    if (merge.is_string()) {
      const auto& text = merge.get_ref<const std::string&>();
      if (text.starts_with("#version")) continue;  // a header line of merges.txt that some converters kept
      const size_t space = text.find(' ');
      if (space == std::string::npos || text.find(' ', space + 1) != std::string::npos)
        fail(fmt::format("{} is not two tokens with a space between", in_quotes(text)));
      left = text.substr(0, space), right = text.substr(space + 1);
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      left = merge[0].get<std::string>(), right = merge[1].get<std::string>();
    } else {
      fail("expected \"left right\" or [\"left\", \"right\"]");
    }
    if (right.size() < prefix_.size())
      fail(fmt::format("{} is shorter than continuing_subword_prefix {}", in_quotes(right),
                       in_quotes(prefix_)));
    const std::string joined = left + right.substr(prefix_.size());
    const int32_t ids[3] = {vocabulary_.find(left), vocabulary_.find(right), vocabulary_.find(joined)};
    for (int i = 0; i < 3; ++i)
      if (ids[i] < 0)
        fail(fmt::format("token {} is not in the vocabulary", in_quotes(i == 0   ? left
                                                                        : i == 1 ? right
                                                                                 : joined)));
    rules.push_back({ids[0], ids[1], ids[2]});
  }
  merges_ = MergeTable(std::move(rules));
}

void BpeModel::use_raw_bytes() {
  for (int byte = 0; byte < 256; ++byte) {
    std::string character;
    append_utf8(character, kByteCharacters[byte]);
    byte_ids_[byte] = vocabulary_.find(character);
  }
  if (ignore_merges_)
    for (int32_t id = 0; id < vocabulary_.limit(); ++id)
      if (vocabulary_.has(id))
        if (auto bytes = from_byte_characters(vocabulary_.text(id))) raw_ids_.emplace(std::move(*bytes), id);
  raw_bytes_ = true;
}

std::unique_ptr<ModelScratch> BpeModel::make_scratch() const { return std::make_unique<BpeScratch>(); }

int32_t BpeModel::whole_word(std::string_view word) const {
  if (!raw_bytes_) return vocabulary_.find(word);
  const auto found = raw_ids_.find(word);
  return found == raw_ids_.end() ? -1 : found->second;
}

void BpeModel::encode(std::string_view word, ModelScratch& scratch, std::vector<int32_t>& ids) const {
  constexpr std::string_view kMark = kSpaceMark;
  size_t begin = 0;
  for (size_t at = 0; marks_part_ && (at = word.find(kMark, at)) != std::string_view::npos;
       at += kMark.size()) {
    if (at == begin || word.substr(0, at).ends_with(kMark)) continue;
    encode_word(word.substr(begin, at - begin), scratch, ids);
    begin = at;
  }
  encode_word(word.substr(begin), scratch, ids);
}

void BpeModel::encode_word(std::string_view word, ModelScratch& scratch, std::vector<int32_t>& ids) const {
  auto& s = static_cast<BpeScratch&>(scratch);
  if (const auto found = s.cache.find(word); found.ids) {
    ids.insert(ids.end(), found.ids, found.ids + found.count);
    return;
  }
  const size_t before = ids.size();
  if (const int32_t whole = ignore_merges_ ? whole_word(word) : -1; whole >= 0) {
    ids.push_back(whole);
  } else {
    s.symbols.clear();
    if (!raw_bytes_)
      symbols_of(word, s.symbols);
    else if (!symbols_of_bytes(word, s.symbols))
      s.symbols.clear(), symbols_of(to_byte_characters(word), s.symbols);
    merge_symbols(merges_, s.symbols, s.merge);
    ids.insert(ids.end(), s.symbols.begin(), s.symbols.end());
  }
  s.cache.insert(word, ids.data() + before, ids.size() - before);
}

bool BpeModel::symbols_of_bytes(std::string_view word, std::vector<int32_t>& symbols) const {
  symbols.reserve(word.size());
  for (const char c : word) {
    const int32_t id = byte_ids_[static_cast<uint8_t>(c)];
    if (id < 0) return false;  // as characters: then unk_token has its say
    symbols.push_back(id);
  }
  return true;
}

int32_t BpeModel::symbol_of(std::string_view character) const {
  const bool ascii = character.size() == 1 && static_cast<unsigned char>(character[0]) < 128;
  return ascii ? ascii_ids_[static_cast<unsigned char>(character[0])] : vocabulary_.find(character);
}

// One symbol a character; a character that is no token becomes its bytes, the unknown token, or nothing.
void BpeModel::symbols_of(std::string_view word, std::vector<int32_t>& symbols) const {
  bool unk_pending = false;
  std::string spelled;
  for (size_t at = 0; at < word.size();) {
    const size_t bytes = decode_utf8(word.data() + at).bytes;
    std::string_view text = word.substr(at, bytes);
    const bool first = at == 0, last = at + bytes == word.size();
    at += bytes;
    if ((!first && !prefix_.empty()) || (last && !suffix_.empty())) {
      spelled = (first ? "" : prefix_) + std::string(text) + (last ? suffix_ : "");
      text = spelled;
    }
    if (const int32_t id = symbol_of(text); id >= 0) {
      if (unk_pending) symbols.push_back(unk_id_);
      unk_pending = false;
      symbols.push_back(id);
    } else if (byte_fallback_) {
      for (const char c : text) symbols.push_back(fallback_ids_[static_cast<uint8_t>(c)]);
    } else if (!unk_token_.empty()) {
      if (unk_id_ < 0)
        throw Error(ErrorKind::bad_model,
                    fmt::format("tokenizer: {} is not in the vocabulary, and neither is unk_token {}",
                                in_quotes(text), in_quotes(unk_token_)));
      if (unk_pending && !fuse_unk_) symbols.push_back(unk_id_);
      unk_pending = true;
    }
  }
  if (unk_pending) symbols.push_back(unk_id_);
}

}  // namespace octavo::tokenizer
