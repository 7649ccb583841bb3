// The filters of jinja2 that work on one value: text, numbers, conversions. Those on many values are in
// chat_template_sequence_filters.cpp.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "tokenizer/chat_template_builtins.h"
#include "tokenizer/chat_template_text.h"
#include "tokenizer/unicode.h"
#include "tokenizer/utf8.h"

namespace octavo::chat {

using Kind = Value::Kind;

// ---- arguments

Bound::Bound(std::string_view function, CallArguments& arguments,
             std::initializer_list<const char*> parameters, size_t required)
    : function_(function), names_(parameters), values_(parameters.size()) {
  if (arguments.positional.size() > names_.size())
    fail(fmt::format("{}() takes at most {} arguments, {} given", function, names_.size(),
                     arguments.positional.size()));
  for (size_t i = 0; i < arguments.positional.size(); ++i) values_[i] = arguments.positional[i];
  for (const auto& [name, value] : arguments.named) {
    const auto found = std::find(names_.begin(), names_.end(), name);
    if (found == names_.end())
      fail(fmt::format("{}() got an unexpected keyword argument {}", function, repr_of(name)));
    auto& place = values_[static_cast<size_t>(found - names_.begin())];
    if (place) fail(fmt::format("{}() got multiple values for argument {}", function, repr_of(name)));
    place = value;
  }
  for (size_t i = 0; i < required; ++i)
    if (!values_[i]) fail(fmt::format("{}() is missing the argument {}", function, repr_of(names_[i])));
}

int64_t Bound::whole(size_t i, int64_t fallback) const {
  if (none_or_absent(i)) return fallback;
  const Value& v = *values_[i];
  if (v.is(Kind::undefined)) fail_undefined(v);
  if (!v.is_whole())
    fail(fmt::format("{}(): {} must be an integer, not {}", function_, names_[i], v.type_name()));
  return v.whole();
}

const std::string& Bound::text(size_t i) const {
  const Value& v = *values_[i];
  if (v.is(Kind::undefined)) fail_undefined(v);
  if (!v.is(Kind::text))
    fail(fmt::format("{}(): {} must be a string, not {}", function_, names_[i], v.type_name()));
  return v.utf8();
}

namespace {

Value text_of(std::string s) { return Value::text(std::move(s)); }
void no_arguments(std::string_view function, CallArguments& a) { Bound(function, a, {}); }

// str methods that jinja2's filters call on str(value).
template <std::string (*convert)(std::string_view)>
Value converted(const Value& v, CallArguments& a) {
  no_arguments("filter", a);
  return text_of(convert(to_text(v)));
}

// jinja2's title: words begin behind white space and any of -({[<; `It's` stays one word.
std::string titled(std::string_view s) {
  std::string out;
  bool begins = true;
  const auto is_between = [](std::string_view c) {
    return is_space(tokenizer::decode_utf8(c.data()).value) ||
           (c.size() == 1 && std::string_view("-({[<").find(c[0]) != std::string_view::npos);
  };
  std::string word;
  const auto flush = [&] {
    if (word.empty()) return;
    const auto first = static_cast<size_t>(tokenizer::decode_utf8(word.data()).bytes);
    out += upper(std::string_view(word).substr(0, first)) + lower(std::string_view(word).substr(first));
    word.clear();
  };
  for (const std::string_view c : characters(s)) {
    begins = is_between(c);
    if (begins) flush(), out += c;
    if (!begins) word += c;
  }
  flush();
  return out;
}

Value trim_filter(const Value& v, CallArguments& a) {
  const Bound b("trim", a, {"chars"});
  const std::string s = to_text(v);
  const bool markup = v.is(Kind::text) && v.as_text().markup;
  return Value::text(std::string(b.none_or_absent(0) ? strip(s) : strip(s, b.text(0), true, true)), markup);
}

Value replace_filter(const Value& v, CallArguments& a) {
  const Bound b("replace", a, {"old", "new", "count"}, 2);
  return text_of(replace(to_text(v), to_text(b[0]), to_text(b[1]), b.whole(2, -1)));
}

Value string_filter(const Value& v, CallArguments& a) {
  no_arguments("string", a);
  return v.is(Kind::text) ? v : text_of(to_text(v));
}

Value safe_filter(const Value& v, CallArguments& a) {
  no_arguments("safe", a);
  return Value::text(to_text(v), true);
}

Value escape_filter(const Value& v, CallArguments& a) {
  no_arguments("escape", a);
  if (v.is(Kind::text) && v.as_text().markup) return v;
  return Value::text(escape_html(to_text(v)), true);
}

Value forceescape_filter(const Value& v, CallArguments& a) {
  no_arguments("forceescape", a);
  return Value::text(escape_html(to_text(v)), true);
}

Value default_filter(const Value& v, CallArguments& a) {
  const Bound b("default", a, {"default_value", "boolean"});
  const bool replaced = v.is(Kind::undefined) || (b.truth(1) && !v.truth());
  return replaced ? b.has(0) ? b[0] : text_of("") : v;
}

Value int_filter(const Value& v, CallArguments& a) {
  const Bound b("int", a, {"default", "base"});
  const Value fallback = b.value_or(0, Value(0));
  if (v.is(Kind::undefined)) fail_undefined(v);
  if (v.is_whole()) return v.whole();
  if (v.is(Kind::number)) return std::isfinite(v.number()) ? to_integer(v.number()) : fallback;
  if (!v.is(Kind::text)) return fallback;
  const int64_t base = b.whole(1, 10);
  if (base != 0 && (base < 2 || base > 36)) fail("int() base must be >= 2 and <= 36, or 0");
  if (const auto n = parse_integer(v.utf8(), static_cast<int>(base))) return *n;
  const auto d = parse_number(v.utf8());
  return d && std::isfinite(*d) ? to_integer(*d) : fallback;
}

Value float_filter(const Value& v, CallArguments& a) {
  const Bound b("float", a, {"default"});
  if (v.is(Kind::undefined)) fail_undefined(v);
  if (v.is_number()) return v.number();
  const auto d = v.is(Kind::text) ? parse_number(v.utf8()) : std::nullopt;
  return d ? Value(*d) : b.value_or(0, Value(0.0));
}

Value abs_filter(const Value& v, CallArguments& a) {
  no_arguments("abs", a);
  if (v.is(Kind::undefined)) fail_undefined(v);
  if (!v.is_number()) fail(fmt::format("bad operand type for abs(): '{}'", v.type_name()));
  if (v.is(Kind::number)) return std::fabs(v.number());
  return v.whole() < 0 ? negative(v, "-") : Value(v.whole());
}

// Python's round(): halves to even, exact in decimal.
double rounded(double d, int64_t digits) {
  if (!std::isfinite(d) || digits > 300) return d;
  if (digits >= 0) {
    CallArguments none;
    return *parse_number(format_one(Value(d), fmt::format(".{}f", digits)));
  }
  if (digits < -308) return 0;
  const double unit = std::pow(10.0, static_cast<double>(-digits));
  return std::nearbyint(d / unit) * unit;
}

Value round_filter(const Value& v, CallArguments& a) {
  const Bound b("round", a, {"precision", "method"});
  const std::string how = b.has(1) ? b.text(1) : "common";
  const int64_t precision = b.whole(0, 0);
  if (v.is(Kind::undefined)) fail_undefined(v);
  if (!v.is_number()) fail(fmt::format("type {} doesn't define __round__ method", v.type_name()));
  if (how == "common")
    return v.is_whole() && precision >= 0 ? Value(v.whole())
           : v.is_whole()                 ? to_integer(rounded(v.number(), precision))
                                          : Value(rounded(v.number(), precision));
  if (how != "ceil" && how != "floor") fail("method must be common, ceil or floor");
  const double scale = std::pow(10.0, static_cast<double>(std::clamp<int64_t>(precision, -300, 300)));
  return (how == "ceil" ? std::ceil(v.number() * scale) : std::floor(v.number() * scale)) / scale;
}

Value indent_filter(const Value& v, CallArguments& a) {
  const Bound b("indent", a, {"width", "first", "blank"});
  if (!v.is(Kind::text)) arithmetic("+", v, text_of("\n"));  // throws as jinja2 does
  const std::string by = b.has(0) && b[0].is(Kind::text) ? b[0].utf8() : repeat(" ", b.whole(0, 4));
  const std::string text = v.utf8() + "\n";
  std::string out;
  size_t number = 0;
  for (const std::string_view line : split_lines(text, false)) {
    if (number > 0) append(out, "\n");
    const bool indented = number == 0 ? b.truth(1) : b.truth(2) || !line.empty();
    if (indented) append(out, by);
    append(out, line);
    ++number;
  }
  return text_of(std::move(out));
}

Value truncate_filter(const Value& v, CallArguments& a) {
  const Bound b("truncate", a, {"length", "killwords", "end", "leeway"});
  const std::string end = b.has(2) ? b.text(2) : "...";
  const int64_t most = b.whole(0, 255), leeway = b.whole(3, 5), end_length = length_of(end);
  if (most < end_length || leeway < 0) fail(fmt::format("expected length >= {}, got {}", end_length, most));
  if (!v.is(Kind::text)) fail(fmt::format("object of type '{}' has no len()", v.type_name()));
  if (v.as_text().length <= most + leeway) return v;
  const std::string_view kept =
      std::string_view(v.utf8()).substr(0, byte_offset(v.as_text(), most - end_length));
  return text_of(std::string(b.truth(1) ? kept : split_at(kept, " ", 1, true)[0]) + end);
}

Value center_filter(const Value& v, CallArguments& a) {
  const Bound b("center", a, {"width"});
  CallArguments width;
  width.positional.push_back(b.value_or(0, Value(80)));
  return method(text_of(to_text(v)), "center")->object_as<Callable>()->call(width);
}

Value wordcount_filter(const Value& v, CallArguments& a) {
  no_arguments("wordcount", a);
  int64_t words = 0;
  bool inside = false;
  const std::string text = to_text(v);
  for (const std::string_view c : characters(text)) {
    const bool word = c == "_" || passes(c, TextTest::alnum);
    words += word && !inside;
    inside = word;
  }
  return words;
}

Value format_filter(const Value& v, CallArguments& a) {
  if (!a.positional.empty() && !a.named.empty())
    fail("can't handle positional and keyword arguments at the same time");
  if (a.named.empty()) return text_of(format_percent(to_text(v), Value::tuple(a.positional)));
  Dict named;
  for (const auto& [name, value] : a.named) named.set(text_of(name), value);
  return text_of(format_percent(to_text(v), Value::dict(std::move(named))));
}

Value length_filter(const Value& v, CallArguments& a) {
  no_arguments("length", a);
  return length(v);
}

Value tojson_filter(const Value& v, CallArguments& a) { return text_of(to_json(v, a)); }

Value attr_filter(const Value& v, CallArguments& a) {
  const Bound b("attr", a, {"name"}, 1);
  const std::string& name = b.text(0);
  const bool has =
      v.is(Kind::object) ? v.as_object()->attribute(name).has_value() : method(v, name).has_value();
  if (has || v.is(Kind::undefined)) return attribute(v, name);
  return Value::undefined(fmt::format("'{} object' has no attribute {}", v.type_name(), repr_of(name)));
}

Value filesizeformat_filter(const Value& v, CallArguments& a) {
  const Bound b("filesizeformat", a, {"binary"});
  CallArguments none;
  const double bytes = float_filter(v, none).number(), base = b.truth(0) ? 1024 : 1000;
  const char* const* names = nullptr;
  static constexpr const char* kBinary[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"};
  static constexpr const char* kDecimal[] = {"kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"};
  names = b.truth(0) ? kBinary : kDecimal;
  if (bytes == 1) return text_of("1 Byte");
  if (bytes < base) return text_of(fmt::format("{} Bytes", static_cast<int64_t>(bytes)));
  double unit = base;
  int i = 0;
  while (i < 7 && bytes >= unit * base) unit *= base, ++i;
  return text_of(fmt::format("{:.1f} {}", bytes / unit, names[i]));
}

Value urlencode_filter(const Value& v, CallArguments& a) {
  no_arguments("urlencode", a);
  const auto encode = [](const Value& part, bool query) {
    std::string out;
    for (const char c : to_text(part)) {
      const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                         std::string_view("_.-~").find(c) != std::string_view::npos || (c == '/' && !query);
      append(out, plain               ? std::string(1, c)
                  : query && c == ' ' ? "+"
                                      : fmt::format("%{:02X}", static_cast<unsigned char>(c)));
    }
    return out;
  };
  if (v.is(Kind::text) || !is_iterable(v)) return text_of(encode(v, false));
  std::vector<Value> pairs;
  if (v.is(Kind::dict))
    for (const auto& [key, value] : v.as_dict().items()) pairs.push_back(Value::tuple({key, value}));
  else
    pairs = elements(v);
  std::string out;
  for (const Value& pair : pairs) {
    const std::vector<Value> two = elements(pair);
    if (two.size() != 2) fail("urlencode needs pairs");
    append(out, fmt::format("{}{}={}", out.empty() ? "" : "&", encode(two[0], true), encode(two[1], true)));
  }
  return text_of(std::move(out));
}

const std::map<std::string_view, Filter>& single_filters() {
  static const std::map<std::string_view, Filter> filters = {{"abs", abs_filter},
                                                             {"attr", attr_filter},
                                                             {"capitalize", converted<capitalize>},
                                                             {"center", center_filter},
                                                             {"count", length_filter},
                                                             {"d", default_filter},
                                                             {"default", default_filter},
                                                             {"e", escape_filter},
                                                             {"escape", escape_filter},
                                                             {"filesizeformat", filesizeformat_filter},
                                                             {"float", float_filter},
                                                             {"forceescape", forceescape_filter},
                                                             {"format", format_filter},
                                                             {"indent", indent_filter},
                                                             {"int", int_filter},
                                                             {"length", length_filter},
                                                             {"lower", converted<lower>},
                                                             {"replace", replace_filter},
                                                             {"round", round_filter},
                                                             {"safe", safe_filter},
                                                             {"string", string_filter},
                                                             {"title", converted<titled>},
                                                             {"tojson", tojson_filter},
                                                             {"trim", trim_filter},
                                                             {"truncate", truncate_filter},
                                                             {"upper", converted<upper>},
                                                             {"urlencode", urlencode_filter},
                                                             {"wordcount", wordcount_filter}};
  return filters;
}

}  // namespace

Filter find_filter(std::string_view name) {
  const auto found = single_filters().find(name);
  return found != single_filters().end() ? found->second : find_sequence_filter(name);
}

}  // namespace octavo::chat
