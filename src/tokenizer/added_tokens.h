// Tokens that are looked for in the text itself, before and after the normaliser.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/byte_trie.h"
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
  TokenMatcher() = default;
  // The tokens must outlive the matcher; `matched` of each is not empty and different from all others.
  explicit TokenMatcher(std::vector<const AddedToken*> tokens);
  // Splits `in` at the tokens. Without `parse_special` special tokens stay text.
  void split(const Piece& in, bool parse_special, std::vector<Piece>& out) const;

 private:
  std::vector<const AddedToken*> tokens_;
  ByteTrie trie_;
};

}  // namespace octavo::tokenizer
