#include "tokenizer/charsmap.h"

#include <fmt/format.h>

#include <array>
#include <cstring>
#include <stdexcept>

#include "core/error.h"
#include "tokenizer/utf8.h"

namespace octavo::tokenizer {
namespace {

// A unit of the trie. Bit 8: a leaf hangs below; bits 10-30: where the children are, shifted by 8 when bit 9 is set; bits 0-7
// and 31: the label. A leaf's unit holds a value of 31 bits.
bool has_leaf(uint32_t unit) { return unit >> 8 & 1; }
uint32_t label(uint32_t unit) { return unit & 0x800000ffu; }
uint32_t offset(uint32_t unit) { return unit >> 10 << ((unit & 0x200u) >> 6); }

}  // namespace

Charsmap::Charsmap(std::string_view blob) {
  uint32_t trie_bytes = 0;
  if (blob.size() < 4)
    throw std::invalid_argument(fmt::format("{} bytes hold no size of a trie", blob.size()));
  std::memcpy(&trie_bytes, blob.data(), 4);
  blob.remove_prefix(4);
  if (trie_bytes > blob.size() || trie_bytes % 4 != 0 || trie_bytes == 0)
    throw std::invalid_argument(fmt::format(
        "a trie of {} bytes where {} are left; it must be a multiple of 4", trie_bytes, blob.size()));
  units_.resize(trie_bytes / 4);
  std::memcpy(units_.data(), blob.data(), trie_bytes);
  texts_ = blob.substr(trie_bytes);
  if (first_invalid_utf8(texts_) != std::string::npos)
    throw std::invalid_argument(
        fmt::format("invalid UTF-8 at byte {} of its texts", first_invalid_utf8(texts_)));
}

std::optional<Charsmap::Rule> Charsmap::find(std::string_view text, bool first_only) const {
  std::optional<Rule> found;
  if (units_.empty()) return found;
  uint32_t node = offset(units_[0]);
  for (size_t i = 0; i < text.size() && text[i] != '\0'; ++i) {
    const auto byte = static_cast<uint8_t>(text[i]);
    node ^= byte;
    if (node >= units_.size() || label(units_[node]) != byte) break;
    const uint32_t unit = units_[node];
    node ^= offset(unit);
    if (!has_leaf(unit)) continue;
    if (node >= units_.size())
      throw Error(ErrorKind::bad_model,
                  fmt::format("tokenizer: charsmap: unit {} of {} does not exist", node, units_.size()));
    found = {i + 1, replacement_at(units_[node] & 0x7fffffffu)};
    if (first_only) break;
  }
  return found;
}

std::string_view Charsmap::replacement_at(uint32_t index) const {
  if (index >= texts_.size() || (static_cast<uint8_t>(texts_[index]) & 0xc0) == 0x80)
    throw Error(ErrorKind::bad_model,
                fmt::format("tokenizer: charsmap: no text begins at byte {} of {}", index, texts_.size()));
  const std::string_view rest = std::string_view(texts_).substr(index);
  return rest.substr(0, rest.find('\0'));
}

std::string from_base64(std::string_view text) {
  static constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::array<int8_t, 256> value_of;
  value_of.fill(-1);
  for (size_t i = 0; i < kDigits.size(); ++i)
    value_of[static_cast<uint8_t>(kDigits[i])] = static_cast<int8_t>(i);
  if (text.size() % 4 != 0)
    throw std::invalid_argument(fmt::format("{} characters of base64, not a multiple of 4", text.size()));
  const size_t padding = text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0;
  text.remove_suffix(padding);
  std::string bytes;
  bytes.reserve(text.size() / 4 * 3 + 2);
  uint32_t group = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const int value = value_of[static_cast<uint8_t>(text[i])];
    if (value < 0) throw std::invalid_argument(fmt::format("character {} is no base64", i));
    group = group << 6 | static_cast<uint32_t>(value);
    if (i % 4 == 0) continue;  // 6 bits so far
    bytes += static_cast<char>(group >> (6 - 2 * (i % 4)) & 0xff);
  }
  return bytes;
}

}  // namespace octavo::tokenizer
