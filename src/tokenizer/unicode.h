// What the `tokenizers` package believes about code points (tools/make_unicode_tables.py measures it): general categories,
// white space, words, case and normal forms. Its normalisers follow an older Unicode than its regular expressions.
#pragma once
#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace octavo::tokenizer {

// In the order of the generated tables.
enum class Category : uint8_t {
  Cn,
  Lu,
  Ll,
  Lt,
  Lm,
  Lo,
  Mn,
  Mc,
  Me,
  Nd,
  Nl,
  No,
  Pc,
  Pd,
  Ps,
  Pe,
  Pi,
  Pf,
  Po,
  Sm,
  Sc,
  Sk,
  So,
  Zs,
  Zl,
  Zp,
  Cc,
  Cf,
  Co,
  Cs
};
inline constexpr int kCategories = 30;
using CategorySet = uint32_t;  // bit i: category i
constexpr CategorySet set_of(Category c) { return 1u << static_cast<int>(c); }
// "L", "Lu", ...; 0 for a name that is no general category.
CategorySet categories_named(std::string_view name);
inline constexpr CategorySet kLetter = 0x3e, kMark = 0x1c0, kNumber = 0xe00;

enum CharacterFlag : uint8_t {
  kWord = 1,             // \w of added tokens and of the Whitespace pre-tokeniser
  kWhiteSpace = 2,       // White_Space: the 25 code points of \s everywhere
  kNumeric = 4,          // Digits
  kPunctuation = 8,      // Punctuation and BERT
  kRemovedByClean = 16,  // BertNormalizer's clean_text
  kNonspacingMark = 32,  // BertNormalizer's strip_accents
  kCombiningMark = 64,   // StripAccents
  kPatternWord = 128,    // \w of regular expressions
};

// A byte for every code point, in two stages: page number, then the byte in the page.
class CodePointBytes {
 public:
  // `runs`: first << value_bits | value, ascending, the first run starting at 0.
  CodePointBytes(std::span<const uint32_t> runs, int value_bits);
  uint8_t operator[](char32_t c) const { return pages_[page_of_[c >> 8] << 8 | (c & 0xff)]; }

 private:
  std::array<uint16_t, 0x1100> page_of_;
  std::vector<uint8_t> pages_;
};

const CodePointBytes& category_table();
const CodePointBytes& flag_table();
// The script of a code point as the UnicodeScripts pre-tokeniser numbers them.
const CodePointBytes& script_table();
inline constexpr uint8_t kAnyScript = 0;  // blanks, and what has no script

inline bool in_categories(char32_t c, CategorySet set) { return set >> category_table()[c] & 1u; }
inline bool has_flag(char32_t c, CharacterFlag flag) { return flag_table()[c] & flag; }
inline bool is_white_space(char32_t c) {
  return c < 0x80 ? c == ' ' || (c >= 9 && c <= 13) : has_flag(c, kWhiteSpace);
}

// Ranges [first, last] of the code points of `set`, ascending.
struct CodePointRange {
  uint32_t first, last;
};
std::vector<CodePointRange> ranges_of(CategorySet set);
std::vector<CodePointRange> ranges_with(CharacterFlag flag);
// Those of `set` that Debian's PCRE2 (Unicode 14) does not know yet.
std::vector<CodePointRange> newer_than_pcre2(CategorySet set);

void append_lowercase(std::string& out, char32_t c);

enum class NormalForm { nfc, nfd, nfkc, nfkd };
std::u32string normalize(std::u32string_view text, NormalForm form);

}  // namespace octavo::tokenizer
