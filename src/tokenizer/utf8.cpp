#include "tokenizer/utf8.h"

#include <cstring>

namespace octavo::tokenizer {

Utf8Step next_utf8(std::string_view text) {
  const auto b = reinterpret_cast<const unsigned char*>(text.data());
  if (b[0] < 0x80) return {Utf8Prefix::character, 1};
  // The first continuation byte decides about overlong forms, surrogates and values above U+10FFFF.
  unsigned low = 0x80, high = 0xbf;
  size_t length = 0;
  if (b[0] >= 0xc2 && b[0] <= 0xdf)
    length = 2;
  else if (b[0] >= 0xe0 && b[0] <= 0xef)
    length = 3;
  else if (b[0] >= 0xf0 && b[0] <= 0xf4)
    length = 4;
  else
    return {Utf8Prefix::invalid, 1};
  if (b[0] == 0xe0) low = 0xa0;
  if (b[0] == 0xed) high = 0x9f;
  if (b[0] == 0xf0) low = 0x90;
  if (b[0] == 0xf4) high = 0x8f;
  for (size_t i = 1; i < length; ++i) {
    if (i == text.size()) return {Utf8Prefix::incomplete, i};
    if (b[i] < low || b[i] > high) return {Utf8Prefix::invalid, i};
    low = 0x80, high = 0xbf;
  }
  return {Utf8Prefix::character, length};
}

size_t first_invalid_utf8(std::string_view text) {
  size_t at = 0;
  while (at < text.size()) {
    uint64_t eight;
    if (text.size() - at >= 8 &&
        (std::memcpy(&eight, text.data() + at, 8), (eight & 0x8080808080808080ull) == 0)) {
      at += 8;
      continue;
    }
    const Utf8Step step = next_utf8(text.substr(at));
    if (step.kind != Utf8Prefix::character) return at;
    at += step.bytes;
  }
  return std::string_view::npos;
}

}  // namespace octavo::tokenizer
