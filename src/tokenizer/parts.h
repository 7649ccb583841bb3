// The loaded tokenizer: its steps in the order in which a text passes them.
#pragma once
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "tokenizer/added_tokens.h"
#include "tokenizer/decoder.h"
#include "tokenizer/model.h"
#include "tokenizer/normalizer.h"
#include "tokenizer/post_processor.h"
#include "tokenizer/pre_tokenizer.h"

namespace octavo::tokenizer {

// Scratch memory and word caches, one for each encode call that runs at the same time.
class ScratchPool {
 public:
  std::unique_ptr<ModelScratch> take(const Model& model) {
    const std::lock_guard lock(mutex_);
    if (free_.empty()) return model.make_scratch();
    auto scratch = std::move(free_.back());
    free_.pop_back();
    return scratch;
  }
  void give_back(std::unique_ptr<ModelScratch> scratch) {
    const std::lock_guard lock(mutex_);
    free_.push_back(std::move(scratch));
  }

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<ModelScratch>> free_;
};

struct Parts {
  // In the order of the file; ids may overlap the model's vocabulary.
  std::deque<AddedToken> added;
  std::unordered_map<std::string, const AddedToken*, TextHash, std::equal_to<>> added_by_content;
  std::unordered_map<int32_t, const AddedToken*> added_by_id;
  TokenMatcher raw_matcher;                     // before the normaliser
  TokenMatcher normalized_matcher;              // after it
  std::unique_ptr<Normalizer> normalizer;       // null: none
  std::unique_ptr<PreTokenizer> pre_tokenizer;  // null: none
  std::unique_ptr<Model> model;
  PostProcessor post_processor;
  std::vector<std::unique_ptr<DecoderStep>> decoder;

  bool spells_bytes = false;  // each byte of a word is a character of the vocabulary: nothing is lost
  int32_t vocab_size = 0;     // largest id + 1
  std::vector<bool> special;  // by id
  std::optional<int32_t> bos, eos, unk, pad;
  std::vector<std::string> warnings;
  mutable ScratchPool scratch;

  int32_t find(std::string_view token) const {  // -1: none
    const auto entry = added_by_content.find(token);
    return entry != added_by_content.end() ? entry->second->id : model->vocabulary().find(token);
  }
  // What the decoder is given for an id; null where no token has it.
  const std::string* decoded_text(int32_t id) const {
    const auto entry = added_by_id.find(id);
    if (entry != added_by_id.end()) return &entry->second->matched;
    return model->vocabulary().has(id) ? &model->vocabulary().text(id) : nullptr;
  }
};

// `config` and `map` are the JSON of tokenizer_config.json and special_tokens_map.json, null when absent.
std::shared_ptr<Parts> read_parts(const JsonNode& tokenizer, const JsonNode& config, const JsonNode& map);
// The same of a SentencePiece model file: BOS in front unless "add_bos_token" of the configuration says no, EOS behind if
// "add_eos_token" says so.
std::shared_ptr<Parts> read_parts(const SentencePieceFile& file, const JsonNode& config, const JsonNode& map);

}  // namespace octavo::tokenizer
