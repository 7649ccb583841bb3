#include "tokenizer/json_node.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "tokenizer/utf8.h"

namespace octavo::tokenizer {
namespace {

std::string kind_of(const nlohmann::json& value) {
  if (value.is_null()) return "null";
  if (value.is_boolean()) return "a truth value";
  const bool vowel = value.is_array() || value.is_object();
  return std::string(vowel ? "an " : "a ") + value.type_name();
}

}  // namespace

void JsonNode::fail(const std::string& problem) const {
  throw Error(ErrorKind::bad_model, file_ + ": " + (path_.empty() ? "" : path_ + ": ") + problem);
}

bool JsonNode::is_null() const { return value_->is_null(); }
bool JsonNode::is_object() const { return value_->is_object(); }

bool JsonNode::has(const char* key) const {
  expect_object();
  const auto found = value_->find(key);
  return found != value_->end() && !found->is_null();
}

JsonNode JsonNode::child(const char* key) const {
  if (!has(key)) fail(fmt::format("\"{}\" is missing", key));
  return JsonNode(*value_->find(key), file_, path_.empty() ? key : path_ + "." + key);
}

std::vector<JsonNode> JsonNode::elements() const {
  if (!value_->is_array()) fail(fmt::format("is {}, expected an array", kind_of(*value_)));
  std::vector<JsonNode> nodes;
  nodes.reserve(value_->size());
  for (size_t i = 0; i < value_->size(); ++i)
    nodes.emplace_back((*value_)[i], file_, fmt::format("{}[{}]", path_, i));
  return nodes;
}

void JsonNode::expect_object() const {
  if (!value_->is_object()) fail(fmt::format("is {}, expected an object", kind_of(*value_)));
}

std::string JsonNode::text() const {
  if (!value_->is_string()) fail(fmt::format("is {}, expected a string", kind_of(*value_)));
  return value_->get<std::string>();
}

int64_t JsonNode::integer(int64_t low, int64_t high) const {
  const bool fits =
      value_->is_number_integer() &&
      (!value_->is_number_unsigned() || value_->get<uint64_t>() <= static_cast<uint64_t>(INT64_MAX));
  const int64_t n = fits ? value_->get<int64_t>() : 0;
  if (!fits || n < low || n > high)
    fail(fmt::format("is {}, expected an integer from {} to {}",
                     value_->is_number() ? value_->dump() : kind_of(*value_), low, high));
  return n;
}

std::string JsonNode::string_or(const char* key, std::string fallback) const {
  return has(key) ? string(key) : fallback;
}

bool JsonNode::boolean(const char* key) const {
  const JsonNode node = child(key);
  if (!node.value_->is_boolean())
    node.fail(fmt::format("is {}, expected true or false", in_quotes(node.value_->type_name())));
  return node.value_->get<bool>();
}

char32_t JsonNode::character(const char* key) const {
  const JsonNode node = child(key);
  const std::string text = node.text();
  if (text.empty()) node.fail("is empty, expected one character");
  const CodePoint c = decode_utf8(text.data());
  if (static_cast<size_t>(c.bytes) != text.size())
    node.fail(fmt::format("is {}, expected one character", in_quotes(text)));
  return c.value;
}

}  // namespace octavo::tokenizer
