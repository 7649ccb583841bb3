#include "formats/in_quotes.h"

#include <fmt/format.h>

namespace octavo {
namespace {

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') out += '\\';
    if (byte >= 0x20 && byte < 0x7f) {
      out += c;
    } else {
      out += fmt::format("\\x{:02x}", byte);
    }
  }
  return out;
}

}  // namespace

std::string in_quotes(std::string_view text, size_t max_length) {
  if (text.size() <= max_length) return '"' + escaped(text) + '"';
  const size_t half = max_length / 2;
  return '"' + escaped(text.substr(0, half)) + "..." + escaped(text.substr(text.size() - half)) + '"';
}

}  // namespace octavo
