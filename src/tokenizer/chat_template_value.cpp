#include "tokenizer/chat_template_value.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "tokenizer/unicode.h"
#include "tokenizer/utf8.h"

namespace octavo::chat {

using tokenizer::CodePoint;
using tokenizer::decode_utf8;
using Kind = Value::Kind;

namespace {

constexpr size_t kSearchedInOrder = 8;  // dicts up to this size have no index
constexpr int64_t kObjectBytes = 256;   // a namespace, macro or iterator, roughly

void check_depth(int depth) {
  if (depth > kDeepestValue)
    fail_limit(fmt::format("values are nested deeper than {} levels", kDeepestValue));
}

int64_t count_code_points(std::string_view utf8) {
  int64_t n = 0;
  for (const char c : utf8) n += (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  return n;
}

bool printable(char32_t c) {
  using tokenizer::Category, tokenizer::set_of;
  static constexpr tokenizer::CategorySet kHidden =
      set_of(Category::Cc) | set_of(Category::Cf) | set_of(Category::Cs) | set_of(Category::Co) |
      set_of(Category::Cn) | set_of(Category::Zl) | set_of(Category::Zp) | set_of(Category::Zs);
  return c == ' ' || !tokenizer::in_categories(c, kHidden);
}

void append_repr(std::string& out, const Value& v);

void append_items(std::string& out, const std::vector<Value>& items) {
  for (size_t i = 0; i < items.size(); ++i) {
    append(out, i ? ", " : "");
    append_repr(out, items[i]);
  }
}

void append_dict(std::string& out, const Dict& dict) {
  const char* between = "{";
  for (const auto& [key, value] : dict.items()) {
    append(out, between);
    append_repr(out, key);
    append(out, ": ");
    append_repr(out, value);
    between = ", ";
  }
  append(out, dict.size() ? "}" : "{}");
}

void append_repr(std::string& out, const Value& v) {
  const Budget::Level level;  // NOTE: containers end at kDeepestValue levels, but a namespace may hold itself
  Budget::step();
  switch (v.kind()) {
    case Kind::undefined: return append(out, "Undefined");
    case Kind::none: return append(out, "None");
    case Kind::boolean: return append(out, v.boolean() ? "True" : "False");
    case Kind::integer: return append(out, std::to_string(v.whole()));
    case Kind::number: return append(out, number_text(v.number()));
    case Kind::text:
      return append(out,
                    v.as_text().markup ? fmt::format("Markup({})", repr_of(v.utf8())) : repr_of(v.utf8()));
    case Kind::list: append(out, "["), append_items(out, v.items()), append(out, "]"); return;
    case Kind::tuple:
      append(out, "("), append_items(out, v.items()), append(out, v.items().size() == 1 ? ",)" : ")");
      return;
    case Kind::range: return append(out, v.as_sequence().label);
    case Kind::view:
      append(out, v.as_sequence().label + "(["), append_items(out, v.items()), append(out, "])");
      return;
    case Kind::dict: return append_dict(out, v.as_dict());
    default:
      if (const auto* space = v.object_as<Namespace>())
        append(out, "<Namespace "), append_dict(out, space->attributes), append(out, ">");
      else
        append(out, fmt::format("<{} object>", v.type_name()));
  }
}

bool equal_dicts(const Dict& a, const Dict& b) {
  if (a.size() != b.size()) return false;
  return std::all_of(a.items().begin(), a.items().end(), [&](const auto& item) {
    const Value* other = b.find(item.first);
    return other && equal(item.second, *other);
  });
}

template <class T>
int sign_of(const T& a, const T& b) {
  return a < b ? -1 : b < a ? 1 : 0;
}

}  // namespace

void fail_undefined(const Value& v) { fail(v.message()); }

// ---- dict

size_t ValueHash::operator()(const Value& v) const {
  Budget::step();
  switch (v.kind()) {
    case Kind::text: return std::hash<std::string>()(v.utf8());
    case Kind::boolean:
    case Kind::integer:
    case Kind::number: return std::hash<double>()(v.number());  // 1, 1.0 and true are one key
    case Kind::tuple: {
      size_t h = 7;
      for (const Value& item : v.items()) h = h * 1000003 ^ (*this)(item);
      return h;
    }
    case Kind::list:
    case Kind::dict: fail(fmt::format("unhashable type: '{}'", v.type_name()));
    default: return std::hash<const void*>()(v.identity());
  }
}

bool ValueEqual::operator()(const Value& a, const Value& b) const { return equal(a, b); }

size_t Dict::place_of(const Value& key) const {
  const size_t hash = ValueHash()(key);
  if (!places_.empty()) {
    const auto found = places_.find(key);
    return found == places_.end() ? kNowhere : found->second;
  }
  for (size_t i = 0; i < items_.size(); ++i)
    if (ValueHash()(items_[i].first) == hash && equal(items_[i].first, key)) return i;
  return kNowhere;
}

const Value* Dict::find(const Value& key) const {
  const size_t place = place_of(key);
  return place == kNowhere ? nullptr : &items_[place].second;
}

const Value* Dict::find(std::string_view key) const {
  if (!places_.empty()) return find(Value::text(std::string(key)));
  for (const auto& [k, value] : items_)
    if (k.is(Kind::text) && k.utf8() == key) return &value;
  return nullptr;
}

void Dict::set(Value key, Value value) {
  const int depth = 1 + std::max(value.depth(), key.depth());
  check_depth(depth);
  depth_ = std::max(depth_, depth);
  const size_t place = place_of(key);
  if (place != kNowhere) {
    items_[place].second = std::move(value);
    return;
  }
  Budget::bytes(2 * sizeof(Value));
  items_.emplace_back(std::move(key), std::move(value));
  if (items_.size() <= kSearchedInOrder) return;
  for (size_t i = places_.size(); i < items_.size(); ++i) places_.emplace(items_[i].first, i);
}

// ---- values

Value Value::none() {
  Value v;
  v.kind_ = Kind::none;
  return v;
}

Value Value::undefined(std::string message) {
  Value v = text(std::move(message));
  v.kind_ = Kind::undefined;
  return v;
}

Value Value::text(std::string utf8, bool markup) {
  Value v;
  v.kind_ = Kind::text;
  Budget::bytes(static_cast<int64_t>(utf8.size() + sizeof(Text)));
  const int64_t length = count_code_points(utf8);
  v.data_ = std::make_shared<const Text>(Text{std::move(utf8), length, markup});
  return v;
}

Value Value::sequence(Kind kind, std::vector<Value> items, std::string label) {
  int depth = 0;
  for (const Value& item : items) depth = std::max(depth, item.depth());
  check_depth(depth + 1);
  Budget::bytes(static_cast<int64_t>(items.size() * sizeof(Value) + sizeof(Sequence)));
  Value v;
  v.kind_ = kind;
  v.data_ = std::make_shared<const Sequence>(Sequence{std::move(items), std::move(label), depth + 1});
  return v;
}

Value Value::dict(Dict dict) {
  Value v;
  v.kind_ = Kind::dict;
  v.data_ = std::make_shared<const Dict>(std::move(dict));
  return v;
}

Value Value::object(std::shared_ptr<Object> object) {
  check_depth(object->depth);
  Budget::bytes(kObjectBytes);
  Value v;
  v.kind_ = Kind::object;
  v.data_ = std::move(object);
  return v;
}

const std::string& Value::message() const {
  static const std::string unknown = "the value is undefined";
  const auto* text = std::get_if<std::shared_ptr<const Text>>(&data_);
  return text ? (*text)->utf8 : unknown;
}

const void* Value::identity() const {
  switch (kind_) {
    case Kind::text: return &as_text();
    case Kind::list:
    case Kind::tuple:
    case Kind::range:
    case Kind::view: return &as_sequence();
    case Kind::dict: return &as_dict();
    case Kind::object: return as_object().get();
    default: return nullptr;
  }
}

int Value::depth() const {
  if (is_sequence()) return as_sequence().depth;
  if (is(Kind::dict)) return as_dict().depth();
  return is(Kind::object) ? as_object()->depth : 0;
}

bool Value::truth() const {
  switch (kind_) {
    case Kind::undefined:
    case Kind::none: return false;
    case Kind::boolean: return boolean();
    case Kind::integer: return whole() != 0;
    case Kind::number: return number() != 0;
    case Kind::text: return as_text().length > 0;
    case Kind::dict: return as_dict().size() > 0;
    case Kind::object: return true;
    default: return !items().empty();
  }
}

std::string Value::type_name() const {
  switch (kind_) {
    case Kind::undefined: return "Undefined";
    case Kind::none: return "NoneType";
    case Kind::boolean: return "bool";
    case Kind::integer: return "int";
    case Kind::number: return "float";
    case Kind::text: return as_text().markup ? "Markup" : "str";
    case Kind::list: return "list";
    case Kind::tuple: return "tuple";
    case Kind::range: return "range";
    case Kind::view: return as_sequence().label;
    case Kind::dict: return "dict";
    default: return as_object()->type_name();
  }
}

// ---- printing

std::string number_text(double d) {
  if (std::isnan(d)) return "nan";
  if (std::isinf(d)) return d < 0 ? "-inf" : "inf";
  char buffer[32];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, d, std::chars_format::scientific).ptr;
  const std::string_view shortest(buffer, static_cast<size_t>(end - buffer));  // "-1.25e+02"
  const size_t e = shortest.find('e');
  const int exponent = std::stoi(std::string(shortest.substr(e + 1)));
  if (exponent < -4 || exponent >= 16)
    return fmt::format("{}e{}{:02}", shortest.substr(0, e), exponent < 0 ? '-' : '+', std::abs(exponent));
  char plain[400];
  const auto stop = std::to_chars(plain, plain + sizeof plain, d, std::chars_format::fixed).ptr;
  std::string text(plain, stop);
  return text.find('.') == std::string::npos ? text + ".0" : text;
}

std::string repr_of(std::string_view utf8) {
  const bool single = utf8.find('\'') == utf8.npos || utf8.find('"') != utf8.npos;
  const char quote = single ? '\'' : '"';
  std::string out(1, quote);
  for (size_t at = 0; at < utf8.size();) {
    const CodePoint c = decode_utf8(utf8.data() + at);
    if (c.value == static_cast<char32_t>(quote) || c.value == '\\')
      out += '\\', out += static_cast<char>(c.value);
    else if (c.value == '\n')
      out += "\\n";
    else if (c.value == '\r')
      out += "\\r";
    else if (c.value == '\t')
      out += "\\t";
    else if (printable(c.value))
      out += utf8.substr(at, static_cast<size_t>(c.bytes));
    else if (c.value < 0x100)
      out += fmt::format("\\x{:02x}", static_cast<uint32_t>(c.value));
    else if (c.value < 0x10000)
      out += fmt::format("\\u{:04x}", static_cast<uint32_t>(c.value));
    else
      out += fmt::format("\\U{:08x}", static_cast<uint32_t>(c.value));
    at += static_cast<size_t>(c.bytes);
  }
  return out + quote;
}

std::string to_text(const Value& v) {
  if (v.is(Kind::undefined)) return "";
  return v.is(Kind::text) ? v.utf8() : repr(v);
}

std::string repr(const Value& v) {
  std::string out;
  append_repr(out, v);
  return out;
}

// ---- comparing

bool equal(const Value& a, const Value& b) {
  Budget::step();
  if (a.is_number() && b.is_number())
    return a.is_whole() && b.is_whole() ? a.whole() == b.whole() : a.number() == b.number();
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case Kind::undefined:
    case Kind::none: return true;
    case Kind::text: return a.identity() == b.identity() || a.utf8() == b.utf8();
    case Kind::dict: return a.identity() == b.identity() || equal_dicts(a.as_dict(), b.as_dict());
    case Kind::object: return a.identity() == b.identity();
    default:
      return a.identity() == b.identity() ||
             std::equal(a.items().begin(), a.items().end(), b.items().begin(), b.items().end(), equal);
  }
}

int order(const Value& a, const Value& b, const char* op) {
  Budget::step();
  if (a.is(Kind::undefined)) fail_undefined(a);
  if (b.is(Kind::undefined)) fail_undefined(b);
  if (a.is_number() && b.is_number())
    return a.is_whole() && b.is_whole() ? sign_of(a.whole(), b.whole()) : sign_of(a.number(), b.number());
  if (a.is(Kind::text) && b.is(Kind::text)) return sign_of(a.utf8(), b.utf8());  // UTF-8 keeps the order
  if (a.kind() == b.kind() && (a.is(Kind::list) || a.is(Kind::tuple))) {
    for (size_t i = 0; i < std::min(a.items().size(), b.items().size()); ++i)
      if (!equal(a.items()[i], b.items()[i])) return order(a.items()[i], b.items()[i], op);
    return sign_of(a.items().size(), b.items().size());
  }
  fail(
      fmt::format("'{}' not supported between instances of '{}' and '{}'", op, a.type_name(), b.type_name()));
}

bool less(const Value& a, const Value& b) { return order(a, b, "<") < 0; }

}  // namespace octavo::chat
