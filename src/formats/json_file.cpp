#include "formats/json_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "formats/in_quotes.h"
#include "formats/json_sax.h"
#include "formats/regular_file.h"

namespace octavo {
namespace json_sax {

void Handler::fail(const std::string& problem) const {
  const auto read = static_cast<size_t>(position_ - text_.data());
  const std::string_view before =
      text_.substr(0, read == 0 ? 0 : read - 1);  // the place is that of the last character read
  const auto line = 1 + std::count(before.begin(), before.end(), '\n');
  const size_t line_start = before.rfind('\n') == std::string_view::npos ? 0 : before.rfind('\n') + 1;
  throw Error(ErrorKind::bad_model, fmt::format("{}: line {}, column {}: {}", name_, line,
                                                before.size() - line_start + 1, problem));
}

bool Handler::parse_error(size_t, const std::string&, const nlohmann::json::exception& e) {
  // "[json.exception.parse_error.101] parse error at line 1, column 2: syntax error ...": only what follows
  // is ours to say.
  std::string_view message = e.what();
  if (const size_t bracket = message.find("] "); bracket != message.npos) message.remove_prefix(bracket + 2);
  if (message.starts_with("parse error"))
    if (const size_t colon = message.find(": "); colon != message.npos) message.remove_prefix(colon + 2);
  const std::string shown = in_quotes(message, 200);
  fail("not valid JSON: " + shown.substr(1, shown.size() - 2));
}

}  // namespace json_sax

namespace {

using Json = nlohmann::json;

// Builds the value without recursion. nlohmann's own builder would keep the last of duplicate keys and go to
// any depth.
class ValueBuilder : public json_sax::Handler {
 public:
  ValueBuilder(std::string_view text, const std::string& name, int max_depth)
      : Handler(text, name), max_depth_(max_depth) {}
  Json take() { return std::move(root_); }

  bool null() { return add(nullptr); }
  bool boolean(bool v) { return add(v); }
  bool number_integer(int64_t v) { return add(v); }
  bool number_unsigned(uint64_t v) { return add(v); }
  bool number_float(double v, const std::string&) { return add(v); }
  bool string(std::string& v) { return add(std::move(v)); }
  bool start_object(size_t) { return open(Json::value_t::object); }
  bool start_array(size_t) { return open(Json::value_t::array); }
  bool end_object() { return close(); }
  bool end_array() { return close(); }
  bool key(std::string& key) {
    if (open_.back()->contains(key)) fail("duplicate key " + in_quotes(key));
    slot_ = &(*open_.back())[key];
    return true;
  }

 private:
  template <class V>
  bool add(V&& value) {
    *place() = std::forward<V>(value);
    return true;
  }
  Json* place() {
    if (open_.empty()) return &root_;
    if (open_.back()->is_object()) return slot_;
    open_.back()->push_back(nullptr);
    return &open_.back()->back();
  }
  bool open(Json::value_t type) {
    if (static_cast<int>(open_.size()) == max_depth_)
      fail(fmt::format("nested deeper than {} levels", max_depth_));
    Json* value = place();
    *value = Json(type);
    open_.push_back(value);
    return true;
  }
  bool close() {
    open_.pop_back();
    return true;
  }

  int max_depth_;
  Json root_;
  // NOTE: growing an array moves its elements, but only the last element of an array can be open, and it was
  // added last.
  std::vector<Json*> open_;
  Json* slot_ = nullptr;  // of the key that was read last
};

std::string shown(const Json& value) {
  const std::string text = value.dump(-1, ' ', true, Json::error_handler_t::replace);
  return text.size() <= 80 ? text : text.substr(0, 77) + "...";
}

}  // namespace

Json parse_json(std::string_view text, const std::string& name, const JsonLimits& limits) {
  if (static_cast<int64_t>(text.size()) > limits.max_bytes)
    throw Error(ErrorKind::bad_model,
                fmt::format("{}: {} bytes of JSON, the limit is {}", name, text.size(), limits.max_bytes));
  ValueBuilder builder(text, name, limits.max_depth);
  json_sax::parse(builder);
  return builder.take();
}

std::string read_text_file(const std::filesystem::path& path, int64_t max_bytes) {
  const RegularFile file = RegularFile::open(path);
  if (file.size() > max_bytes)
    throw Error(ErrorKind::bad_model,
                fmt::format("{}: {} bytes, the limit is {}", path.string(), file.size(), max_bytes));
  std::string text(static_cast<size_t>(file.size()), '\0');
  file.read(0, text.data(), file.size());
  return text;
}

Json read_json_file(const std::filesystem::path& path, const JsonLimits& limits) {
  return parse_json(read_text_file(path, limits.max_bytes), path.string(), limits);
}

ConfigObject::ConfigObject(std::shared_ptr<const Json> value, std::string name, std::string path)
    : value_(std::move(value)), name_(std::move(name)), path_(std::move(path)) {}

ConfigObject ConfigObject::read(const std::filesystem::path& path, const JsonLimits& limits) {
  return parse(read_text_file(path, limits.max_bytes), path.string(), limits);
}

ConfigObject ConfigObject::parse(std::string_view text, const std::string& name, const JsonLimits& limits) {
  return of(parse_json(text, name, limits), name);
}

ConfigObject ConfigObject::of(Json json, const std::string& name) {
  auto value = std::make_shared<const Json>(std::move(json));
  if (!value->is_object())
    throw Error(ErrorKind::bad_model,
                fmt::format("{}: holds {}, expected a JSON object", name, shown(*value)));
  return ConfigObject(std::move(value), name, "");
}

const Json* ConfigObject::find(const std::string& key) const {
  const auto it = value_->find(key);
  return it == value_->end() || it->is_null() ? nullptr : &*it;
}

bool ConfigObject::has(const std::string& key) const { return find(key) != nullptr; }

void ConfigObject::fail(const std::string& key, const std::string& expected) const {
  const Json* value = find(key);
  const std::string found = value ? "is " + shown(*value) : "is missing";
  throw Error(ErrorKind::bad_model,
              fmt::format("{}: {} {}, expected {}", name_, in_quotes(path_ + key), found, expected));
}

namespace {

std::optional<int64_t> integer_in(const Json& value, int64_t low, int64_t high) {
  if (value.is_number_unsigned() &&
      value.get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
    return {};
  if (!value.is_number_integer()) return {};
  const auto n = value.get<int64_t>();
  return n < low || n > high ? std::nullopt : std::optional(n);
}

std::string integer_range(int64_t low, int64_t high) {
  return fmt::format("an integer from {} to {}", low, high);
}

}  // namespace

int64_t ConfigObject::integer(const std::string& key, int64_t low, int64_t high) const {
  const Json* value = find(key);
  const auto n = value ? integer_in(*value, low, high) : std::nullopt;
  if (!n) fail(key, integer_range(low, high));
  return *n;
}

int64_t ConfigObject::integer_or(const std::string& key, int64_t fallback, int64_t low, int64_t high) const {
  return has(key) ? integer(key, low, high) : fallback;
}

std::vector<int64_t> ConfigObject::integers(const std::string& key, int64_t low, int64_t high) const {
  const Json* value = find(key);
  if (!value) return {};
  if (!value->is_array()) return {integer(key, low, high)};
  std::vector<int64_t> numbers;
  for (const Json& item : *value) {
    const auto n = integer_in(item, low, high);
    if (!n) fail(key, integer_range(low, high) + " or an array of such");
    numbers.push_back(*n);
  }
  return numbers;
}

double ConfigObject::number(const std::string& key, double low, double high) const {
  const Json* value = find(key);
  const double x = value && value->is_number() ? value->get<double>() : std::nan("");
  if (!(x >= low && x <= high)) fail(key, fmt::format("a number from {} to {}", low, high));
  return x;
}

double ConfigObject::number_or(const std::string& key, double fallback, double low, double high) const {
  return has(key) ? number(key, low, high) : fallback;
}

bool ConfigObject::boolean(const std::string& key) const {
  const Json* value = find(key);
  if (!value || !value->is_boolean()) fail(key, "true or false");
  return value->get<bool>();
}

bool ConfigObject::boolean_or(const std::string& key, bool fallback) const {
  return has(key) ? boolean(key) : fallback;
}

std::string ConfigObject::string(const std::string& key) const {
  const Json* value = find(key);
  if (!value || !value->is_string()) fail(key, "a string");
  return value->get<std::string>();
}

std::string ConfigObject::string_or(const std::string& key, const std::string& fallback) const {
  return has(key) ? string(key) : fallback;
}

std::vector<std::string> ConfigObject::strings(const std::string& key) const {
  const Json* value = find(key);
  if (!value) return {};
  std::vector<std::string> texts;
  if (!value->is_array()) fail(key, "an array of strings");
  for (const Json& item : *value) {
    if (!item.is_string()) fail(key, "an array of strings");
    texts.push_back(item.get<std::string>());
  }
  return texts;
}

ConfigObject ConfigObject::object(const std::string& key) const {
  const Json* value = find(key);
  if (!value || !value->is_object()) fail(key, "an object");
  return ConfigObject(std::shared_ptr<const Json>(value_, value), name_, path_ + key + ".");
}

std::vector<std::string> ConfigObject::keys() const {
  std::vector<std::string> names;
  for (const auto& item : value_->items()) names.push_back(item.key());
  return names;
}

}  // namespace octavo
