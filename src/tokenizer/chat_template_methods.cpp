// The methods of Python's str, dict, list and tuple that a sandboxed template may call.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "tokenizer/chat_template_builtins.h"
#include "tokenizer/chat_template_text.h"

namespace octavo::chat {

using Kind = Value::Kind;

namespace {

using Method = Value (*)(const Value& self, CallArguments& arguments);

Value text_of(std::string s) { return Value::text(std::move(s)); }
Value piece(std::string_view s) { return Value::text(std::string(s)); }

Value list_of(const std::vector<std::string_view>& parts) {
  std::vector<Value> items;
  for (const std::string_view part : parts) items.push_back(piece(part));
  return Value::list(std::move(items));
}

template <std::string (*convert)(std::string_view)>
Value converted(const Value& self, CallArguments& a) {
  Bound("method", a, {});
  return text_of(convert(self.utf8()));
}

template <TextTest test>
Value tested(const Value& self, CallArguments& a) {
  Bound("method", a, {});
  return passes(self.utf8(), test);
}

template <bool left, bool right>
Value stripped(const Value& self, CallArguments& a) {
  const Bound b("strip", a, {"chars"});
  const std::string& s = self.utf8();
  if (!b.none_or_absent(0)) return piece(strip(s, b.text(0), left, right));
  return piece(left && right ? strip(s) : left ? strip_left(s) : strip_right(s));
}

template <bool from_right>
Value split(const Value& self, CallArguments& a) {
  const Bound b("split", a, {"sep", "maxsplit"});
  const int64_t most = b.whole(1, -1);
  return list_of(b.none_or_absent(0) ? split_space(self.utf8(), most, from_right)
                                     : split_at(self.utf8(), b.text(0), most, from_right));
}

Value splitlines(const Value& self, CallArguments& a) {
  const Bound b("splitlines", a, {"keepends"});
  return list_of(split_lines(self.utf8(), b.truth(0)));
}

template <bool last>
Value partition(const Value& self, CallArguments& a) {
  const Bound b("partition", a, {"sep"}, 1);
  const std::string_view s = self.utf8();
  const std::string& separator = b.text(0);
  if (separator.empty()) fail("empty separator");
  const size_t at = last ? s.rfind(separator) : s.find(separator);
  if (at == s.npos)
    return last ? Value::tuple({text_of(""), text_of(""), self})
                : Value::tuple({self, text_of(""), text_of("")});
  return Value::tuple({piece(s.substr(0, at)), piece(separator), piece(s.substr(at + separator.size()))});
}

// The part [start, end) of the string that some methods look at, and where it starts in characters.
struct Window {
  std::string_view text;
  int64_t start;
  bool valid;  // false where start lies behind the end: then not even the empty string is found
};
Window window(const Value& self, const Bound& b) {
  const int64_t n = self.as_text().length;
  const auto clamp = [n](int64_t i) { return std::clamp<int64_t>(i < 0 ? i + n : i, 0, n); };
  const int64_t wanted = b.whole(1, 0), start = clamp(wanted), end = clamp(b.whole(2, n));
  if (wanted > n || start > end) return {{}, start, false};
  const size_t from = byte_offset(self.as_text(), start), to = byte_offset(self.as_text(), end);
  return {std::string_view(self.utf8()).substr(from, to - from), start, true};
}

template <bool last, bool must_be_there>
Value find(const Value& self, CallArguments& a) {
  const Bound b("find", a, {"sub", "start", "end"}, 1);
  const Window w = window(self, b);
  Budget::step(1 + static_cast<int64_t>(w.text.size()) / 64);
  const size_t at = !w.valid ? w.text.npos : last ? w.text.rfind(b.text(0)) : w.text.find(b.text(0));
  if (at == w.text.npos) {
    if (must_be_there) fail("substring not found");
    return -1;
  }
  return w.start + length_of(w.text.substr(0, at));
}

Value count(const Value& self, CallArguments& a) {
  const Bound b("count", a, {"sub", "start", "end"}, 1);
  const Window w = window(self, b);
  if (!w.valid) return 0;
  if (b.text(0).empty()) return length_of(w.text) + 1;
  return static_cast<int64_t>(split_at(w.text, b.text(0), -1, false).size()) - 1;
}

// One string, or a tuple of which one must fit.
template <bool at_end>
Value begins_or_ends(const Value& self, CallArguments& a) {
  const Bound b("startswith", a, {"prefix", "start", "end"}, 1);
  const Window w = window(self, b);
  const auto fits = [&](const Value& part) {
    if (part.is(Kind::undefined)) fail_undefined(part);
    if (!part.is(Kind::text))
      fail(fmt::format("{} first arg must be str or a tuple of str, not {}",
                       at_end ? "endswith" : "startswith", part.type_name()));
    return w.valid && (at_end ? w.text.ends_with(part.utf8()) : w.text.starts_with(part.utf8()));
  };
  if (!b[0].is(Kind::tuple)) return fits(b[0]);
  return std::any_of(b[0].items().begin(), b[0].items().end(), fits);
}

template <bool at_end>
Value without(const Value& self, CallArguments& a) {
  const Bound b("removeprefix", a, {"part"}, 1);
  std::string_view s = self.utf8();
  const std::string& part = b.text(0);
  if (at_end && !part.empty() && s.ends_with(part)) s.remove_suffix(part.size());
  if (!at_end && s.starts_with(part)) s.remove_prefix(part.size());
  return piece(s);
}

Value replaced(const Value& self, CallArguments& a) {
  const Bound b("replace", a, {"old", "new", "count"}, 2);
  return text_of(replace(self.utf8(), b.text(0), b.text(1), b.whole(2, -1)));
}

Value join(const Value& self, CallArguments& a) {
  const Bound b("join", a, {"iterable"}, 1);
  std::string out;
  bool first = true;
  int64_t i = 0;
  Cursor cursor(b[0]);
  for (Value v; cursor.next(v); ++i) {
    if (!v.is(Kind::text))
      fail(fmt::format("sequence item {}: expected str instance, {} found", i, v.type_name()));
    if (!std::exchange(first, false)) append(out, self.utf8());
    append(out, v.utf8());
  }
  return text_of(std::move(out));
}

enum class Side { left, right, both };
template <Side side>
Value justified(const Value& self, CallArguments& a) {
  const Bound b("just", a, {"width", "fillchar"}, 1);
  const std::string fill = b.has(1) ? b.text(1) : " ";
  if (length_of(fill) != 1) fail("The fill character must be exactly one character long");
  const int64_t width = b.whole(0), missing = std::max<int64_t>(width - self.as_text().length, 0);
  // NOTE: CPython centres odd rests by the parity of the width.
  const int64_t before = side == Side::left    ? 0
                         : side == Side::right ? missing
                                               : missing / 2 + (missing & width & 1);
  return text_of(repeat(fill, before) + self.utf8() + repeat(fill, missing - before));
}

Value zfill(const Value& self, CallArguments& a) {
  const Bound b("zfill", a, {"width"}, 1);
  const std::string& s = self.utf8();
  const size_t sign = s.starts_with('-') || s.starts_with('+') ? 1 : 0;
  return text_of(s.substr(0, sign) + repeat("0", b.whole(0) - self.as_text().length) + s.substr(sign));
}

Value expandtabs(const Value& self, CallArguments& a) {
  const Bound b("expandtabs", a, {"tabsize"});
  const int64_t size = b.whole(0, 8);
  std::string out;
  int64_t column = 0;
  for (const std::string_view c : characters(self.utf8())) {
    if (c == "\t") {
      const int64_t spaces = size > 0 ? size - column % size : 0;
      append(out, repeat(" ", spaces));
      column += spaces;
    } else {
      append(out, c);
      column = c == "\n" || c == "\r" ? 0 : column + 1;
    }
  }
  return text_of(std::move(out));
}

Value format(const Value& self, CallArguments& a) { return text_of(format_braces(self.utf8(), a)); }

Value format_map(const Value& self, CallArguments& a) {
  const Bound b("format_map", a, {"mapping"}, 1);
  if (!b[0].is(Kind::dict)) fail("format_map() needs a mapping");
  CallArguments named;
  for (const auto& [key, value] : b[0].as_dict().items())
    if (key.is(Kind::text)) named.named.emplace_back(key.utf8(), value);
  return text_of(format_braces(self.utf8(), named));
}

// ---- dict

Value get(const Value& self, CallArguments& a) {
  const Bound b("get", a, {"key", "default"}, 1);
  const Value* found = self.as_dict().find(b[0]);
  return found ? *found : b.value_or(1, Value::none());
}

enum class Part { keys, values, items };
template <Part part>
Value view(const Value& self, CallArguments& a) {
  Bound("view", a, {});
  std::vector<Value> out;
  for (const auto& [key, value] : self.as_dict().items())
    out.push_back(part == Part::keys ? key : part == Part::values ? value : Value::tuple({key, value}));
  constexpr const char* kLabel[] = {"dict_keys", "dict_values", "dict_items"};
  return Value::sequence(Kind::view, std::move(out), kLabel[static_cast<int>(part)]);
}

Value itself(const Value& self, CallArguments& a) {
  Bound("copy", a, {});
  return self;
}

// ---- list and tuple

Value count_items(const Value& self, CallArguments& a) {
  const Bound b("count", a, {"value"}, 1);
  return static_cast<int64_t>(std::count_if(self.items().begin(), self.items().end(),
                                            [&](const Value& v) { return equal(v, b[0]); }));
}

Value index_of(const Value& self, CallArguments& a) {
  const Bound b("index", a, {"value", "start", "stop"}, 1);
  const auto n = static_cast<int64_t>(self.items().size());
  const auto clamp = [n](int64_t i) { return std::clamp<int64_t>(i < 0 ? i + n : i, 0, n); };
  for (int64_t i = clamp(b.whole(1, 0)); i < clamp(b.whole(2, n)); ++i)
    if (equal(self.items()[static_cast<size_t>(i)], b[0])) return i;
  fail(fmt::format("{} is not in {}", repr(b[0]), self.type_name()));
}

using Methods = std::map<std::string_view, Method>;

const Methods kTextMethods = {
    {"capitalize", converted<capitalize>},
    {"center", justified<Side::both>},
    {"count", count},
    {"endswith", begins_or_ends<true>},
    {"expandtabs", expandtabs},
    {"find", find<false, false>},
    {"format", format},
    {"format_map", format_map},
    {"index", find<false, true>},
    {"isalnum", tested<TextTest::alnum>},
    {"isalpha", tested<TextTest::alpha>},
    {"isascii", tested<TextTest::ascii>},
    {"isdecimal", tested<TextTest::decimal>},
    {"isdigit", tested<TextTest::digit>},
    {"isidentifier", tested<TextTest::identifier>},
    {"islower", tested<TextTest::lower>},
    {"isnumeric", tested<TextTest::numeric>},
    {"isprintable", tested<TextTest::printable>},
    {"isspace", tested<TextTest::space>},
    {"istitle", tested<TextTest::title>},
    {"isupper", tested<TextTest::upper>},
    {"join", join},
    {"ljust", justified<Side::left>},
    {"lower", converted<lower>},
    {"lstrip", stripped<true, false>},
    {"partition", partition<false>},
    {"removeprefix", without<false>},
    {"removesuffix", without<true>},
    {"replace", replaced},
    {"rfind", find<true, false>},
    {"rindex", find<true, true>},
    {"rjust", justified<Side::right>},
    {"rpartition", partition<true>},
    {"rsplit", split<true>},
    {"rstrip", stripped<false, true>},
    {"split", split<false>},
    {"splitlines", splitlines},
    {"startswith", begins_or_ends<false>},
    {"strip", stripped<true, true>},
    {"swapcase", converted<swapcase>},
    {"title", converted<title>},
    {"upper", converted<upper>},
    {"zfill", zfill},
};
const Methods kDictMethods = {{"copy", itself},
                              {"get", get},
                              {"items", view<Part::items>},
                              {"keys", view<Part::keys>},
                              {"values", view<Part::values>}};
const Methods kListMethods = {{"copy", itself}, {"count", count_items}, {"index", index_of}};
const Methods kTupleMethods = {{"count", count_items}, {"index", index_of}};

// What Python has and octavo lacks; these are errors and not undefined, so that no template silently loses text.
bool lacks(const Value& v, const std::string& name) {
  static constexpr std::string_view kText[] = {"casefold", "encode", "maketrans", "translate"};
  static constexpr std::string_view kDict[] = {"fromkeys"};
  const auto among = [&](const auto& names) {
    return std::find(std::begin(names), std::end(names), name) != std::end(names);
  };
  return (v.is(Kind::text) && among(kText)) || (v.is(Kind::dict) && among(kDict));
}

}  // namespace

std::optional<Value> method(const Value& v, const std::string& name) {
  if (lacks(v, name))
    fail(fmt::format("the method {} of '{}' objects is not supported", name, v.type_name()));
  const Methods* methods = v.is(Kind::text)                         ? &kTextMethods
                           : v.is(Kind::dict)                       ? &kDictMethods
                           : v.is(Kind::list)                       ? &kListMethods
                           : v.is(Kind::tuple) || v.is(Kind::range) ? &kTupleMethods
                                                                    : nullptr;
  if (!methods) return std::nullopt;
  const auto found = methods->find(name);
  if (found == methods->end()) return std::nullopt;
  auto bound = std::make_shared<Native>(
      name, [self = v, body = found->second](CallArguments& arguments) { return body(self, arguments); });
  bound->depth = v.depth() + 1;
  return Value::object(std::move(bound));
}

}  // namespace octavo::chat
