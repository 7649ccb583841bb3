#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "tokenizer/chat_template_builtins.h"
#include "tokenizer/chat_template_text.h"

namespace octavo::chat {

using Kind = Value::Kind;

namespace {

void check_defined(const Value& v) {
  if (v.is(Kind::undefined)) fail_undefined(v);
}

[[noreturn]] void fail_operands(std::string_view op, const Value& a, const Value& b) {
  fail(fmt::format("unsupported operand types for {}: '{}' and '{}'", op, a.type_name(), b.type_name()));
}

constexpr const char* kTooLarge = "an integer does not fit 64 bits";

int64_t power(int64_t base, int64_t exponent) {
  int64_t result = 1;
  while (exponent > 0) {
    if (exponent & 1 && __builtin_mul_overflow(result, base, &result)) fail(kTooLarge);
    exponent >>= 1;
    if (exponent > 0 && __builtin_mul_overflow(base, base, &base)) fail(kTooLarge);
  }
  return result;
}

// Python rounds quotients down and gives remainders the sign of the divisor.
int64_t floor_quotient(int64_t a, int64_t b) {
  if (a == INT64_MIN && b == -1) fail(kTooLarge);
  const int64_t q = a / b;
  return a % b != 0 && (a < 0) != (b < 0) ? q - 1 : q;
}
int64_t floor_remainder(int64_t a, int64_t b) {
  if (b == -1) return 0;
  const int64_t r = a % b;
  return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}
double floor_remainder(double a, double b) {
  const double r = std::fmod(a, b);
  return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}

Value whole_arithmetic(std::string_view op, int64_t a, int64_t b) {
  int64_t result = 0;
  if (op == "+" && !__builtin_add_overflow(a, b, &result)) return result;
  if (op == "-" && !__builtin_sub_overflow(a, b, &result)) return result;
  if (op == "*" && !__builtin_mul_overflow(a, b, &result)) return result;
  if (op == "**")
    return b >= 0 ? Value(power(a, b)) : Value(std::pow(static_cast<double>(a), static_cast<double>(b)));
  if ((op == "/" || op == "//" || op == "%") && b == 0) fail("division by zero");
  if (op == "/") return static_cast<double>(a) / static_cast<double>(b);
  if (op == "//") return floor_quotient(a, b);
  if (op == "%") return floor_remainder(a, b);
  fail(kTooLarge);
}

Value number_arithmetic(std::string_view op, double a, double b) {
  if ((op == "/" || op == "//" || op == "%") && b == 0) fail("float division by zero");
  if (op == "+") return a + b;
  if (op == "-") return a - b;
  if (op == "*") return a * b;
  if (op == "/") return a / b;
  if (op == "//") return std::floor(a / b);
  if (op == "%") return floor_remainder(a, b);
  if (a < 0 && b != std::floor(b)) fail("a power is no real number");
  if (a == 0 && b < 0) fail("0.0 cannot be raised to a negative power");
  return std::pow(a, b);
}

Value joined_texts(const Text& a, const Text& b) {
  std::string left = b.markup && !a.markup ? escape_html(a.utf8) : a.utf8;
  append(left, a.markup && !b.markup ? escape_html(b.utf8) : b.utf8);
  return Value::text(std::move(left), a.markup || b.markup);
}

Value joined_sequences(const Value& a, const Value& b) {
  std::vector<Value> items = a.items();
  items.insert(items.end(), b.items().begin(), b.items().end());
  return Value::sequence(a.kind(), std::move(items));
}

Value repeated(const Value& v, int64_t times) {
  if (v.is(Kind::text)) return Value::text(repeat(v.utf8(), times), v.as_text().markup);
  std::vector<Value> items;
  times = v.items().empty() ? 0 : std::max<int64_t>(times, 0);
  if (times > int64_t{1} << 32) fail_limit("a repeated list is too long");
  Budget::bytes(times * static_cast<int64_t>(v.items().size() * sizeof(Value)));
  for (; times > 0; --times) items.insert(items.end(), v.items().begin(), v.items().end());
  return Value::sequence(v.kind(), std::move(items));
}

bool is_list_or_tuple(const Value& v) { return v.is(Kind::list) || v.is(Kind::tuple); }
bool can_repeat(const Value& v) { return v.is(Kind::text) || is_list_or_tuple(v); }

std::string missing_message(const Value& v, const Value& key) {
  const std::string what = v.is(Kind::none) ? "None" : v.type_name() + " object";
  return key.is(Kind::text) ? fmt::format("'{}' has no attribute {}", what, repr_of(key.utf8()))
                            : fmt::format("{} has no element {}", what, repr(key));
}

Value unsafe(const Value& v, const std::string& name) {
  return Value::undefined(
      fmt::format("access to attribute {} of '{}' object is unsafe", repr_of(name), v.type_name()));
}

// What Python's getattr finds, as far as the sandbox lets it through.
std::optional<Value> python_attribute(const Value& v, const std::string& name) {
  if (name.size() > 4 && name.starts_with("__") && name.ends_with("__")) return unsafe(v, name);
  static constexpr std::string_view kDictChanges[] = {"clear", "pop", "popitem", "setdefault", "update"};
  static constexpr std::string_view kListChanges[] = {"append", "clear", "pop",    "reverse",
                                                      "insert", "sort",  "extend", "remove"};
  const auto among = [&](const auto& names) {
    return std::find(std::begin(names), std::end(names), name) != std::end(names);
  };
  if ((v.is(Kind::dict) && among(kDictChanges)) || (v.is(Kind::list) && among(kListChanges)))
    return unsafe(v, name);
  if (v.is(Kind::object)) return v.as_object()->attribute(name);
  if (v.is(Kind::tuple) && v.as_sequence().label == kGroupLabel && (name == "grouper" || name == "list"))
    return v.items()[name == "list" ? 1 : 0];
  return method(v, name);
}

// Where the character at `at` ends.
size_t byte_offset_after(const std::string& s, size_t at) {
  do ++at;
  while (at < s.size() && (static_cast<unsigned char>(s[at]) & 0xc0) == 0x80);
  return at;
}

// What obj[key] finds.
std::optional<Value> python_item(const Value& v, const Value& key) {
  if (v.is(Kind::dict)) {
    if (key.is(Kind::list) || key.is(Kind::dict)) return std::nullopt;
    const Value* found = v.as_dict().find(key);
    return found ? std::optional(*found) : std::nullopt;
  }
  if (!key.is_whole()) return std::nullopt;
  const bool text = v.is(Kind::text);
  if (!text && (!v.is_sequence() || v.is(Kind::view))) return std::nullopt;
  const int64_t n = length(v), index = key.whole() < 0 ? key.whole() + n : key.whole();
  if (index < 0 || index >= n) return std::nullopt;
  if (!text) return v.items()[static_cast<size_t>(index)];
  const size_t from = byte_offset(v.as_text(), index);
  return Value::text(v.utf8().substr(from, byte_offset_after(v.utf8(), from) - from));
}

}  // namespace

// ---- walking

bool is_iterable(const Value& v) {
  return v.is_sequence() || v.is(Kind::text) || v.is(Kind::dict) || v.is(Kind::undefined) ||
         v.object_as<Iterator>();
}

Cursor::Cursor(Value iterable) : iterable_(std::move(iterable)) {
  if (!is_iterable(iterable_)) fail(fmt::format("'{}' object is not iterable", iterable_.type_name()));
}

bool Cursor::next(Value& element) {
  Budget::step();
  switch (iterable_.kind()) {
    case Kind::undefined: return false;
    case Kind::text: {
      const std::string& s = iterable_.utf8();
      if (at_ >= s.size()) return false;
      const size_t end = byte_offset_after(s, at_);
      element = Value::text(s.substr(at_, end - at_));
      at_ = end;
      return true;
    }
    case Kind::dict:
      if (at_ >= iterable_.as_dict().size()) return false;
      element = iterable_.as_dict().items()[at_++].first;
      return true;
    case Kind::object: {
      const Budget::Level level;  // iterators over iterators
      return iterable_.object_as<Iterator>()->next(element);
    }
    default:
      if (at_ >= iterable_.items().size()) return false;
      element = iterable_.items()[at_++];
      return true;
  }
}

std::optional<int64_t> Cursor::length() const {
  if (iterable_.is(Kind::object)) return std::nullopt;
  return iterable_.is(Kind::undefined) ? 0 : chat::length(iterable_);
}

std::vector<Value> elements(const Value& iterable) {
  if (iterable.is_sequence()) return iterable.items();
  std::vector<Value> all;
  Cursor cursor(iterable);
  for (Value v; cursor.next(v);) {
    Budget::bytes(sizeof(Value));
    all.push_back(v);
  }
  return all;
}

Value make_iterator(std::function<bool(Value&)> next, int depth_of_source) {
  auto iterator = std::make_shared<Iterator>();
  iterator->next = std::move(next);
  iterator->depth = depth_of_source + 1;
  return Value::object(std::move(iterator));
}

int64_t length(const Value& v) {
  if (v.is(Kind::undefined)) return 0;
  if (v.is(Kind::text)) return v.as_text().length;
  if (v.is(Kind::dict)) return static_cast<int64_t>(v.as_dict().size());
  if (!v.is_sequence()) fail(fmt::format("object of type '{}' has no len()", v.type_name()));
  return static_cast<int64_t>(v.items().size());
}

// ---- operators

Value arithmetic(std::string_view op, const Value& a, const Value& b) {
  check_defined(a), check_defined(b);
  if (op == "%" && a.is(Kind::text)) return Value::text(format_percent(a.utf8(), b));
  if (a.is_number() && b.is_number())
    return a.is_whole() && b.is_whole() ? whole_arithmetic(op, a.whole(), b.whole())
                                        : number_arithmetic(op, a.number(), b.number());
  if (op == "+" && a.is(Kind::text) && b.is(Kind::text)) return joined_texts(a.as_text(), b.as_text());
  if (op == "+" && is_list_or_tuple(a) && a.kind() == b.kind()) return joined_sequences(a, b);
  if (op == "*" && can_repeat(a) && b.is_whole()) return repeated(a, b.whole());
  if (op == "*" && can_repeat(b) && a.is_whole()) return repeated(b, a.whole());
  fail_operands(op, a, b);
}

Value negative(const Value& v, std::string_view op) {
  check_defined(v);
  if (!v.is_number()) fail(fmt::format("bad operand type for unary {}: '{}'", op, v.type_name()));
  if (v.is(Kind::number)) return op == "-" ? -v.number() : v.number();
  if (v.whole() == INT64_MIN) fail(kTooLarge);
  return op == "-" ? -v.whole() : v.whole();
}

bool contains(const Value& container, const Value& v) {
  if (container.is(Kind::text)) {
    if (!v.is(Kind::text)) {
      check_defined(v);
      fail(fmt::format("'in <string>' requires string as left operand, not {}", v.type_name()));
    }
    Budget::step(1 + static_cast<int64_t>(container.utf8().size()) / 64);
    return container.utf8().find(v.utf8()) != std::string::npos;
  }
  if (container.is(Kind::dict)) return container.as_dict().find(v) != nullptr;
  if (!is_iterable(container))
    fail(fmt::format("argument of type '{}' is not iterable", container.type_name()));
  Cursor cursor(container);
  for (Value element; cursor.next(element);)
    if (equal(element, v)) return true;
  return false;
}

bool compare(std::string_view op, const Value& a, const Value& b) {
  if (op == "==") return equal(a, b);
  if (op == "!=") return !equal(a, b);
  if (op == "in") return contains(b, a);
  if (op == "not in") return !contains(b, a);
  const int sign = order(a, b, std::string(op).c_str());
  const bool has_nan = a.is_number() && b.is_number() && (std::isnan(a.number()) || std::isnan(b.number()));
  if (has_nan) return false;
  return op == "<" ? sign < 0 : op == "<=" ? sign <= 0 : op == ">" ? sign > 0 : sign >= 0;
}

// ---- attributes and items

Value attribute(const Value& v, const std::string& name) {
  check_defined(v);
  if (auto found = python_attribute(v, name)) return *found;
  const Value key = Value::text(name);
  if (auto found = python_item(v, key)) return *found;
  return Value::undefined(missing_message(v, key));
}

Value item(const Value& v, const Value& key) {
  check_defined(v);
  if (auto found = python_item(v, key)) return *found;
  if (key.is(Kind::text))
    if (auto found = python_attribute(v, key.utf8())) return *found;
  return Value::undefined(missing_message(v, key));
}

Value slice(const Value& v, const Value& start, const Value& stop, const Value& step) {
  check_defined(v);
  const bool text = v.is(Kind::text);
  if (!text && (!v.is_sequence() || v.is(Kind::view)))
    fail(fmt::format("'{}' object cannot be sliced", v.type_name()));
  const auto bound = [](const Value& b) -> std::optional<int64_t> {
    check_defined(b);
    if (b.is(Kind::none)) return std::nullopt;
    if (!b.is_whole()) fail("slice indices must be integers or None");
    return b.whole();
  };
  const int64_t n = length(v), by = bound(step).value_or(1);
  if (by == 0) fail("slice step cannot be zero");
  if (by == INT64_MIN) fail("slice step is too large");
  // As Python's slice.indices().
  const int64_t lowest = by > 0 ? 0 : -1, highest = by > 0 ? n : n - 1;
  const auto clamp = [&](std::optional<int64_t> b, int64_t fallback) {
    if (!b) return fallback;
    return *b < 0 ? std::max(*b + n, lowest) : std::min(*b, highest);
  };
  const int64_t from = clamp(bound(start), by > 0 ? 0 : n - 1), to = clamp(bound(stop), by > 0 ? n : -1);
  if (text && by == 1) {
    const size_t first = byte_offset(v.as_text(), from), last = byte_offset(v.as_text(), std::max(from, to));
    return Value::text(v.utf8().substr(first, last - first), v.as_text().markup);
  }
  std::vector<size_t> places;
  for (int64_t i = from; by > 0 ? i < to : i > to;) {
    Budget::step();
    places.push_back(static_cast<size_t>(i));
    if (by > 0 ? by >= to - i : by <= to - i) break;
    i += by;
  }
  if (text) {
    const std::vector<std::string_view> all = characters(v.utf8());
    std::string out;
    for (const size_t i : places) out += all[i];
    return Value::text(std::move(out));
  }
  std::vector<Value> items;
  for (const size_t i : places) items.push_back(v.items()[i]);
  return Value::sequence(v.is(Kind::range) ? Kind::list : v.kind(), std::move(items));
}

Value item_at_path(Value v, const Value& path, const Value& fallback) {
  const auto step = [&](const Value& key) {
    v = item(v, key);
    if (v.is(Kind::undefined) && !fallback.is(Kind::none)) v = fallback;
  };
  if (path.is(Kind::none)) return v;
  if (!path.is(Kind::text)) {
    step(path);
    return v;
  }
  for (const std::string_view part : split_at(path.utf8(), ".", -1, false)) {
    const bool number = passes(part, TextTest::digit);
    const auto index = number ? parse_integer(part, 10) : std::nullopt;
    step(index ? Value(*index) : Value::text(std::string(part)));
  }
  return v;
}

// ---- numbers

std::optional<int64_t> parse_integer(std::string_view text, int base) {
  text = strip(text);
  const bool negative_sign = text.starts_with('-');
  if (negative_sign || text.starts_with('+')) text.remove_prefix(1);
  const auto has_mark = [&](char mark) {
    return text.size() > 2 && text[0] == '0' && (text[1] | 0x20) == mark;
  };
  for (const auto& [mark, of] : {std::pair{'x', 16}, std::pair{'o', 8}, std::pair{'b', 2}})
    if (has_mark(mark) && (base == of || base == 0)) base = of, text.remove_prefix(2);
  if (base == 0) base = 10;
  std::string digits;
  for (size_t i = 0; i < text.size(); ++i)
    if (text[i] != '_')
      digits += text[i];
    else if (i == 0 || i + 1 == text.size() || text[i - 1] == '_')
      return std::nullopt;
  uint64_t n = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), n, base);
  if (digits.empty() || end != digits.data() + digits.size()) return std::nullopt;
  const uint64_t most = static_cast<uint64_t>(INT64_MAX) + (negative_sign ? 1 : 0);
  if (error != std::errc() || n > most) fail(kTooLarge);
  return negative_sign ? static_cast<int64_t>(0 - n) : static_cast<int64_t>(n);
}

std::optional<double> parse_number(std::string_view text) {
  text = strip(text);
  const bool negative_sign = text.starts_with('-');
  if (negative_sign || text.starts_with('+')) text.remove_prefix(1);
  const std::string plain = lower(text);
  double d = 0;
  if (plain == "inf" || plain == "infinity") {
    d = INFINITY;
  } else if (plain == "nan") {
    d = NAN;
  } else {
    if (plain.empty() || !(plain[0] == '.' || (plain[0] >= '0' && plain[0] <= '9'))) return std::nullopt;
    const auto [end, error] = std::from_chars(plain.data(), plain.data() + plain.size(), d);
    if (end != plain.data() + plain.size()) return std::nullopt;
    if (error != std::errc()) d = std::strtod(plain.c_str(), nullptr);  // overflow to inf, underflow to 0
  }
  return negative_sign ? -d : d;
}

Value to_integer(double d) {
  if (std::isnan(d)) fail("cannot convert float NaN to integer");
  if (!(std::fabs(d) < 0x1p63)) fail(kTooLarge);
  return static_cast<int64_t>(d);
}

}  // namespace octavo::chat
