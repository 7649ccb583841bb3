// Unigram: of all ways to cut a text into known pieces, the one whose scores (log probabilities) have the largest sum.
#pragma once
#include <vector>

#include "tokenizer/byte_trie.h"
#include "tokenizer/model.h"

namespace octavo::tokenizer {

class UnigramModel : public Model {
 public:
  explicit UnigramModel(const JsonNode& node);
  explicit UnigramModel(const SentencePieceFile& file);
  std::unique_ptr<ModelScratch> make_scratch() const override;
  void encode(std::string_view word, ModelScratch& scratch, std::vector<int32_t>& ids) const override;
  std::string unk_token() const override { return unk_id_ < 0 ? std::string() : vocabulary_.text(unk_id_); }

 private:
  void append_piece(std::string_view piece, std::vector<int32_t>& ids) const;

  ByteTrie pieces_;
  std::vector<double> scores_;  // by id
  bool float_sums_ = false;     // as SentencePiece adds scores up; the `tokenizers` package uses doubles
  double unk_score_ = 0;
  int32_t unk_id_ = -1;
  bool byte_fallback_ = false;
  std::array<int32_t, 256> fallback_ids_{};
};

}  // namespace octavo::tokenizer
