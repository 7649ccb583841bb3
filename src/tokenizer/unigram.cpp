#include "tokenizer/unigram.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>

#include "tokenizer/utf8.h"

namespace octavo::tokenizer {
namespace {

constexpr double kUnknownPenalty = 10.0;  // below the worst piece

// The best way to reach a position: the piece that ends there, where it begins, and the sum of scores.
struct Reach {
  double score = 0;
  int32_t from = -1;  // -1: not reached yet
  int32_t id = -1;
};

struct UnigramScratch : ModelScratch {
  std::vector<Reach> reach;
  std::vector<std::pair<uint32_t, uint32_t>> pieces;  // begin and end, last first
};

}  // namespace

UnigramModel::UnigramModel(const JsonNode& node) {
  const JsonNode vocab = node.child("vocab");
  if (!vocab.json().is_array() || vocab.json().empty())
    vocab.fail("expected an array of [piece, score], not empty");
  double lowest = std::numeric_limits<double>::infinity();
  for (const nlohmann::json& entry : vocab.json()) {
    if (!entry.is_array() || entry.size() != 2 || !entry[0].is_string() || !entry[1].is_number())
      vocab.fail(fmt::format("entry {} is not [piece, score]", scores_.size()));
    vocabulary_.add(entry[0].get<std::string>(), static_cast<int64_t>(scores_.size()), vocab);
    scores_.push_back(entry[1].get<double>());
    lowest = std::min(lowest, scores_.back());
  }
  unk_score_ = lowest - kUnknownPenalty;
  if (node.has("unk_id")) unk_id_ = static_cast<int32_t>(node.integer("unk_id", 0, vocabulary_.limit() - 1));
  byte_fallback_ = node.boolean_or("byte_fallback", false);
  if (byte_fallback_) fallback_ids_ = byte_fallback_ids(vocab, vocabulary_);
  std::vector<ByteTrie::Entry> entries;
  for (int32_t id = 0; id < vocabulary_.limit(); ++id) entries.emplace_back(vocabulary_.text(id), id);
  pieces_ = ByteTrie(std::move(entries));
}

UnigramModel::UnigramModel(const SentencePieceFile& file)
    : float_sums_(true), unk_id_(file.unk_id), byte_fallback_(file.byte_fallback) {
  read_vocabulary(file, vocabulary_);
  if (byte_fallback_) fallback_ids_ = byte_fallback_ids(JsonNode(nlohmann::json(), file.name), vocabulary_);
  float lowest = std::numeric_limits<float>::max(), highest = std::numeric_limits<float>::lowest();
  for (const SentencePieceFile::Piece& piece : file.pieces) {
    if (piece.type != SentencePieceFile::Type::normal) continue;
    lowest = std::min(lowest, piece.score), highest = std::max(highest, piece.score);
  }
  unk_score_ = lowest - static_cast<float>(kUnknownPenalty);
  std::vector<ByteTrie::Entry> entries;
  for (size_t id = 0; id < file.pieces.size(); ++id) {
    const SentencePieceFile::Piece& piece = file.pieces[id];
    // A user-defined piece is better than whatever else could stand in its place.
    scores_.push_back(piece.type == SentencePieceFile::Type::user_defined
                          ? static_cast<float>(piece.text.size()) * highest - 0.1
                          : piece.score);
    if (piece.in_text())
      entries.emplace_back(vocabulary_.text(static_cast<int32_t>(id)), static_cast<int32_t>(id));
  }
  pieces_ = ByteTrie(std::move(entries));
}

std::unique_ptr<ModelScratch> UnigramModel::make_scratch() const {
  return std::make_unique<UnigramScratch>();
}

void UnigramModel::encode(std::string_view word, ModelScratch& scratch, std::vector<int32_t>& ids) const {
  auto& s = static_cast<UnigramScratch&>(scratch);
  s.reach.assign(word.size() + 1, {});
  const auto offer = [&](size_t from, size_t to, double score, int32_t id) {
    Reach& target = s.reach[to];
    const double total = score + s.reach[from].score;
    if (target.from < 0 || total > target.score)
      target = {float_sums_ ? static_cast<float>(total) : total, static_cast<int32_t>(from), id};
  };
  for (size_t at = 0; at < word.size();) {
    const size_t character = decode_utf8(word.data() + at).bytes;
    bool alone = false;  // whether the character is a piece of its own
    pieces_.for_each_prefix(word.substr(at), [&](int32_t id, size_t length) {
      offer(at, at + length, scores_[id], id);
      alone = alone || length == character;
    });
    if (!alone) {
      if (unk_id_ < 0)
        throw Error(ErrorKind::bad_model,
                    fmt::format("tokenizer: {} is no piece of the model, and it has no unk_id",
                                in_quotes(word.substr(at, character))));
      offer(at, at + character, unk_score_, unk_id_);
    }
    at += character;
  }
  s.pieces.clear();
  bool after_unknown = false;  // adjacent unknown pieces are one
  for (int32_t end = static_cast<int32_t>(word.size()); end > 0;) {
    const Reach& r = s.reach[end];
    const bool unknown = r.id == unk_id_;
    if (unknown && after_unknown)
      s.pieces.back().first = r.from;
    else
      s.pieces.emplace_back(r.from, end);
    after_unknown = unknown;
    end = r.from;
  }
  for (auto piece = s.pieces.rbegin(); piece != s.pieces.rend(); ++piece)
    append_piece(word.substr(piece->first, piece->second - piece->first), ids);
}

void UnigramModel::append_piece(std::string_view piece, std::vector<int32_t>& ids) const {
  if (const auto found = pieces_.longest(piece); found.value >= 0 && found.length == piece.size())
    ids.push_back(found.value);
  else if (byte_fallback_)
    for (const char c : piece) ids.push_back(fallback_ids_[static_cast<uint8_t>(c)]);
  else
    ids.push_back(unk_id_);
}

}  // namespace octavo::tokenizer
