// GPT-2's spelling of bytes as printable characters: 0x21-0x7e, 0xa1-0xac and 0xae-0xff stand for themselves, the other
// 68 bytes, ascending, for U+0100 and on.
#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "tokenizer/utf8.h"

namespace octavo::tokenizer {

constexpr std::array<char32_t, 256> make_byte_characters() {
  std::array<char32_t, 256> characters{};
  char32_t next = 0x100;
  for (int b = 0; b < 256; ++b) {
    const bool printable = (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
    characters[b] = printable ? b : next++;
  }
  return characters;
}
inline constexpr std::array<char32_t, 256> kByteCharacters = make_byte_characters();

constexpr std::array<int16_t, 324> make_character_bytes() {
  std::array<int16_t, 324> bytes{};
  for (auto& b : bytes) b = -1;
  for (int b = 0; b < 256; ++b) bytes[kByteCharacters[b]] = static_cast<int16_t>(b);
  return bytes;
}
inline constexpr std::array<int16_t, 324> kCharacterBytes = make_character_bytes();

inline std::string to_byte_characters(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size() * 2);
  for (const char b : bytes) append_utf8(out, kByteCharacters[static_cast<uint8_t>(b)]);
  return out;
}

// Nothing when a character stands for no byte.
inline std::optional<std::string> from_byte_characters(std::string_view text) {
  std::string bytes;
  bytes.reserve(text.size());
  for (const char *p = text.data(), *end = p + text.size(); p < end;) {
    const CodePoint c = decode_utf8(p);
    if (c.value >= kCharacterBytes.size() || kCharacterBytes[c.value] < 0) return std::nullopt;
    bytes += static_cast<char>(kCharacterBytes[c.value]);
    p += c.bytes;
  }
  return bytes;
}

}  // namespace octavo::tokenizer
