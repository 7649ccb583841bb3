// A value inside a tokenizer.json together with where it stands, so that every error can say so. Errors: bad_model.
#pragma once
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "formats/in_quotes.h"

namespace octavo::tokenizer {

class JsonNode {
 public:
  // `file` is what messages call the document; `value` must outlive the node.
  JsonNode(const nlohmann::json& value, std::string file, std::string path = {})
      : value_(&value), file_(std::move(file)), path_(std::move(path)) {}

  const nlohmann::json& json() const { return *value_; }
  const std::string& file() const { return file_; }
  const std::string& path() const { return path_; }

  bool is_null() const;
  bool is_object() const;
  // Present and not null.
  bool has(const char* key) const;
  JsonNode child(const char* key) const;   // must be present
  std::vector<JsonNode> elements() const;  // of an array
  void expect_object() const;

  std::string text() const;                          // this value, a string
  int64_t integer(int64_t low, int64_t high) const;  // this value
  std::string string(const char* key) const { return child(key).text(); }
  std::string string_or(const char* key, std::string fallback) const;
  bool boolean(const char* key) const;
  bool boolean_or(const char* key, bool fallback) const { return has(key) ? boolean(key) : fallback; }
  int64_t integer(const char* key, int64_t low, int64_t high) const { return child(key).integer(low, high); }
  char32_t character(const char* key) const;  // a string of exactly one character

  // Throws "<file>: <path>: <problem>".
  [[noreturn]] void fail(const std::string& problem) const;

 private:
  const nlohmann::json* value_;
  std::string file_, path_;
};

}  // namespace octavo::tokenizer
