// The last step of encoding: the ids of one word that the pre-tokeniser made.
#pragma once
#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/json_node.h"
#include "tokenizer/sentencepiece_file.h"
#include "tokenizer/vocabulary.h"

namespace octavo::tokenizer {

// Scratch and word cache of one encode call; kept and handed on between calls by the tokenizer.
class ModelScratch {
 public:
  virtual ~ModelScratch() = default;
};

class Model {
 public:
  virtual ~Model() = default;
  const Vocabulary& vocabulary() const { return vocabulary_; }
  virtual std::unique_ptr<ModelScratch> make_scratch() const = 0;
  // Appends the ids of `word` (not empty, valid UTF-8; raw bytes after use_raw_bytes()).
  virtual void encode(std::string_view word, ModelScratch& scratch, std::vector<int32_t>& ids) const = 0;
  // Words as the bytes themselves, where ByteLevel would spell them as characters: whether the model can, and that it shall.
  virtual bool accepts_raw_bytes() const { return false; }
  virtual void use_raw_bytes() {}
  virtual std::string unk_token() const { return {}; }

 protected:
  Vocabulary vocabulary_;
};

// {"text": id, ...} of BPE, WordPiece and WordLevel.
void read_vocabulary(const JsonNode& node, Vocabulary& vocabulary);
void read_vocabulary(const SentencePieceFile& file, Vocabulary& vocabulary);
// Ids of <0x00> to <0xFF>; throws bad_model naming one that is missing.
std::array<int32_t, 256> byte_fallback_ids(const JsonNode& node, const Vocabulary& vocabulary);

// The "model" object of a tokenizer.json.
std::unique_ptr<Model> make_model(const JsonNode& node);
std::unique_ptr<Model> make_model(const SentencePieceFile& file);

}  // namespace octavo::tokenizer
