// What expressions of chat templates are made of, as plain functions on values: operators, attributes, filters, tests and
// methods with the names, arguments and results of jinja2 and Python. Errors: RenderError.
#pragma once
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/chat_template_value.h"

namespace octavo::chat {

// ---- arguments

// Values by parameter, in the order of `parameters`; those behind the first `required` may be absent. Throws as Python does
// for arguments that are missing, too many or unknown.
class Bound {
 public:
  Bound(std::string_view function, CallArguments& arguments, std::initializer_list<const char*> parameters,
        size_t required = 0);
  bool has(size_t i) const { return values_[i].has_value(); }
  const Value& operator[](size_t i) const { return *values_[i]; }
  Value value_or(size_t i, Value fallback) const { return has(i) ? *values_[i] : fallback; }
  bool truth(size_t i, bool fallback = false) const { return has(i) ? values_[i]->truth() : fallback; }
  int64_t whole(size_t i, int64_t fallback = 0) const;  // also the fallback for none
  const std::string& text(size_t i) const;              // throws for other types
  bool none_or_absent(size_t i) const { return !has(i) || values_[i]->is(Value::Kind::none); }

 private:
  std::string function_;
  std::vector<const char*> names_;
  std::vector<std::optional<Value>> values_;
};

// ---- walking

// The elements of a sequence, characters of a string, keys of a dict, what an iterator still has; nothing of undefined.
class Cursor {
 public:
  explicit Cursor(Value iterable);  // throws for what cannot be walked
  bool next(Value& element);
  std::optional<int64_t> length() const;  // unknown for iterators

 private:
  Value iterable_;
  size_t at_ = 0;  // element, or byte of a string
};

bool is_iterable(const Value& v);
std::vector<Value> elements(const Value& iterable);
inline constexpr char kGroupLabel[] =
    "group";  // of tuples made by groupby, whose parts are .grouper and .list
Value make_iterator(std::function<bool(Value&)> next, int depth_of_source);
int64_t length(const Value& v);  // Python's len()

// ---- operators

Value arithmetic(std::string_view op, const Value& a, const Value& b);  // + - * / // % **
Value negative(const Value& v, std::string_view op);                    // unary - and +
bool compare(std::string_view op, const Value& a, const Value& b);      // == != < <= > >= in, not in
bool contains(const Value& container, const Value& v);

// jinja2's sandboxed getattr and getitem: undefined where there is nothing, or nothing that a template may see.
Value attribute(const Value& v, const std::string& name);
Value item(const Value& v, const Value& key);
Value slice(const Value& v, const Value& start, const Value& stop, const Value& step);  // none: not given
// item() along "a.b.0"; what is undefined on the way becomes `fallback`, unless that is none.
Value item_at_path(Value v, const Value& path, const Value& fallback = Value::none());

// ---- numbers

std::optional<int64_t> parse_integer(std::string_view text, int base);  // Python's int(text, base)
std::optional<double> parse_number(std::string_view text);              // Python's float(text)
Value to_integer(double d);                                             // throws beyond 64 bits

// ---- formats

std::string format_percent(const std::string& format, const Value& arguments);         // format % arguments
std::string format_braces(const std::string& format, const CallArguments& arguments);  // str.format
std::string format_one(const Value& v, std::string_view spec);                         // format(v, spec)
std::string to_json(const Value& v, CallArguments& options);                           // transformers' tojson
Value from_json(std::string_view json,
                const std::string& name);  // throws octavo::Error(usage) with the place

// ---- names

using Filter = Value (*)(const Value& subject, CallArguments& arguments);
using Test = bool (*)(const Value& subject, CallArguments& arguments);
Filter find_filter(std::string_view name);  // null when there is none
Test find_test(std::string_view name);
Filter find_sequence_filter(std::string_view name);  // the half of the filters that works on many values
// A method of strings, dicts, lists and tuples bound to `v`; absent when the type has no such method.
std::optional<Value> method(const Value& v, const std::string& name);

}  // namespace octavo::chat
