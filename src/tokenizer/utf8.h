// UTF-8 in and out. After first_invalid_utf8() has passed a text, decode_utf8() needs no further checks.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace octavo::tokenizer {

struct CodePoint {
  char32_t value;
  int bytes;  // 1 to 4
};

// The character at `p` of valid UTF-8.
inline CodePoint decode_utf8(const char* p) {
  const auto b = reinterpret_cast<const unsigned char*>(p);
  if (b[0] < 0x80) return {b[0], 1};
  if (b[0] < 0xe0) return {static_cast<char32_t>((b[0] & 0x1f) << 6 | (b[1] & 0x3f)), 2};
  if (b[0] < 0xf0)
    return {static_cast<char32_t>((b[0] & 0x0f) << 12 | (b[1] & 0x3f) << 6 | (b[2] & 0x3f)), 3};
  return {
      static_cast<char32_t>((b[0] & 0x07) << 18 | (b[1] & 0x3f) << 12 | (b[2] & 0x3f) << 6 | (b[3] & 0x3f)),
      4};
}

// The character that ends before `end`; `begin` < `end`.
inline CodePoint decode_utf8_before(const char* begin, const char* end) {
  const char* p = end - 1;
  while (p > begin && (static_cast<unsigned char>(*p) & 0xc0) == 0x80) --p;
  return decode_utf8(p);
}

inline void append_utf8(std::string& out, char32_t c) {
  if (c < 0x80) {
    out += static_cast<char>(c);
  } else if (c < 0x800) {
    out += static_cast<char>(0xc0 | c >> 6);
    out += static_cast<char>(0x80 | (c & 0x3f));
  } else if (c < 0x10000) {
    out += static_cast<char>(0xe0 | c >> 12);
    out += static_cast<char>(0x80 | (c >> 6 & 0x3f));
    out += static_cast<char>(0x80 | (c & 0x3f));
  } else {
    out += static_cast<char>(0xf0 | c >> 18);
    out += static_cast<char>(0x80 | (c >> 12 & 0x3f));
    out += static_cast<char>(0x80 | (c >> 6 & 0x3f));
    out += static_cast<char>(0x80 | (c & 0x3f));
  }
}

// What the bytes at the start of `text` are: a character, bytes that never become one, or the start of one.
enum class Utf8Prefix { character, invalid, incomplete };
struct Utf8Step {
  Utf8Prefix kind;
  size_t
      bytes;  // length of the character, or of the maximal part of an ill-formed one (Unicode 3.9, best practice)
};
Utf8Step next_utf8(std::string_view text);  // text not empty

// Byte offset of the first byte that is not part of valid UTF-8; npos when all is.
size_t first_invalid_utf8(std::string_view text);

inline constexpr char kReplacementCharacter[] = "\xef\xbf\xbd";  // U+FFFD

}  // namespace octavo::tokenizer
