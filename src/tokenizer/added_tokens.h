// Tokens that are looked for in the text itself, before and after the normaliser.
#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "tokenizer/normalizer.h"
#include "tokenizer/pieces.h"

namespace octavo::tokenizer {

struct AddedToken {
  int32_t id = -1;
  std::string content;
  std::string matched;  // what is looked for: the content, normalised when `normalized`
  bool single_word = false, lstrip = false, rstrip = false, normalized = true, special = false;
};

// Finds the tokens of a set in a text, leftmost and then longest first. Time: bytes of the text times the longest token.
class TokenMatcher {
 public:
  void add(const AddedToken* token);  // `matched` not empty and not in the set yet
  bool has(std::string_view matched) const;
  // Splits `in` at the tokens. Without `parse_special` special tokens stay text.
  void split(const Piece& in, bool parse_special, std::vector<Piece>& out) const;

 private:
  struct Node {
    std::unordered_map<uint8_t, uint32_t> next;
    const AddedToken* token = nullptr;
  };
  const AddedToken* longest_at(std::string_view text, size_t at) const;

  std::vector<Node> nodes_ = std::vector<Node>(1);
  std::array<uint32_t, 256> first_{};  // node after the first byte; 0: no token starts so
  bool empty_ = true;
};

}  // namespace octavo::tokenizer
