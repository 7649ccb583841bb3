// JSON that comes from other people: size and depth are limited, duplicate keys are refused, and an error
// says which file and where. ConfigObject reads values of a config with their type and range checked. Errors:
// bad_model.
#pragma once
#include <cstdint>
#include <filesystem>
#include <limits>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"

namespace octavo {

struct JsonLimits {
  int64_t max_bytes = int64_t{256} << 20;
  int max_depth = 64;  // nested objects and arrays
};

// `name` is what messages call the text, usually its path. Parsing does not recurse, whatever the text holds.
nlohmann::json parse_json(std::string_view text, const std::string& name, const JsonLimits& limits = {});
nlohmann::json read_json_file(const std::filesystem::path& path, const JsonLimits& limits = {});
// All bytes of a regular file. Errors: bad_model when missing, not a regular file or above max_bytes.
std::string read_text_file(const std::filesystem::path& path, int64_t max_bytes);

// A JSON object with checked accessors; a null counts as absent, unknown keys are not looked at. Cheap to
// copy. `integer("hidden_size")` on {"hidden_size": "abc"} throws
//   folder/config.json: "hidden_size" is "abc", expected an integer from 1 to 2147483647
class ConfigObject {
 public:
  static ConfigObject read(const std::filesystem::path& path, const JsonLimits& limits = {});
  static ConfigObject parse(std::string_view text, const std::string& name, const JsonLimits& limits = {});
  // Around values that the reader of another format made; `name` is what messages call the file.
  static ConfigObject of(nlohmann::json value, const std::string& name);

  static constexpr int64_t kMaxInt32 = std::numeric_limits<int32_t>::max();

  bool has(const std::string& key) const;  // present and not null
  int64_t integer(const std::string& key, int64_t low = 1, int64_t high = kMaxInt32) const;
  int64_t integer_or(const std::string& key, int64_t fallback, int64_t low = 1,
                     int64_t high = kMaxInt32) const;
  // One integer or an array of them (eos_token_id comes in both forms); empty when absent.
  std::vector<int64_t> integers(const std::string& key, int64_t low = 0, int64_t high = kMaxInt32) const;
  double number(const std::string& key, double low, double high) const;  // inclusive bounds; always finite
  double number_or(const std::string& key, double fallback, double low, double high) const;
  bool boolean(const std::string& key) const;
  bool boolean_or(const std::string& key, bool fallback) const;
  std::string string(const std::string& key) const;
  std::string string_or(const std::string& key, const std::string& fallback) const;
  std::vector<std::string> strings(const std::string& key) const;  // array of strings; empty when absent
  ConfigObject object(const std::string& key) const;
  std::vector<std::string> keys() const;  // in alphabetical order

  const nlohmann::json& json() const { return *value_; }
  const std::string& name() const { return name_; }  // the file
  // Throws bad_model: `<file>: "<path.key>" is <value>, expected <expected>` (or "is missing").
  [[noreturn]] void fail(const std::string& key, const std::string& expected) const;

 private:
  ConfigObject(std::shared_ptr<const nlohmann::json> value, std::string name, std::string path);
  const nlohmann::json* find(const std::string& key) const;  // null when absent or null

  std::shared_ptr<const nlohmann::json> value_;  // shares ownership of the whole document
  std::string name_, path_;                      // path_: "rope_scaling." inside that object
};

}  // namespace octavo
