// SentencePiece's compiled normalisation rules ("precompiled_charsmap"): a double-array trie from texts to texts
// (https://github.com/s-yata/darts-clone; sentencepiece/src/normalizer.cc). Untrusted: every step is checked.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace octavo::tokenizer {

class Charsmap {
 public:
  Charsmap() = default;  // no rules
  // uint32 bytes of the trie, the trie's units, then texts that end with NUL. Throws std::invalid_argument that says what is
  // wrong with it.
  explicit Charsmap(std::string_view blob);

  bool empty() const { return units_.empty(); }

  struct Rule {
    size_t length;  // bytes of the text that it replaces
    std::string_view replacement;
  };
  // The rule for the shortest or the longest beginning of `text`, if any. Throws Error(bad_model) when the file points nowhere.
  std::optional<Rule> shortest(std::string_view text) const { return find(text, true); }
  std::optional<Rule> longest(std::string_view text) const { return find(text, false); }

 private:
  std::optional<Rule> find(std::string_view text, bool first_only) const;
  std::string_view replacement_at(uint32_t index) const;

  std::vector<uint32_t> units_;
  std::string texts_;
};

// Throws std::invalid_argument for what is no base64 (RFC 4648, with padding).
std::string from_base64(std::string_view text);

}  // namespace octavo::tokenizer
