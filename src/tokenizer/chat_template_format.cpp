// Python's two ways to format: "%s of %d" % (a, b) and "{} of {:>5}".format(a, b), for texts and numbers.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "tokenizer/chat_template_builtins.h"
#include "tokenizer/chat_template_text.h"
#include "tokenizer/utf8.h"

namespace octavo::chat {

using Kind = Value::Kind;

namespace {

constexpr int64_t kWidest = 100'000, kMostPrecise = 400;

// [[fill]align][sign][#][0][width][,][.precision][type]
struct Spec {
  std::string fill = " ";
  char align = '\0', sign = '-', grouping = '\0', type = '\0';
  bool alternate = false;
  int64_t width = 0, precision = -1;
};

int64_t read_number(std::string_view& s, int64_t most) {
  int64_t n = 0;
  for (; !s.empty() && s[0] >= '0' && s[0] <= '9'; s.remove_prefix(1)) {
    n = n * 10 + (s[0] - '0');
    if (n > most) fail_limit(fmt::format("a width or precision of more than {}", most));
  }
  return n;
}

Spec parse_spec(std::string_view s) {
  const std::string whole(s);
  const auto is_align = [](char c) { return c == '<' || c == '>' || c == '=' || c == '^'; };
  Spec spec;
  if (!s.empty()) {
    const auto first = static_cast<size_t>(tokenizer::decode_utf8(s.data()).bytes);
    if (s.size() > first && is_align(s[first])) {
      spec.fill = s.substr(0, first), spec.align = s[first];
      s.remove_prefix(first + 1);
    } else if (is_align(s[0])) {
      spec.align = s[0];
      s.remove_prefix(1);
    }
  }
  const auto take = [&](std::string_view any) {
    if (s.empty() || any.find(s[0]) == any.npos) return '\0';
    const char c = s[0];
    s.remove_prefix(1);
    return c;
  };
  if (const char sign = take("+- ")) spec.sign = sign;
  spec.alternate = take("#") != '\0';
  if (take("0") && !spec.align) spec.fill = "0", spec.align = '=';
  spec.width = read_number(s, kWidest);
  spec.grouping = take(",_");
  if (take(".")) {
    if (s.empty() || s[0] < '0' || s[0] > '9') fail("Format specifier missing precision");
    spec.precision = read_number(s, kMostPrecise);
  }
  spec.type = take("sdbcoxXeEfFgGn%");
  if (!s.empty()) fail(fmt::format("Invalid format specifier {}", repr_of(whole)));
  return spec;
}

std::string padded(const std::string& sign, const std::string& body, const Spec& spec, char default_align) {
  const int64_t missing = spec.width - length_of(sign) - length_of(body);
  if (missing <= 0) return sign + body;
  const char align = spec.align ? spec.align : default_align;
  const int64_t left = align == '<' ? 0 : align == '^' ? missing / 2 : missing;
  const std::string before = repeat(spec.fill, left), after = repeat(spec.fill, missing - left);
  return align == '=' ? sign + before + body : before + sign + body + after;
}

std::string sign_of(bool negative_number, const Spec& spec) {
  return negative_number ? "-" : spec.sign == '-' ? "" : std::string(1, spec.sign);
}

// Separators every three digits before the point.
std::string grouped(const std::string& digits, char separator) {
  if (!separator) return digits;
  const size_t point = std::min(digits.find_first_not_of("0123456789"), digits.size());
  std::string out;
  for (size_t i = 0; i < point; ++i) {
    if (i > 0 && (point - i) % 3 == 0) out += separator;
    out += digits[i];
  }
  return out + digits.substr(point);
}

std::string printed(const char* format, int64_t precision, double d) {
  const int bytes = std::snprintf(nullptr, 0, format, static_cast<int>(precision), d);
  std::string out(static_cast<size_t>(bytes) + 1, '\0');
  std::snprintf(out.data(), out.size(), format, static_cast<int>(precision), d);
  out.pop_back();
  return out;
}

std::string float_digits(double d, const Spec& spec) {  // d >= 0
  if (std::isnan(d) || std::isinf(d)) {
    const std::string text = std::isnan(d) ? "nan" : "inf";
    return spec.type == 'F' || spec.type == 'E' || spec.type == 'G' ? upper(text) : text;
  }
  const int64_t precision = spec.precision < 0 ? 6 : spec.precision;
  switch (spec.type) {
    case 'f':
    case 'F': return printed("%.*f", precision, d);
    case 'e': return printed("%.*e", precision, d);
    case 'E': return printed("%.*E", precision, d);
    case 'g':
    case 'n': return printed("%.*g", precision, d);
    case 'G': return printed("%.*G", precision, d);
    case '%': return printed("%.*f", precision, d * 100) + "%";
    default:
      if (spec.precision < 0) return number_text(d);
      fail("a precision without a type is not supported for floats");
  }
}

std::string whole_digits(int64_t n, const Spec& spec) {
  const uint64_t magnitude = n < 0 ? 0 - static_cast<uint64_t>(n) : static_cast<uint64_t>(n);
  switch (spec.type) {
    case 'b': return fmt::format("{}{:b}", spec.alternate ? "0b" : "", magnitude);
    case 'o': return fmt::format("{}{:o}", spec.alternate ? "0o" : "", magnitude);
    case 'x': return fmt::format("{}{:x}", spec.alternate ? "0x" : "", magnitude);
    case 'X': return fmt::format("{}{:X}", spec.alternate ? "0X" : "", magnitude);
    default: return fmt::format("{}", magnitude);
  }
}

std::string character_of(int64_t code) {
  if (code < 0 || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
    fail("%c arg not in range of characters");
  std::string out;
  tokenizer::append_utf8(out, static_cast<char32_t>(code));
  return out;
}

std::string first_characters(const std::string& s, int64_t most) {
  if (most < 0 || most >= length_of(s)) return s;
  const Value v = Value::text(s);
  return s.substr(0, byte_offset(v.as_text(), most));
}

// ---- "%..."

class PercentFormatter {
 public:
  PercentFormatter(const std::string& format, const Value& arguments)
      : rest_(format), arguments_(arguments) {}

  std::string run() {
    std::string out;
    while (!rest_.empty()) {
      const size_t percent = std::min(rest_.find('%'), rest_.size());
      append(out, rest_.substr(0, percent));
      rest_.remove_prefix(percent);
      if (rest_.empty()) break;
      rest_.remove_prefix(1);
      append(out, conversion());
    }
    if (next_ < positional() && !arguments_.is(Kind::dict))
      fail("not all arguments converted during string formatting");
    return out;
  }

 private:
  size_t positional() const { return arguments_.is(Kind::tuple) ? arguments_.items().size() : 1; }

  Value next_argument() {
    if (next_ >= positional()) fail("not enough arguments for format string");
    const size_t i = next_++;
    return arguments_.is(Kind::tuple) ? arguments_.items()[i] : arguments_;
  }

  Value named_argument() {
    const size_t end = rest_.find(')');
    if (end == rest_.npos) fail("incomplete format key");
    if (!arguments_.is(Kind::dict)) fail("format requires a mapping");
    const Value* found = arguments_.as_dict().find(rest_.substr(1, end - 1));
    if (!found) fail(fmt::format("the format's key {} is missing", repr_of(rest_.substr(1, end - 1))));
    rest_.remove_prefix(end + 1);
    return *found;
  }

  int64_t number_or_star(int64_t most) {
    if (!rest_.starts_with('*')) return read_number(rest_, most);
    rest_.remove_prefix(1);
    const Value v = next_argument();
    if (!v.is_whole()) fail("* wants int");
    if (v.whole() > most || v.whole() < -most)
      fail_limit(fmt::format("a width or precision of more than {}", most));
    return v.whole();
  }

  std::string conversion() {
    std::optional<Value> named;
    if (rest_.starts_with('(')) named = named_argument();
    Spec spec;
    bool left = false;
    for (; !rest_.empty() && std::string_view("-+ 0#").find(rest_[0]) != std::string_view::npos;
         rest_.remove_prefix(1)) {
      const char flag = rest_[0];
      if (flag == '-') left = true;
      if (flag == '0') spec.fill = "0", spec.align = '=';
      if (flag == '#') spec.alternate = true;
      if (flag == '+' || (flag == ' ' && spec.sign != '+')) spec.sign = flag;
    }
    spec.width = number_or_star(kWidest);
    if (spec.width < 0) left = true, spec.width = -spec.width;
    if (rest_.starts_with('.'))
      rest_.remove_prefix(1), spec.precision = std::max<int64_t>(0, number_or_star(kMostPrecise));
    if (left) spec.fill = " ", spec.align = '<';
    if (rest_.empty()) fail("incomplete format");
    const char type = rest_[0];
    rest_.remove_prefix(1);
    if (type == '%') return "%";
    return convert(type, spec, named ? *named : next_argument());
  }

  static std::string convert(char type, Spec spec, const Value& v) {
    switch (type) {
      case 's':
      case 'r': return text(first_characters(type == 's' ? to_text(v) : repr(v), spec.precision), spec);
      case 'c': return text(v.is_whole() ? character_of(v.whole()) : to_text(v), spec);
      case 'd':
      case 'i':
      case 'u':
        if (!v.is_number())
          fail(fmt::format("%{} format: a real number is required, not {}", type, v.type_name()));
        return whole(v.is(Kind::number) ? to_integer(v.number()).whole() : v.whole(), 'd', spec);
      case 'x':
      case 'X':
      case 'o':
        if (!v.is_whole())
          fail(fmt::format("%{} format: an integer is required, not {}", type, v.type_name()));
        return whole(v.whole(), type, spec);
      case 'e':
      case 'E':
      case 'f':
      case 'F':
      case 'g':
      case 'G':
        if (!v.is_number()) fail(fmt::format("must be real number, not {}", v.type_name()));
        spec.type = type;
        return padded(sign_of(std::signbit(v.number()), spec), float_digits(std::fabs(v.number()), spec),
                      spec, '>');
      default: fail(fmt::format("unsupported format character {}", repr_of(std::string(1, type))));
    }
  }
  static std::string text(const std::string& s, Spec spec) {
    if (spec.align == '=') spec.align = '\0', spec.fill = " ";
    return padded("", s, spec, '>');
  }
  static std::string whole(int64_t n, char type, Spec spec) {
    spec.type = type;
    std::string digits = whole_digits(n, spec);
    if (static_cast<int64_t>(digits.size()) < spec.precision)
      digits.insert(0, repeat("0", spec.precision - static_cast<int64_t>(digits.size())));
    return padded(sign_of(n < 0, spec), digits, spec, '>');
  }

  std::string_view rest_;
  const Value& arguments_;
  size_t next_ = 0;
};

// ---- "{...}"

class BraceFormatter {
 public:
  explicit BraceFormatter(const CallArguments& arguments) : arguments_(arguments) {}

  std::string run(std::string_view s, int depth) {
    if (depth > 2) fail("Max string recursion exceeded");
    std::string out;
    while (!s.empty()) {
      const size_t brace = std::min(s.find_first_of("{}"), s.size());
      append(out, s.substr(0, brace));
      s.remove_prefix(brace);
      if (s.empty()) break;
      if (s.size() > 1 && s[1] == s[0]) {
        append(out, s.substr(0, 1));
        s.remove_prefix(2);
        continue;
      }
      if (s[0] == '}') fail("Single '}' encountered in format string");
      const size_t end = matching_brace(s);
      append(out, field(s.substr(1, end - 1), depth));
      s.remove_prefix(end + 1);
    }
    return out;
  }

 private:
  static size_t matching_brace(std::string_view s) {
    int open = 0;
    for (size_t i = 0; i < s.size(); ++i) {
      open += s[i] == '{' ? 1 : s[i] == '}' ? -1 : 0;
      if (open == 0) return i;
    }
    fail("expected '}' before end of string");
  }

  // name[!conversion][:spec]
  std::string field(std::string_view s, int depth) {
    const size_t name_end = std::min(s.find_first_of("!:"), s.size());
    Value v = value_of(s.substr(0, name_end));
    s.remove_prefix(name_end);
    if (s.starts_with('!')) {
      if (s.size() < 2) fail("end of string while looking for conversion specifier");
      if (s[1] != 's' && s[1] != 'r')
        fail(fmt::format("Unknown conversion specifier {}", repr_of(s.substr(1, 1))));
      v = Value::text(s[1] == 's' ? to_text(v) : repr(v));
      s.remove_prefix(2);
      if (!s.empty() && s[0] != ':') fail("expected ':' after conversion specifier");
    }
    return format_one(v, run(s.empty() ? s : s.substr(1), depth + 1));
  }

  Value value_of(std::string_view path) {
    const size_t first_end = std::min(path.find_first_of(".["), path.size());
    Value v = argument(path.substr(0, first_end));
    path.remove_prefix(first_end);
    while (!path.empty()) {
      const bool by_name = path[0] == '.';
      const size_t end = by_name ? std::min(path.find_first_of(".[", 1), path.size()) : path.find(']');
      if (end == path.npos) fail("Missing ']' in format string");
      const std::string part(path.substr(1, end - 1));
      if (part.empty()) fail("Empty attribute in format string");
      const auto index = by_name ? std::nullopt : parse_integer(part, 10);
      v = by_name ? attribute(v, part) : item(v, index ? Value(*index) : Value::text(part));
      path.remove_prefix(by_name ? end : end + 1);
    }
    return v;
  }

  Value argument(std::string_view name) {
    const auto index = name.empty() ? std::optional<int64_t>(next_++) : parse_integer(name, 10);
    if (index) {
      if (*index < 0 || *index >= static_cast<int64_t>(arguments_.positional.size()))
        fail(fmt::format("Replacement index {} out of range for positional args tuple", *index));
      return arguments_.positional[static_cast<size_t>(*index)];
    }
    for (const auto& [known, v] : arguments_.named)
      if (known == name) return v;
    fail(fmt::format("the format's name {} is missing", repr_of(name)));
  }

  const CallArguments& arguments_;
  int64_t next_ = 0;
};

}  // namespace

std::string format_one(const Value& v, std::string_view text) {
  if (text.empty()) return to_text(v);
  const Spec spec = parse_spec(text);
  if (v.is(Kind::text)) {
    if (spec.type && spec.type != 's')
      fail(fmt::format("Unknown format code '{}' for object of type 'str'", spec.type));
    if (spec.align == '=') fail("'=' alignment not allowed in string format specifier");
    return padded("", first_characters(v.utf8(), spec.precision), spec, '<');
  }
  if (!v.is_number()) fail(fmt::format("unsupported format string passed to {}.__format__", v.type_name()));
  const bool as_float = v.is(Kind::number) ||
                        (spec.type && std::string_view("eEfFgG%").find(spec.type) != std::string_view::npos);
  if (as_float)
    return padded(sign_of(std::signbit(v.number()), spec),
                  grouped(float_digits(std::fabs(v.number()), spec), spec.grouping), spec, '>');
  if (spec.type == 's') fail(fmt::format("Unknown format code 's' for object of type '{}'", v.type_name()));
  if (spec.precision >= 0) fail("Precision not allowed in integer format specifier");
  if (spec.type == 'c') return padded("", character_of(v.whole()), spec, '<');
  return padded(sign_of(v.whole() < 0, spec), grouped(whole_digits(v.whole(), spec), spec.grouping), spec,
                '>');
}

std::string format_percent(const std::string& format, const Value& arguments) {
  return PercentFormatter(format, arguments).run();
}

std::string format_braces(const std::string& format, const CallArguments& arguments) {
  return BraceFormatter(arguments).run(format, 0);
}

}  // namespace octavo::chat
