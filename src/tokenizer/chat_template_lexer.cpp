#include "tokenizer/chat_template_lexer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "core/error.h"
#include "tokenizer/chat_template_text.h"
#include "tokenizer/unicode.h"
#include "tokenizer/utf8.h"

namespace octavo::chat {
namespace {

using Kind = Token::Kind;

bool is_digit(char c) { return c >= '0' && c <= '9'; }

std::string with_unix_newlines(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\r' && i + 1 < text.size() && text[i + 1] == '\n') continue;
    out += text[i] == '\r' ? '\n' : text[i];
  }
  if (out.ends_with('\n')) out.pop_back();  // keep_trailing_newline is off
  return out;
}

class Lexer {
 public:
  Lexer(std::string_view text, const std::string& name) : source_(with_unix_newlines(text)), name_(name) {}

  std::vector<Token> run() {
    while (at_ < source_.size()) {
      const size_t tag = next_tag();
      if (tag == source_.npos) {
        add_data(source_.substr(at_), source_.substr(at_));
        break;
      }
      read_tag(tag);
    }
    add(Kind::end, "");
    return std::move(tokens_);
  }

 private:
  std::string_view rest() const { return std::string_view(source_).substr(at_); }
  bool at(std::string_view what) const { return rest().starts_with(what); }
  [[noreturn]] void fail(const std::string& problem) const { fail_at(name_, line_, problem); }

  void add(Kind kind, std::string text) {
    Token token;
    token.kind = kind, token.line = line_, token.text = std::move(text);
    tokens_.push_back(std::move(token));
  }
  void advance(size_t bytes) {
    const auto from = source_.begin() + static_cast<std::ptrdiff_t>(at_);
    line_ += static_cast<int>(std::count(from, from + static_cast<std::ptrdiff_t>(bytes), '\n'));
    at_ += bytes;
    line_starts_ = bytes > 0 ? source_[at_ - 1] == '\n' : line_starts_;
  }
  // `shown` of the text `all` that comes next; the rest of it was stripped.
  void add_data(std::string_view shown, std::string_view all) {
    if (!shown.empty()) add(Kind::data, std::string(shown));
    advance(all.size());
  }
  void skip_space() {
    const std::string_view text = rest();
    advance(text.size() - strip_left(text).size());
  }

  size_t next_tag() const {
    for (size_t p = source_.find('{', at_); p != source_.npos && p + 1 < source_.size();
         p = source_.find('{', p + 1))
      if (source_[p + 1] == '%' || source_[p + 1] == '{' || source_[p + 1] == '#') return p;
    return source_.npos;
  }

  // What remains of the text before a tag: `-` strips all white space, otherwise blanks from the line's start on go
  // (lstrip_blocks), unless `+` keeps them or the tag prints.
  std::string_view before_tag(std::string_view text, char sign, bool prints) const {
    if (sign == '-') return strip_right(text);
    if (sign == '+' || prints) return text;
    const size_t newline = text.rfind('\n');
    if (newline == text.npos && !line_starts_) return text;
    const size_t line_start = newline == text.npos ? 0 : newline + 1;
    return strip_left(text.substr(line_start)).empty() ? text.substr(0, line_start) : text;
  }

  void read_tag(size_t tag) {
    const char opener = source_[tag + 1];
    const char next = tag + 2 < source_.size() ? source_[tag + 2] : '\0';
    const char sign = next == '-' || next == '+' ? next : '\0';
    const std::string text = source_.substr(at_, tag - at_);
    const std::string_view shown = before_tag(text, sign, opener == '{');
    add_data(shown, text);
    const size_t begin_bytes = sign ? 3 : 2;
    if (opener == '#') return skip_comment(begin_bytes);
    if (opener == '%' && raw_begins(begin_bytes)) return read_raw();
    add(opener == '%' ? Kind::block_begin : Kind::variable_begin, "");
    advance(begin_bytes);
    read_code(opener == '%');
  }

  // After the end of a block or comment: its sign, "%}" or "#}", and what trim_blocks or `-` removes.
  void close_tag(char sign, bool trims_newline) {
    advance(sign ? 3 : 2);
    if (sign == '-')
      skip_space();
    else if (sign != '+' && trims_newline && at("\n"))
      advance(1);
  }

  void skip_comment(size_t begin_bytes) {
    const size_t end = source_.find("#}", at_ + begin_bytes);
    if (end == source_.npos) fail("the comment that begins here has no end #}");
    const char before = end > at_ + begin_bytes ? source_[end - 1] : '\0';
    const char sign = before == '-' || before == '+' ? before : '\0';
    advance(end - at_ - (sign ? 1 : 0));
    close_tag(sign, true);
  }

  // {% raw %}: stands at its beginning and leaves it behind when it is one.
  bool raw_begins(size_t begin_bytes) {
    std::string_view text = strip_left(rest().substr(begin_bytes));
    if (!text.starts_with("raw")) return false;
    text = strip_left(text.substr(3));
    const bool strips = text.starts_with("-%}");
    if (!strips && !text.starts_with("%}")) return false;
    advance(static_cast<size_t>(text.data() - rest().data()) + (strips ? 3 : 2));
    if (strips) skip_space();
    return true;
  }

  void read_raw() {
    for (size_t p = source_.find("{%", at_); p != source_.npos; p = source_.find("{%", p + 2)) {
      std::string_view text = std::string_view(source_).substr(p + 2);
      const char sign = text.starts_with('-') || text.starts_with('+') ? text[0] : '\0';
      text = strip_left(text.substr(sign ? 1 : 0));
      if (!text.starts_with("endraw")) continue;
      text = strip_left(text.substr(6));
      const char end_sign = text.starts_with("-%}") || text.starts_with("+%}") ? text[0] : '\0';
      if (!end_sign && !text.starts_with("%}")) continue;
      const std::string raw = source_.substr(at_, p - at_);
      const size_t end = static_cast<size_t>(text.data() - source_.data());
      add_data(before_tag(raw, sign, false), raw);
      advance(end - at_);
      return close_tag(end_sign, true);
    }
    fail("the raw block that begins here has no {% endraw %}");
  }

  // The inside of {% %} or {{ }} up to and with its end.
  void read_code(bool block) {
    const std::string_view end = block ? "%}" : "}}";
    std::vector<char> open;  // closing brackets that are due
    const int first_line = line_;
    while (at_ < source_.size()) {
      if (open.empty()) {
        const char c = source_[at_];
        const bool signed_end = (c == '-' || (c == '+' && block)) && rest().substr(1).starts_with(end);
        if (signed_end || at(end)) {
          add(block ? Kind::block_end : Kind::variable_end, "");
          return close_tag(signed_end ? c : '\0', block);
        }
      }
      read_token(open);
    }
    fail_at(name_, first_line, fmt::format("the tag that begins here has no end {}", end));
  }

  void read_token(std::vector<char>& open) {
    const char c = source_[at_];
    if (const std::string_view text = rest(); strip_left(text).size() < text.size()) return skip_space();
    if (is_digit(c)) return read_number();
    if (c == '\'' || c == '"') return read_string(c);
    if (const size_t bytes = name_bytes()) {
      add(Kind::name, source_.substr(at_, bytes));
      return advance(bytes);
    }
    read_operator(open);
  }

  size_t name_bytes() const {
    using tokenizer::Category, tokenizer::set_of;
    static constexpr tokenizer::CategorySet kInNames = tokenizer::kLetter | tokenizer::kMark |
                                                       set_of(Category::Nd) | set_of(Category::Nl) |
                                                       set_of(Category::Pc);
    size_t p = at_;
    while (p < source_.size()) {
      const auto c = tokenizer::decode_utf8(source_.data() + p);
      if (!tokenizer::in_categories(c.value, kInNames)) break;
      p += static_cast<size_t>(c.bytes);
    }
    return p - at_;
  }

  size_t digits_from(size_t p, std::string_view allowed) const {
    const size_t start = p;
    while (p < source_.size() && (allowed.find(source_[p]) != allowed.npos ||
                                  (source_[p] == '_' && p > start && p + 1 < source_.size() &&
                                   allowed.find(source_[p + 1]) != allowed.npos)))
      ++p;
    return p;
  }

  void read_number() {
    constexpr std::string_view kDecimal = "0123456789";
    size_t p = digits_from(at_, kDecimal);
    bool is_float = false;
    if (at_ > 0 && source_[at_ - 1] == '.') return add_integer(at_, p, 10);  // item access: x.1.5
    if (p + 1 < source_.size() && source_[p] == '.' && is_digit(source_[p + 1]))
      p = digits_from(p + 1, kDecimal), is_float = true;
    if (p + 1 < source_.size() && (source_[p] == 'e' || source_[p] == 'E')) {
      const size_t sign = source_[p + 1] == '+' || source_[p + 1] == '-' ? 1 : 0;
      const size_t digits = digits_from(p + 1 + sign, kDecimal);
      if (digits > p + 1 + sign) p = digits, is_float = true;
    }
    if (is_float) return add_float(p);
    int base = 10;
    size_t start = at_;
    if (source_[at_] == '0' && at_ + 2 < source_.size()) {
      const char mark = static_cast<char>(source_[at_ + 1] | 0x20);
      base = mark == 'x' ? 16 : mark == 'o' ? 8 : mark == 'b' ? 2 : 10;
      const std::string_view digits = base == 16 ? "0123456789abcdefABCDEF" : base == 8 ? "01234567" : "01";
      if (base != 10) {
        const size_t first = at_ + (source_[at_ + 2] == '_' ? 3 : 2), stop = digits_from(first, digits);
        if (stop > first)
          start = first, p = stop;
        else
          base = 10;
      }
    }
    add_integer(start, p, base);
  }

  std::string without_underscores(size_t from, size_t to) const {
    std::string digits = source_.substr(from, to - from);
    digits.erase(std::remove(digits.begin(), digits.end(), '_'), digits.end());
    return digits;
  }
  void add_float(size_t end) {
    const std::string digits = without_underscores(at_, end);
    add(Kind::number, source_.substr(at_, end - at_));
    if (std::from_chars(digits.data(), digits.data() + digits.size(), tokens_.back().number).ec !=
        std::errc())
      fail(fmt::format("the number {} is outside the range of a double", digits));
    advance(end - at_);
  }
  void add_integer(size_t start, size_t end, int base) {
    const std::string digits = without_underscores(start, end);
    if (base == 10 && digits.size() > 1 && digits[0] == '0' && digits.find_first_not_of('0') != digits.npos)
      fail(fmt::format("the number {} begins with 0", digits));
    add(Kind::integer, source_.substr(at_, end - at_));
    if (std::from_chars(digits.data(), digits.data() + digits.size(), tokens_.back().integer, base).ec !=
        std::errc())
      fail(fmt::format("the number {} does not fit 64 bits", digits));
    advance(end - at_);
  }

  void read_string(char quote) {
    size_t p = at_ + 1;
    while (p < source_.size() && source_[p] != quote) p += source_[p] == '\\' ? 2 : 1;
    if (p >= source_.size()) fail("the string that begins here has no end");
    add(Kind::string, unescaped(std::string_view(source_).substr(at_ + 1, p - at_ - 1)));
    advance(p + 1 - at_);
  }

  // Python's escapes in string literals.
  std::string unescaped(std::string_view s) const {
    std::string out;
    for (size_t i = 0; i < s.size();) {
      if (s[i] != '\\') {
        out += s[i++];
        continue;
      }
      const char c = s[i + 1];  // the scan in read_string never ends behind a backslash
      i += 2;
      constexpr std::string_view kShort = "\\'\"abfnrtv", kMeans = "\\'\"\a\b\f\n\r\t\v";
      if (const size_t k = kShort.find(c); k != kShort.npos)
        out += kMeans[k];
      else if (c == '\n')
        continue;  // a line that goes on
      else if (c >= '0' && c <= '7')
        append_octal(out, s, i);
      else if (c == 'x' || c == 'u' || c == 'U')
        append_hex(out, s, i, c == 'x' ? 2 : c == 'u' ? 4 : 8);
      else if (c == 'N')
        fail("characters by name, \\N{...}, are not supported");
      else
        out += '\\', out += c;
    }
    return out;
  }
  static void append_octal(std::string& out, std::string_view s, size_t& i) {
    char32_t value = static_cast<char32_t>(s[i - 1] - '0');
    for (int k = 0; k < 2 && i < s.size() && s[i] >= '0' && s[i] <= '7'; ++k)
      value = value * 8 + static_cast<char32_t>(s[i++] - '0');
    tokenizer::append_utf8(out, value);
  }
  void append_hex(std::string& out, std::string_view s, size_t& i, size_t digits) const {
    uint32_t value = 0;
    const std::string_view hex = s.substr(i, digits);
    const auto [end, error] = std::from_chars(hex.data(), hex.data() + hex.size(), value, 16);
    if (hex.size() != digits || error != std::errc() || end != hex.data() + hex.size())
      fail(fmt::format("an escape in a string needs {} hexadecimal digits", digits));
    if (value > 0x10ffff || (value >= 0xd800 && value < 0xe000))
      fail(fmt::format("the escape U+{:04X} in a string is no character", value));
    tokenizer::append_utf8(out, value);
    i += digits;
  }

  void read_operator(std::vector<char>& open) {
    static constexpr std::array<std::string_view, 26> kOperators = {
        "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[",
        "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ",", ";"};
    for (const std::string_view op : kOperators) {
      if (!at(op)) continue;
      const char c = op[0];
      if (c == '(' || c == '[' || c == '{') open.push_back(c == '(' ? ')' : c == '[' ? ']' : '}');
      if (c == ')' || c == ']' || c == '}') {
        if (open.empty()) fail(fmt::format("unexpected '{}'", c));
        if (open.back() != c) fail(fmt::format("unexpected '{}', expected '{}'", c, open.back()));
        open.pop_back();
      }
      add(Kind::op, std::string(op));
      return advance(op.size());
    }
    const auto c = tokenizer::decode_utf8(source_.data() + at_);
    fail(fmt::format("unexpected character {}", repr_of(source_.substr(at_, static_cast<size_t>(c.bytes)))));
  }

  std::string source_;
  const std::string& name_;
  size_t at_ = 0;
  int line_ = 1;
  bool line_starts_ = true;  // what was read last ended with a newline
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> tokenize(std::string_view template_text, const std::string& name) {
  return Lexer(template_text, name).run();
}

std::string describe(const Token& token) {
  switch (token.kind) {
    case Kind::data: return "text";
    case Kind::block_begin: return "'{%'";
    case Kind::block_end: return "'%}'";
    case Kind::variable_begin: return "'{{'";
    case Kind::variable_end: return "'}}'";
    case Kind::string: return "a string";
    case Kind::end: return "the end of the template";
    default: return fmt::format("'{}'", token.text);
  }
}

void fail_at(const std::string& name, int line, const std::string& problem) {
  throw Error(ErrorKind::bad_model, fmt::format("{}: line {}: {}", name, line, problem));
}

}  // namespace octavo::chat
