// JSON in and out: messages and tools as Python's json.loads reads them (keys keep their order), and the filter tojson as
// transformers defines it: json.dumps(ensure_ascii=False), without jinja2's HTML escapes.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "formats/json_sax.h"
#include "tokenizer/chat_template_builtins.h"
#include "tokenizer/utf8.h"

namespace octavo::chat {

using Kind = Value::Kind;

namespace {

constexpr int64_t kWidestIndent = 64;

class Writer {
 public:
  Writer(std::string item_separator, std::string key_separator, bool ascii, bool sorted,
         std::optional<std::string> indent)
      : item_separator_(std::move(item_separator)),
        key_separator_(std::move(key_separator)),
        ascii_(ascii),
        sorted_(sorted),
        indent_(std::move(indent)) {}

  std::string take() { return std::move(out_); }

  void write(const Value& v) {
    Budget::step();
    switch (v.kind()) {
      case Kind::text: return write_text(v.utf8());
      case Kind::list:
      case Kind::tuple: return write_list(v.items());
      case Kind::dict: return write_dict(v.as_dict());
      case Kind::none:
      case Kind::boolean:
      case Kind::integer:
      case Kind::number: return append(out_, scalar(v));
      default: fail(fmt::format("Object of type {} is not JSON serializable", v.type_name()));
    }
  }

 private:
  static std::string scalar(const Value& v) {
    if (v.is(Kind::none)) return "null";
    if (v.is(Kind::boolean)) return v.boolean() ? "true" : "false";
    if (v.is(Kind::integer)) return std::to_string(v.whole());
    if (std::isnan(v.number())) return "NaN";
    if (std::isinf(v.number())) return v.number() < 0 ? "-Infinity" : "Infinity";
    return number_text(v.number());
  }

  void new_line() {
    if (!indent_) return;
    append(out_, "\n");
    for (int i = 0; i < depth_; ++i) append(out_, *indent_);
  }

  template <class Items, class Write>
  void write_all(const Items& items, char open, char close, Write&& write_one) {
    out_ += open;
    if (!items.empty()) {
      ++depth_;
      bool first = true;
      for (const auto& i : items) {
        if (!std::exchange(first, false)) append(out_, item_separator_);
        new_line();
        write_one(i);
      }
      --depth_;
      new_line();
    }
    out_ += close;
  }

  void write_list(const std::vector<Value>& items) {
    write_all(items, '[', ']', [this](const Value& v) { write(v); });
  }

  void write_dict(const Dict& dict) {
    std::vector<const std::pair<Value, Value>*> items;
    for (const auto& i : dict.items()) items.push_back(&i);
    if (sorted_)
      std::stable_sort(items.begin(), items.end(), [](auto* a, auto* b) { return less(a->first, b->first); });
    write_all(items, '{', '}', [this](const std::pair<Value, Value>* i) {
      const Value& key = i->first;
      if (key.is(Kind::text))
        write_text(key.utf8());
      else if (key.is_number() || key.is(Kind::none))
        write_text(scalar(key));
      else
        fail(fmt::format("keys must be str, int, float, bool or None, not {}", key.type_name()));
      append(out_, key_separator_);
      write(i->second);
    });
  }

  void write_text(const std::string& s) {
    std::string escaped = "\"";
    Budget::step(1 + static_cast<int64_t>(s.size()) / 64);
    for (size_t at = 0; at < s.size();) {
      const auto c = tokenizer::decode_utf8(s.data() + at);
      if (c.value >= 0x80 && ascii_)
        append_ascii(escaped, c.value);
      else if (c.value >= 0x80)
        escaped.append(s, at, static_cast<size_t>(c.bytes));
      else
        append_escaped(escaped, static_cast<char>(c.value));
      at += static_cast<size_t>(c.bytes);
    }
    append(out_, escaped + "\"");
  }
  static void append_escaped(std::string& out, char c) {
    constexpr std::string_view kShort = "\"\\\b\f\n\r\t", kLetters = "\"\\bfnrt";
    if (const size_t k = kShort.find(c); k != kShort.npos)
      out += '\\', out += kLetters[k];
    else if (static_cast<unsigned char>(c) < 0x20)
      out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    else
      out += c;
  }
  static void append_ascii(std::string& out, char32_t c) {
    const auto value = static_cast<uint32_t>(c);
    if (value < 0x10000)
      out += fmt::format("\\u{:04x}", value);
    else
      out += fmt::format("\\u{:04x}\\u{:04x}", 0xd800 + ((value - 0x10000) >> 10), 0xdc00 + (value & 0x3ff));
  }

  std::string item_separator_, key_separator_;
  bool ascii_, sorted_;
  std::optional<std::string> indent_;
  std::string out_;
  int depth_ = 0;
};

// Builds values without recursion; of equal keys the last counts, as in Python.
class Builder : public json_sax::Handler {
 public:
  Builder(std::string_view text, const std::string& name) : Handler(text, name) {}
  Value take() { return std::move(root_); }

  bool null() { return add(Value::none()); }
  bool boolean(bool v) { return add(v); }
  bool number_integer(int64_t v) { return add(v); }
  bool number_unsigned(uint64_t v) {
    if (v > static_cast<uint64_t>(INT64_MAX)) fail("an integer does not fit 64 bits");
    return add(static_cast<int64_t>(v));
  }
  bool number_float(double v, const std::string&) { return add(v); }
  bool string(std::string& v) { return add(Value::text(std::move(v))); }
  bool key(std::string& k) {
    open_.back().key = std::move(k);
    return true;
  }
  bool start_object(size_t) { return open(true); }
  bool start_array(size_t) { return open(false); }
  bool end_object() { return close(); }
  bool end_array() { return close(); }

 private:
  struct Level {
    bool is_dict;
    std::string key;
    Dict dict;
    std::vector<Value> items;
  };
  bool open(bool is_dict) {
    if (static_cast<int>(open_.size()) >= kDeepestValue - 8)
      fail(fmt::format("nested deeper than {} levels", kDeepestValue - 8));
    open_.push_back({is_dict, {}, {}, {}});
    return true;
  }
  bool close() {
    Level level = std::move(open_.back());
    open_.pop_back();
    return add(level.is_dict ? Value::dict(std::move(level.dict)) : Value::list(std::move(level.items)));
  }
  bool add(Value v) {
    if (open_.empty())
      root_ = std::move(v);
    else if (open_.back().is_dict)
      open_.back().dict.set(Value::text(open_.back().key), std::move(v));
    else
      open_.back().items.push_back(std::move(v));
    return true;
  }

  Value root_;
  std::vector<Level> open_;
};

}  // namespace

std::string to_json(const Value& v, CallArguments& options) {
  const Bound o("tojson", options, {"ensure_ascii", "indent", "separators", "sort_keys"});
  std::optional<std::string> indent;
  if (!o.none_or_absent(1)) {
    if (!o[1].is(Kind::text) && o.whole(1) > kWidestIndent)
      fail_limit(fmt::format("an indent of more than {}", kWidestIndent));
    indent = o[1].is(Kind::text) ? o[1].utf8()
                                 : std::string(static_cast<size_t>(std::max<int64_t>(o.whole(1), 0)), ' ');
  }
  std::string item_separator = indent ? "," : ", ", key_separator = ": ";
  if (!o.none_or_absent(2)) {
    const std::vector<Value> pair = elements(o[2]);
    if (pair.size() != 2 || !pair[0].is(Kind::text) || !pair[1].is(Kind::text))
      fail("separators must be two strings");
    item_separator = pair[0].utf8(), key_separator = pair[1].utf8();
  }
  Writer writer(item_separator, key_separator, o.truth(0), o.truth(3), indent);
  writer.write(v);
  return writer.take();
}

Value from_json(std::string_view json, const std::string& name) {
  try {
    Builder builder(json, name);
    json_sax::parse(builder);
    return builder.take();
  } catch (const Error& e) {
    throw Error(ErrorKind::usage, e.what());
  }
}

}  // namespace octavo::chat
