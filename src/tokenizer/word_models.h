// Models without merges: WordPiece takes the longest known piece from the left, WordLevel knows whole words only.
#pragma once
#include "tokenizer/byte_trie.h"
#include "tokenizer/model.h"

namespace octavo::tokenizer {

class WordPieceModel : public Model {
 public:
  explicit WordPieceModel(const JsonNode& node);
  std::unique_ptr<ModelScratch> make_scratch() const override { return std::make_unique<ModelScratch>(); }
  void encode(std::string_view word, ModelScratch& scratch, std::vector<int32_t>& ids) const override;
  std::string unk_token() const override { return unk_token_; }

 private:
  std::string unk_token_;
  int32_t unk_id_ = -1;
  int64_t most_characters_ = 100;   // longer words are unknown
  ByteTrie starting_, continuing_;  // continuing: behind the prefix, e.g. ##
};

class WordLevelModel : public Model {
 public:
  explicit WordLevelModel(const JsonNode& node);
  std::unique_ptr<ModelScratch> make_scratch() const override { return std::make_unique<ModelScratch>(); }
  void encode(std::string_view word, ModelScratch& scratch, std::vector<int32_t>& ids) const override;
  std::string unk_token() const override { return unk_token_; }

 private:
  std::string unk_token_;
  int32_t unk_id_ = -1;
};

}  // namespace octavo::tokenizer
