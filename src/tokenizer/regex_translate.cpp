// Oniguruma (Ruby syntax) to PCRE2. What is different, and so rewritten:
//   \s \S \w \W \d \D \b \B \p{..} \P{..}   spelled out, or completed with what PCRE2's older Unicode lacks
//   \h hexadecimal digits, \v one character; ^ and $ at every line; (?m) lets . match a newline
//   x{n,m}+ repeats x{n,m}; in PCRE2 it would be possessive
#include <fmt/format.h>

#include <stdexcept>

#include "tokenizer/regex.h"
#include "tokenizer/unicode.h"

namespace octavo::tokenizer {
namespace {

[[noreturn]] void unsupported(const std::string& what) {
  throw std::invalid_argument(what + " is not supported");
}

std::string class_body(const std::vector<CodePointRange>& ranges) {
  std::string body;
  for (const CodePointRange& r : ranges)
    body += r.first == r.last ? fmt::format("\\x{{{:x}}}", r.first)
                              : fmt::format("\\x{{{:x}}}-\\x{{{:x}}}", r.first, r.last);
  return body;
}

const std::vector<CodePointRange>& white_space() {
  static const auto ranges = ranges_with(kWhiteSpace);
  return ranges;
}

// NOTE: in Oniguruma \w alone takes the six superscripts and fractions of Latin-1 for words; in a class it does not.
const std::vector<CodePointRange>& word(bool in_class) {
  static const auto ranges = ranges_with(kPatternWord);
  static const auto without = [] {
    std::vector<CodePointRange> kept;
    for (const CodePointRange& r : ranges) {
      if (r.last < 0xb2 || r.first > 0xbe) {
        kept.push_back(r);
        continue;
      }
      for (uint32_t c = r.first; c <= r.last; ++c)
        if (std::u32string_view(U"\u00b2\u00b3\u00b9\u00bc\u00bd\u00be").find(c) == std::u32string_view::npos)
          kept.push_back({c, c});
    }
    return kept;
  }();
  return in_class ? without : ranges;
}

std::vector<CodePointRange> complement(const std::vector<CodePointRange>& ranges) {
  std::vector<CodePointRange> out;
  uint32_t next = 0;
  for (const CodePointRange& r : ranges) {
    if (r.first > next) out.push_back({next, r.first - 1});
    next = r.last + 1;
  }
  if (next < 0x110000) out.push_back({next, 0x10ffff});
  // NOTE: PCRE2 refuses surrogates in a class, and no valid text holds them.
  std::vector<CodePointRange> valid;
  for (const CodePointRange& r : out) {
    if (r.first < 0xd800) valid.push_back({r.first, std::min(r.last, 0xd7ffu)});
    if (r.last > 0xdfff) valid.push_back({std::max(r.first, 0xe000u), r.last});
  }
  return valid;
}

// The inside of a character class for one of \s \w \d \p{..} and their negations.
struct ClassEscape {
  std::string body;
  size_t length;  // of the escape in the pattern
};

class Translator {
 public:
  explicit Translator(std::string_view pattern) : in_(pattern) {}

  std::string run() {
    while (at_ < in_.size()) step();
    if (!groups_.empty()) unsupported("a group that is not closed");
    return out_;
  }

 private:
  char peek(size_t ahead = 0) const { return at_ + ahead < in_.size() ? in_[at_ + ahead] : '\0'; }

  void step() {
    switch (peek()) {
      case '\\': return escape();
      case '[': return character_class();
      case '(': return open_group();
      case ')': return close_group();
      case '{': return interval();
      case '*':
      case '+':
      case '?': return copy(1);
      case '|':
        copy(1);
        atom_ = out_.size();
        return;
      default:
        atom_ = out_.size();
        copy(1);
        while ((peek() & 0xc0) == 0x80) copy(1);  // the rest of a character
    }
  }

  void copy(size_t n) {
    out_ += in_.substr(at_, n);
    at_ += n;
  }

  void replace(size_t n, const std::string& text) {
    atom_ = out_.size();
    out_ += text;
    at_ += n;
  }

  void open_group() {
    groups_.push_back(out_.size());
    if (peek(1) != '?') return copy(1);
    const char kind = peek(2);
    if (kind == ':' || kind == '=' || kind == '!' || kind == '>') return copy(3);
    if (kind == '<' && (peek(3) == '=' || peek(3) == '!')) return copy(4);
    if (kind == 'i' || kind == 'm' || kind == '-') return flags();
    unsupported(fmt::format("group (?{}", kind ? std::string(1, kind) : ""));
  }

  void flags() {
    const size_t end = in_.find_first_of(":)", at_);
    if (end == std::string_view::npos) unsupported("a group that is not closed");
    out_ += "(?";
    for (const char f : in_.substr(at_ + 2, end - at_ - 2)) {
      if (f != 'i' && f != 'm' && f != '-') unsupported(fmt::format("flag (?{})", f));
      out_ += f == 'm' ? 's' : f;
    }
    out_ += in_[end];
    at_ = end + 1;
    if (in_[end] == ')') {
      // NOTE: in Ruby (?i) also reaches over the alternatives that follow in its group; in PCRE2 it does not wrap them.
      if (in_.find('|', at_) != std::string_view::npos)
        unsupported("a flag before alternatives, as in (?i)a|b,");
      groups_.pop_back();
    }
  }

  void close_group() {
    if (groups_.empty()) unsupported("a ) without (");
    copy(1);
    atom_ = groups_.back();
    groups_.pop_back();
  }

  void interval() {
    size_t end = at_ + 1;
    while (end < in_.size() && (std::isdigit(static_cast<unsigned char>(in_[end])) || in_[end] == ',')) ++end;
    if (end == in_.size() || in_[end] != '}' || end == at_ + 1) {  // a literal brace
      replace(1, "\\{");
      return;
    }
    if (peek(1) == ',') unsupported("an interval without a lower bound");
    copy(end + 1 - at_);
    if (peek() == '+') {
      out_.insert(atom_, "(?:");
      out_ += ")+";
      ++at_;
    }
  }

  void escape() {
    const char c = peek(1);
    if (auto escape_class = class_escape(); escape_class.length)
      return replace(escape_class.length, "[" + escape_class.body + "]");
    if (c == 'b' || c == 'B') {
      const std::string inside = "[" + class_body(word(false)) + "]";
      return replace(2, c == 'b' ? fmt::format("(?:(?<={0})(?!{0})|(?<!{0})(?={0}))", inside)
                                 : fmt::format("(?:(?<={0})(?={0})|(?<!{0})(?!{0}))", inside));
    }
    if (c == 'A' || c == 'z' || c == 'Z') return replace(2, std::string("\\") + c);
    if (c >= '1' && c <= '9') return replace(2, std::string("\\") + c);
    literal_escape();
  }

  // Escapes that stand for one character, inside and outside of classes.
  void literal_escape() {
    const char c = peek(1);
    switch (c) {
      case '\0': unsupported("a backslash at the end");
      case 't': return replace(2, "\\x{9}");
      case 'n': return replace(2, "\\x{a}");
      case 'v': return replace(2, "\\x{b}");
      case 'f': return replace(2, "\\x{c}");
      case 'r': return replace(2, "\\x{d}");
      case 'a': return replace(2, "\\x{7}");
      case 'e': return replace(2, "\\x{1b}");
      case 'u': return hexadecimal(2, 4);
      case 'x':
        if (peek(2) == '{') return hexadecimal(3, in_.find('}', at_) - at_ - 3, 1);
        return hexadecimal(2, 2);
      default:
        if (std::isalnum(static_cast<unsigned char>(c)) || (c & 0x80))
          unsupported(fmt::format("escape \\{}", c & 0x80 ? '?' : c));
        return replace(2, std::string("\\") + c);
    }
  }

  void hexadecimal(size_t skip, size_t digits, size_t tail = 0) {
    if (digits < 1 || digits > 6 || at_ + skip + digits + tail > in_.size())
      unsupported("a damaged \\x or \\u");
    const std::string text(in_.substr(at_ + skip, digits));
    if (text.find_first_not_of("0123456789abcdefABCDEF") != std::string::npos)
      unsupported("a damaged \\x or \\u");
    const unsigned long value = std::stoul(text, nullptr, 16);
    if (in_[at_ + 1] == 'x' && tail == 0 && value > 0x7f) unsupported("a single byte above \\x7f");
    if (value > 0x10ffff || (value >= 0xd800 && value < 0xe000)) unsupported("\\x{" + text + "}");
    replace(skip + digits + tail, fmt::format("\\x{{{:x}}}", value));
  }

  ClassEscape class_escape() const {
    const char c = peek(1);
    switch (c) {
      case 's': return {class_body(white_space()), 2};
      case 'S': return {class_body(complement(white_space())), 2};
      case 'w': return {class_body(word(in_class_)), 2};
      case 'W': return {class_body(complement(word(in_class_))), 2};
      case 'd': return {category_body(set_of(Category::Nd), "Nd", false), 2};
      case 'D': return {category_body(set_of(Category::Nd), "Nd", true), 2};
      case 'h': return {"0-9a-fA-F", 2};
      case 'H': return {class_body(complement({{'0', '9'}, {'A', 'F'}, {'a', 'f'}})), 2};
      case 'p':
      case 'P': return property();
      default: return {"", 0};
    }
  }

  ClassEscape property() const {
    const size_t end = in_.find('}', at_);
    if (peek(2) != '{' || end == std::string_view::npos) unsupported("\\p without {name}");
    std::string_view name = in_.substr(at_ + 3, end - at_ - 3);
    const size_t length = end + 1 - at_;
    bool negated = peek(1) == 'P';
    if (name.starts_with('^')) negated = !negated, name.remove_prefix(1);
    const CategorySet set = categories_named(name);
    if (!set) unsupported(fmt::format("property \\p{{{}}}", name));
    return {category_body(set, name, negated), length};
  }

  // NOTE: a category of PCRE2 plus the characters that are newer; a negation has no such form and is written as ranges.
  static std::string category_body(CategorySet set, std::string_view name, bool negated) {
    if (negated) return class_body(complement(ranges_of(set)));
    const bool has_left =
        set & (set_of(Category::Cn) | set_of(Category::Mn) | set_of(Category::Cs)) && name != "M";
    if (has_left)
      return class_body(complement(complement(ranges_of(set))));  // characters that are no longer in it
    return fmt::format("\\p{{{}}}", name) + class_body(newer_than_pcre2(set));
  }

  void character_class() {
    const size_t start = out_.size();
    in_class_ = true;
    copy(1);
    if (peek() == '^') copy(1);
    if (peek() == ']') {  // a literal ] in first place
      out_ += "\\]";
      ++at_;
    }
    while (peek() != ']') {
      if (at_ >= in_.size()) unsupported("a character class that is not closed");
      if (peek() == '&' && peek(1) == '&') unsupported("&& in a character class");
      if (peek() == '[') unsupported("[ inside a character class");
      if (peek() != '\\') {
        copy(1);
      } else if (auto escape_class = class_escape(); escape_class.length) {
        out_ += escape_class.body;
        at_ += escape_class.length;
      } else if (peek(1) == 'b') {
        replace(2, "\\x{8}");
      } else {
        literal_escape();
      }
    }
    copy(1);
    in_class_ = false;
    atom_ = start;
  }

  std::string_view in_;
  size_t at_ = 0;
  bool in_class_ = false;
  std::string out_;
  size_t atom_ = 0;             // where the thing that a quantifier would repeat starts in out_
  std::vector<size_t> groups_;  // starts of the open groups in out_
};

}  // namespace

std::string translate_pattern(std::string_view pattern) { return Translator(pattern).run(); }

}  // namespace octavo::tokenizer
