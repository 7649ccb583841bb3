// Values of chat templates: what Python objects are in jinja2, with Python's rules for truth, equality, order and
// printing. Containers are immutable (as in jinja2's immutable sandbox), so only namespaces can form cycles.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "tokenizer/chat_template_budget.h"

namespace octavo::chat {

// Containers hold containers at most this deep: printing, comparing and freeing them recurses.
inline constexpr int kDeepestValue = 64;

class Value;
class Dict;
struct Object;
struct Sequence;

struct Text {
  std::string utf8;
  int64_t length = 0;   // code points
  bool markup = false;  // made by |safe or |escape: `+` escapes what it is joined with
  bool ascii() const { return length == static_cast<int64_t>(utf8.size()); }
};

class Value {
 public:
  enum class Kind : uint8_t {
    undefined,
    none,
    boolean,
    integer,
    number,
    text,
    list,
    tuple,
    range,
    view,  // of a dict: keys(), values(), items()
    dict,
    object
  };

  Value() = default;  // undefined, without a message
  Value(bool b) : kind_(Kind::boolean), data_(b) {}
  Value(int64_t i) : kind_(Kind::integer), data_(i) {}
  Value(double d) : kind_(Kind::number), data_(d) {}
  Value(int i) : Value(int64_t{i}) {}
  Value(const char*) = delete;  // NOTE: would silently become a bool
  static Value none();
  static Value undefined(std::string message);  // what an operation on it reports
  static Value text(std::string utf8, bool markup = false);
  static Value sequence(Kind kind, std::vector<Value> items, std::string label = {});
  static Value list(std::vector<Value> items) { return sequence(Kind::list, std::move(items)); }
  static Value tuple(std::vector<Value> items) { return sequence(Kind::tuple, std::move(items)); }
  static Value dict(Dict dict);
  static Value object(std::shared_ptr<Object> object);

  Kind kind() const { return kind_; }
  bool is(Kind kind) const { return kind_ == kind; }
  bool is_sequence() const { return kind_ >= Kind::list && kind_ <= Kind::view; }
  bool is_number() const { return kind_ >= Kind::boolean && kind_ <= Kind::number; }
  bool is_whole() const { return kind_ == Kind::boolean || kind_ == Kind::integer; }

  // Only for the kind that each names.
  bool boolean() const { return std::get<bool>(data_); }
  int64_t whole() const { return is(Kind::boolean) ? boolean() : std::get<int64_t>(data_); }
  double number() const { return is(Kind::number) ? std::get<double>(data_) : static_cast<double>(whole()); }
  const Text& as_text() const { return *std::get<std::shared_ptr<const Text>>(data_); }
  const std::string& utf8() const { return as_text().utf8; }
  const std::vector<Value>& items() const;
  const Sequence& as_sequence() const { return *std::get<std::shared_ptr<const Sequence>>(data_); }
  const Dict& as_dict() const { return *std::get<std::shared_ptr<const Dict>>(data_); }
  const std::shared_ptr<Object>& as_object() const { return std::get<std::shared_ptr<Object>>(data_); }
  template <class T>
  T* object_as() const {
    return is(Kind::object) ? dynamic_cast<T*>(as_object().get()) : nullptr;
  }
  const std::string& message() const;  // of undefined

  const void* identity() const;  // equal for the same object; null for values without one
  int depth() const;             // 0 for scalars
  bool truth() const;
  std::string type_name() const;  // as Python's type(x).__name__

 private:
  Kind kind_ = Kind::undefined;
  std::variant<std::monostate, bool, int64_t, double, std::shared_ptr<const Text>,
               std::shared_ptr<const Sequence>, std::shared_ptr<const Dict>, std::shared_ptr<Object>>
      data_;
};

struct Sequence {
  std::vector<Value> items;
  std::string label;  // ranges and views: how they are printed
  int depth = 1;
};

struct ValueHash {
  size_t operator()(const Value& v) const;  // throws for values that Python cannot hash
};
struct ValueEqual {
  bool operator()(const Value& a, const Value& b) const;
};

// Keeps the order of insertion, as Python's dict.
class Dict {
 public:
  const Value* find(const Value& key) const;
  const Value* find(std::string_view key) const;
  void set(Value key, Value value);
  const std::vector<std::pair<Value, Value>>& items() const { return items_; }
  size_t size() const { return items_.size(); }
  int depth() const { return depth_; }

 private:
  static constexpr size_t kNowhere = static_cast<size_t>(-1);
  size_t place_of(const Value& key) const;

  std::vector<std::pair<Value, Value>> items_;
  std::unordered_map<Value, size_t, ValueHash, ValueEqual> places_;  // empty while the dict is small
  int depth_ = 1;
};

inline const std::vector<Value>& Value::items() const { return as_sequence().items; }

// What has identity and may change: namespaces, iterators, macros, bound methods, loops.
struct Object {
  virtual ~Object() = default;
  virtual std::string type_name() const = 0;
  virtual std::optional<Value> attribute(const std::string&) { return std::nullopt; }
  int depth = 1;
};

struct Namespace : Object {
  std::string type_name() const override { return "Namespace"; }
  std::optional<Value> attribute(const std::string& name) override {
    const Value* value = attributes.find(name);
    return value ? std::optional(*value) : std::nullopt;
  }
  Dict attributes;
};

// Python's lazy iterators: map, select, ... give one; it can be walked once.
struct Iterator : Object {
  std::string type_name() const override { return "generator"; }
  std::function<bool(Value&)> next;  // false at the end
};

// The evaluated arguments of a call.
struct CallArguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};

struct Callable : Object {
  virtual Value call(CallArguments arguments) = 0;
};

// A function or bound method of the language itself.
struct Native : Callable {
  Native(std::string function_name, std::function<Value(CallArguments&)> function_body)
      : name(std::move(function_name)), body(std::move(function_body)) {}
  std::string type_name() const override { return "builtin_function_or_method"; }
  Value call(CallArguments arguments) override { return body(arguments); }
  std::string name;
  std::function<Value(CallArguments&)> body;
};

std::string to_text(const Value& v);  // Python's str(), as {{ }} prints
std::string repr(const Value& v);
std::string repr_of(std::string_view utf8);  // Python's repr of a string; not "quoted", which std has too
std::string number_text(double d);           // the shortest decimal that reads back, as Python's repr
bool equal(const Value& a, const Value& b);
// -1, 0, 1; throws for types that Python cannot order, `op` is in the message.
int order(const Value& a, const Value& b, const char* op);
bool less(const Value& a, const Value& b);  // as Python's <; false where a NaN takes part
[[noreturn]] void fail_undefined(const Value& v);

}  // namespace octavo::chat
