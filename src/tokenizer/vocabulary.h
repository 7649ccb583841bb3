// Token texts and ids of a model: unique both ways, checked when built.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "tokenizer/json_node.h"

namespace octavo::tokenizer {

// Ids above it are refused, so that a hostile file of a few bytes cannot ask for gigabytes (the largest
// published vocabularies have some 260,000 tokens).
inline constexpr int64_t kLargestId = (1 << 21) - 1;

struct TextHash {
  using is_transparent = void;
  size_t operator()(std::string_view s) const { return std::hash<std::string_view>{}(s); }
};

class Vocabulary {
 public:
  // `node` is where the token stands. Throws bad_model when text or id is taken already.
  void add(std::string text, int64_t id, const JsonNode& node) {
    if (id < 0 || id > kLargestId)
      node.fail("token " + in_quotes(text) + " has id " + std::to_string(id) + ", outside 0 to " +
                std::to_string(kLargestId));
    if (static_cast<int64_t>(texts_.size()) <= id) texts_.resize(id + 1), used_.resize(id + 1);
    if (used_[id])
      node.fail("id " + std::to_string(id) + " belongs to both " + in_quotes(texts_[id]) + " and " +
                in_quotes(text));
    const auto [entry, is_new] = ids_.emplace(std::move(text), static_cast<int32_t>(id));
    if (!is_new)
      node.fail("token " + in_quotes(entry->first) + " has both id " + std::to_string(entry->second) +
                " and " + std::to_string(id));
    texts_[id] = entry->first;
    used_[id] = true;
    ++count_;
  }

  // -1 when there is none.
  int32_t find(std::string_view text) const {
    const auto entry = ids_.find(text);
    return entry == ids_.end() ? -1 : entry->second;
  }
  bool has(int32_t id) const { return id >= 0 && id < limit() && used_[id]; }
  const std::string& text(int32_t id) const { return texts_[id]; }
  int32_t limit() const { return static_cast<int32_t>(texts_.size()); }  // largest id + 1
  int64_t count() const { return count_; }

 private:
  std::unordered_map<std::string, int32_t, TextHash, std::equal_to<>> ids_;
  std::vector<std::string> texts_;
  std::vector<bool> used_;
  int64_t count_ = 0;
};

}  // namespace octavo::tokenizer
