// Regular expressions of a tokenizer.json. They are written for Oniguruma's Ruby syntax with a Unicode newer than that of
// PCRE2, which runs them here: the pattern is translated, and what cannot be translated is refused by name.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/json_node.h"

namespace octavo::tokenizer {

struct Span {
  uint32_t begin, end;  // bytes
  bool is_match;
};

// The PCRE2 pattern of the same meaning. Throws std::invalid_argument that names what is not supported.
std::string translate_pattern(std::string_view pattern);

class Regex {
 public:
  // `node` is where the pattern stands; throws bad_model.
  Regex(const std::string& pattern, const JsonNode& node);
  // Appends spans that cover `text` (valid UTF-8) in order: matches and what lies between. A match may be empty.
  // Throws Error(usage) when the pattern backtracks more than its limit on this text.
  void split(std::string_view text, std::vector<Span>& spans) const;

 private:
  struct Code;
  std::shared_ptr<const Code> code_;
  std::string pattern_;
};

// A {"String": ...} or {"Regex": ...} of Split and Replace. Throws bad_model for anything else.
class Pattern {
 public:
  explicit Pattern(const JsonNode& node);
  void split(std::string_view text, std::vector<Span>& spans) const;
  const std::string* literal() const {
    return regex_ ? nullptr : &literal_;
  }  // null for a regular expression
  const std::string& source() const { return literal_; }

 private:
  std::string literal_;
  std::shared_ptr<const Regex> regex_;
};

}  // namespace octavo::tokenizer
