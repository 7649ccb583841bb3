// Byte-pair encoding: a word starts as its characters, and the adjacent pair of lowest rank (leftmost first) is merged
// until no pair has a rank. O(n log n) in the length of the word.
#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "tokenizer/model.h"
#include "tokenizer/sentencepiece_file.h"

namespace octavo::tokenizer {

// (left id, right id) -> rank and id of the merged token; open addressing over a power of two.
class MergeTable {
 public:
  static constexpr uint32_t kNone = 0xffffffffu;
  struct Merge {
    uint32_t rank;  // kNone: the pair does not merge
    int32_t id;
  };

  struct Rule {
    int32_t left = -1, right = -1, id = -1;
  };

  // The merges in order of rank; a later one of the same pair replaces the earlier.
  explicit MergeTable(std::vector<Rule> rules = {});
  // Ranks that several rules may share: of those the leftmost place in the word comes first.
  MergeTable(std::vector<Rule> rules, const std::vector<uint32_t>& ranks);
  const std::vector<Rule>& rules() const { return rules_; }  // by rank
  // Whether each merge has a higher rank than those that make its parts, as training leaves it: then merging never opens
  // a chance of lower rank than the one just taken.
  bool in_order() const { return in_order_; }
  Merge find(int32_t left, int32_t right) const {
    const uint64_t key = key_of(left, right);
    for (size_t i = slot_of(key);; i = (i + 1) & mask_) {
      if (slots_[i].key == key) return slots_[i].merge;
      if (slots_[i].key == kEmpty) return {kNone, -1};
    }
  }

 private:
  static constexpr uint64_t kEmpty = ~uint64_t{0};
  struct Slot {
    uint64_t key = kEmpty;
    Merge merge{kNone, -1};
  };
  static uint64_t key_of(int32_t left, int32_t right) {
    return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
  }
  size_t slot_of(uint64_t key) const {
    key *= 0x9e3779b97f4a7c15ull;
    key ^= key >> 32;
    return (key * 0xd6e8feb86659fd93ull >> 32) & mask_;
  }
  void insert(const Rule& rule, uint32_t rank);
  std::vector<Slot> slots_;
  size_t mask_ = 0;
  std::vector<Rule> rules_;
  bool in_order_ = true;
};

class BpeModel : public Model {
 public:
  explicit BpeModel(const JsonNode& node);
  // Two neighbours merge when together they are a piece; the piece of the highest score first.
  explicit BpeModel(const SentencePieceFile& file);
  std::unique_ptr<ModelScratch> make_scratch() const override;
  void encode(std::string_view word, ModelScratch& scratch, std::vector<int32_t>& ids) const override;
  // What is spelled with characters cannot be done on bytes.
  bool accepts_raw_bytes() const override { return !byte_fallback_ && prefix_.empty() && suffix_.empty(); }
  void use_raw_bytes() override;
  std::string unk_token() const override { return unk_token_; }

 private:
  void read_merges(const JsonNode& node);
  void find_ids_of_characters();
  void symbols_of(std::string_view word, std::vector<int32_t>& symbols) const;
  bool symbols_of_bytes(std::string_view word, std::vector<int32_t>& symbols) const;
  void encode_word(std::string_view word, ModelScratch& scratch, std::vector<int32_t>& ids) const;
  void see_whether_marks_part();
  int32_t whole_word(std::string_view word) const;  // -1: not a token
  int32_t symbol_of(std::string_view character) const;

  MergeTable merges_;
  std::string unk_token_, prefix_, suffix_;
  int32_t unk_id_ = -1;
  std::array<int32_t, 128> ascii_ids_{};  // the tokens of single ASCII characters, or -1
  bool fuse_unk_ = false, byte_fallback_ = false, ignore_merges_ = false;
  std::array<int32_t, 256> fallback_ids_{};  // of <0x00> to <0xFF>
  // Whether no token goes on over a blank's mark, U+2581, behind other characters: then a text without a pre-tokeniser parts
  // there into words that merge on their own, and the word cache knows most of them.
  bool marks_part_ = false;
  bool raw_bytes_ = false;
  std::array<int32_t, 256> byte_ids_{};  // raw bytes: the token of each byte's character, or -1
  std::unordered_map<std::string, int32_t, TextHash, std::equal_to<>>
      raw_ids_;  // raw bytes and ignore_merges
};

}  // namespace octavo::tokenizer
