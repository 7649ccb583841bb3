#include "tokenizer/chat_template_text.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>

#include "tokenizer/unicode.h"
#include "tokenizer/utf8.h"

namespace octavo::chat {

using tokenizer::append_utf8;
using tokenizer::Category;
using tokenizer::CodePoint;
using tokenizer::decode_utf8;
using tokenizer::in_categories;
using tokenizer::set_of;

namespace {

struct LongCase {
  char32_t character;
  const char* utf8;
};
#include "tokenizer/chat_template_case.inc"

constexpr int64_t kChargedBytes = 4096;  // how often long texts look at the budget

void charge_for(std::string_view s) { Budget::step(1 + static_cast<int64_t>(s.size()) / 64); }

// f(character, its bytes) for each character.
template <class F>
void for_each(std::string_view s, F&& f) {
  size_t charged = 0;
  for (size_t at = 0; at < s.size();) {
    if (at >= charged) Budget::step(kChargedBytes / 16), charged += kChargedBytes;
    const CodePoint c = decode_utf8(s.data() + at);
    f(c.value, s.substr(at, static_cast<size_t>(c.bytes)));
    at += static_cast<size_t>(c.bytes);
  }
}

char32_t simple_upper(char32_t c) {
  return static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(c)));
}
char32_t simple_lower(char32_t c) {
  return static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c)));
}
char32_t simple_title(char32_t c) {
  return static_cast<char32_t>(utf8proc_totitle(static_cast<utf8proc_int32_t>(c)));
}

template <size_t N>
bool append_long_case(std::string& out, char32_t c, const std::array<LongCase, N>& table) {
  if (c < 0x80) return false;
  const auto found =
      std::lower_bound(table.begin(), table.end(), c,
                       [](const LongCase& row, char32_t wanted) { return row.character < wanted; });
  if (found == table.end() || found->character != c) return false;
  out += found->utf8;
  return true;
}

void append_upper(std::string& out, char32_t c) {
  if (!append_long_case(out, c, kLongUpper)) append_utf8(out, simple_upper(c));
}
void append_title(std::string& out, char32_t c) {
  if (!append_long_case(out, c, kLongTitle)) append_utf8(out, simple_title(c));
}

bool is_lower(char32_t c) {
  return in_categories(c, set_of(Category::Ll)) || utf8proc_islower(static_cast<int>(c));
}
bool is_upper(char32_t c) {
  return in_categories(c, set_of(Category::Lu)) || utf8proc_isupper(static_cast<int>(c));
}
bool is_cased(char32_t c) { return is_lower(c) || is_upper(c) || in_categories(c, set_of(Category::Lt)); }
bool is_case_ignorable(char32_t c) {
  return in_categories(c, set_of(Category::Mn) | set_of(Category::Me) | set_of(Category::Cf) |
                              set_of(Category::Lm) | set_of(Category::Sk)) ||
         c == '\'' || c == '.' || c == ':' || c == 0xb7 || c == 0x2018 || c == 0x2019 || c == 0x2024 ||
         c == 0x2027;
}

constexpr char32_t kCapitalSigma = 0x3a3, kFinalSigma = 0x3c2, kDottedCapitalI = 0x130;

// A sigma is final behind a cased letter and not before one; characters that case ignores do not count.
bool sigma_is_final(std::string_view s, size_t at) {
  const char* begin = s.data();
  const char* p = begin + at;
  bool after_cased = false;
  while (p > begin) {
    const CodePoint c = tokenizer::decode_utf8_before(begin, p);
    p -= c.bytes;
    if (is_case_ignorable(c.value)) continue;
    after_cased = is_cased(c.value);
    break;
  }
  if (!after_cased) return false;
  for (size_t q = at + 2; q < s.size();) {
    const CodePoint c = decode_utf8(begin + q);
    q += static_cast<size_t>(c.bytes);
    if (!is_case_ignorable(c.value)) return !is_cased(c.value);
  }
  return true;
}

void append_lower(std::string& out, std::string_view s, std::string_view character, char32_t c) {
  if (c == kDottedCapitalI)
    out += "i\xcc\x87";
  else if (c == kCapitalSigma)
    append_utf8(out,
                sigma_is_final(s, static_cast<size_t>(character.data() - s.data())) ? kFinalSigma : 0x3c3);
  else
    append_utf8(out, simple_lower(c));
}

bool is_line_end(char32_t c) {
  return (c >= '\n' && c <= '\r') || (c >= 0x1c && c <= 0x1e) || c == 0x85 || c == 0x2028 || c == 0x2029;
}

bool is_digit_like(char32_t c) {  // Numeric_Type Decimal or Digit
  return in_categories(c, set_of(Category::Nd)) || c == 0xb2 || c == 0xb3 || c == 0xb9 || c == 0x2070 ||
         (c >= 0x2074 && c <= 0x2079) || (c >= 0x2080 && c <= 0x2089) || (c >= 0x2460 && c <= 0x2468);
}

constexpr tokenizer::CategorySet kHidden =
    set_of(Category::Cc) | set_of(Category::Cf) | set_of(Category::Cs) | set_of(Category::Co) |
    set_of(Category::Cn) | set_of(Category::Zl) | set_of(Category::Zp) | set_of(Category::Zs);

bool has_property(char32_t c, TextTest test) {
  switch (test) {
    case TextTest::alpha: return in_categories(c, tokenizer::kLetter);
    case TextTest::alnum: return in_categories(c, tokenizer::kLetter | tokenizer::kNumber);
    case TextTest::decimal: return in_categories(c, set_of(Category::Nd));
    case TextTest::digit: return is_digit_like(c);
    case TextTest::numeric: return in_categories(c, tokenizer::kNumber);
    case TextTest::space: return is_space(c);
    case TextTest::ascii: return c < 0x80;
    default: return c == ' ' || !in_categories(c, kHidden);  // printable
  }
}

// str.islower, str.isupper: at least one cased character and none of the other case.
bool all_in_case(std::string_view s, bool upper_case) {
  bool seen = false, wrong = false;
  for_each(s, [&](char32_t c, std::string_view) {
    const bool good = upper_case ? is_upper(c) : is_lower(c);
    seen |= good, wrong |= !good && is_cased(c);
  });
  return seen && !wrong;
}

bool is_titled(std::string_view s) {
  bool after_cased = false, seen = false, wrong = false;
  for_each(s, [&](char32_t c, std::string_view) {
    const bool begins = is_upper(c) || in_categories(c, set_of(Category::Lt));
    wrong |= (begins && after_cased) || (is_lower(c) && !after_cased);
    after_cased = is_cased(c);
    seen |= after_cased;
  });
  return seen && !wrong;
}

bool is_identifier(std::string_view s) {
  bool first = true, good = !s.empty();
  for_each(s, [&](char32_t c, std::string_view) {
    const bool starts = c == '_' || in_categories(c, tokenizer::kLetter | set_of(Category::Nl));
    good &= starts ||
            (!first && in_categories(c, tokenizer::kMark | set_of(Category::Nd) | set_of(Category::Pc)));
    first = false;
  });
  return good;
}

}  // namespace

bool is_space(char32_t c) { return (c >= 0x1c && c <= 0x1f) || tokenizer::is_white_space(c); }

std::string_view strip_left(std::string_view s) {
  while (!s.empty()) {
    const CodePoint c = decode_utf8(s.data());
    if (!is_space(c.value)) break;
    s.remove_prefix(static_cast<size_t>(c.bytes));
  }
  return s;
}

std::string_view strip_right(std::string_view s) {
  while (!s.empty()) {
    const CodePoint c = tokenizer::decode_utf8_before(s.data(), s.data() + s.size());
    if (!is_space(c.value)) break;
    s.remove_suffix(static_cast<size_t>(c.bytes));
  }
  return s;
}

std::string_view strip(std::string_view s) { return strip_right(strip_left(s)); }

std::string_view strip(std::string_view s, std::string_view set, bool left, bool right) {
  const auto in_set = [&](CodePoint c) {
    Budget::step(1 + static_cast<int64_t>(set.size()) / 64);
    std::string bytes;
    append_utf8(bytes, c.value);
    return set.find(bytes) != set.npos;
  };
  while (left && !s.empty()) {
    const CodePoint c = decode_utf8(s.data());
    if (!in_set(c)) break;
    s.remove_prefix(static_cast<size_t>(c.bytes));
  }
  while (right && !s.empty()) {
    const CodePoint c = tokenizer::decode_utf8_before(s.data(), s.data() + s.size());
    if (!in_set(c)) break;
    s.remove_suffix(static_cast<size_t>(c.bytes));
  }
  return s;
}

int64_t length_of(std::string_view utf8) {
  return std::count_if(utf8.begin(), utf8.end(),
                       [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; });
}

size_t byte_offset(const Text& text, int64_t index) {
  if (text.ascii()) return static_cast<size_t>(index);
  Budget::step(1 + index / 64);
  size_t at = 0;
  for (; index > 0; --index) at += static_cast<size_t>(decode_utf8(text.utf8.data() + at).bytes);
  return at;
}

int64_t index_of_byte(const Text& text, size_t offset) {
  if (text.ascii()) return static_cast<int64_t>(offset);
  Budget::step(1 + static_cast<int64_t>(offset) / 64);
  return length_of(std::string_view(text.utf8).substr(0, offset));
}

std::vector<std::string_view> characters(std::string_view s) {
  std::vector<std::string_view> out;
  Budget::bytes(static_cast<int64_t>(s.size() * sizeof(std::string_view)));
  for_each(s, [&](char32_t, std::string_view c) { out.push_back(c); });
  return out;
}

std::string upper(std::string_view s) {
  std::string out;
  for_each(s, [&](char32_t c, std::string_view) { append_upper(out, c); });
  return out;
}

std::string lower(std::string_view s) {
  std::string out;
  for_each(s, [&](char32_t c, std::string_view bytes) { append_lower(out, s, bytes, c); });
  return out;
}

std::string title(std::string_view s) {
  std::string out;
  bool after_cased = false;
  for_each(s, [&](char32_t c, std::string_view bytes) {
    if (after_cased)
      append_lower(out, s, bytes, c);
    else
      append_title(out, c);
    after_cased = is_cased(c);
  });
  return out;
}

std::string capitalize(std::string_view s) {
  std::string out;
  for_each(s, [&](char32_t c, std::string_view bytes) {
    if (bytes.data() == s.data())
      append_title(out, c);
    else
      append_lower(out, s, bytes, c);
  });
  return out;
}

std::string swapcase(std::string_view s) {
  std::string out;
  for_each(s, [&](char32_t c, std::string_view bytes) {
    if (is_upper(c))
      append_lower(out, s, bytes, c);
    else if (is_lower(c))
      append_upper(out, c);
    else
      out += bytes;
  });
  return out;
}

bool passes(std::string_view s, TextTest test) {
  switch (test) {
    case TextTest::lower:
    case TextTest::upper: return all_in_case(s, test == TextTest::upper);
    case TextTest::title: return is_titled(s);
    case TextTest::identifier: return is_identifier(s);
    default: break;
  }
  bool all = !s.empty() || test == TextTest::ascii || test == TextTest::printable;
  for_each(s, [&](char32_t c, std::string_view) { all &= has_property(c, test); });
  return all;
}

std::string replace(std::string_view s, std::string_view from, std::string_view to, int64_t count) {
  charge_for(s);
  std::string out;
  if (from.empty()) {  // between all characters
    for_each(s, [&](char32_t, std::string_view c) {
      if (count != 0) append(out, to), --count;
      append(out, c);
    });
    if (count != 0) append(out, to);
    return out;
  }
  size_t at = 0;
  for (size_t found; count != 0 && (found = s.find(from, at)) != s.npos; --count) {
    Budget::step();
    append(out, s.substr(at, found - at));
    append(out, to);
    at = found + from.size();
  }
  append(out, s.substr(at));
  return out;
}

std::vector<std::string_view> split_space(std::string_view s, int64_t most, bool from_right) {
  charge_for(s);
  std::vector<std::string_view> words;
  while (!(s = from_right ? strip_right(s) : strip_left(s)).empty()) {
    Budget::step();
    if (most-- == 0) {
      words.push_back(s);
      break;
    }
    size_t word = 0;
    if (from_right) {
      while (word < s.size()) {
        const CodePoint c = tokenizer::decode_utf8_before(s.data(), s.data() + s.size() - word);
        if (is_space(c.value)) break;
        word += static_cast<size_t>(c.bytes);
      }
      words.push_back(s.substr(s.size() - word));
      s.remove_suffix(word);
    } else {
      while (word < s.size()) {
        const CodePoint c = decode_utf8(s.data() + word);
        if (is_space(c.value)) break;
        word += static_cast<size_t>(c.bytes);
      }
      words.push_back(s.substr(0, word));
      s.remove_prefix(word);
    }
  }
  if (from_right) std::reverse(words.begin(), words.end());
  return words;
}

std::vector<std::string_view> split_at(std::string_view s, std::string_view separator, int64_t most,
                                       bool from_right) {
  if (separator.empty()) fail("empty separator");
  charge_for(s);
  std::vector<std::string_view> parts;
  for (; most != 0; --most) {
    Budget::step();
    const size_t found = from_right ? s.rfind(separator) : s.find(separator);
    if (found == s.npos) break;
    const std::string_view before = s.substr(0, found), after = s.substr(found + separator.size());
    parts.push_back(from_right ? after : before);
    s = from_right ? before : after;
  }
  parts.push_back(s);
  if (from_right) std::reverse(parts.begin(), parts.end());
  return parts;
}

std::vector<std::string_view> split_lines(std::string_view s, bool keep_ends) {
  charge_for(s);
  std::vector<std::string_view> lines;
  size_t start = 0;
  for (size_t at = 0; at < s.size();) {
    const CodePoint c = decode_utf8(s.data() + at);
    size_t end = at + static_cast<size_t>(c.bytes);
    if (is_line_end(c.value)) {
      if (c.value == '\r' && end < s.size() && s[end] == '\n') ++end;
      lines.push_back(s.substr(start, (keep_ends ? end : at) - start));
      Budget::step();
      start = end;
    }
    at = end;
  }
  if (start < s.size()) lines.push_back(s.substr(start));
  return lines;
}

std::string repeat(std::string_view s, int64_t times) {
  if (times <= 0 || s.empty()) return {};
  if (times > (int64_t{1} << 40) / static_cast<int64_t>(s.size()))
    fail_limit("a repeated string is too long");
  Budget::bytes(times * static_cast<int64_t>(s.size()));
  std::string out;
  out.reserve(static_cast<size_t>(times) * s.size());
  for (; times > 0; --times) out += s;
  return out;
}

std::string escape_html(std::string_view s) {
  std::string out;
  for (const char c : s) {
    switch (c) {
      case '&': append(out, "&amp;"); break;
      case '<': append(out, "&lt;"); break;
      case '>': append(out, "&gt;"); break;
      case '\'': append(out, "&#39;"); break;
      case '"': append(out, "&#34;"); break;
      default: out += c;
    }
  }
  return out;
}

}  // namespace octavo::chat
