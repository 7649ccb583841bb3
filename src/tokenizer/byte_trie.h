// Strings with a number each, to be found at the start of a text. Children lie side by side, ascending by byte.
#pragma once
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace octavo::tokenizer {

class ByteTrie {
 public:
  using Entry = std::pair<std::string_view, int32_t>;  // value >= 0

  ByteTrie() = default;
  explicit ByteTrie(std::vector<Entry> entries);  // no two with the same text; empty texts are left out

  bool empty() const { return nodes_.size() <= 1; }
  bool has_child(uint8_t byte) const { return first_[byte] != 0; }

  struct Found {
    int32_t value = -1;  // -1: none
    size_t length = 0;
  };
  Found longest(std::string_view text) const {
    Found best;
    for_each_prefix(text, [&](int32_t value, size_t length) { best = {value, length}; });
    return best;
  }

  // body(value, length) for every string that `text` starts with, shortest first.
  template <class Body>
  void for_each_prefix(std::string_view text, Body body) const {
    if (text.empty() || nodes_.empty()) return;
    uint32_t node = first_[static_cast<uint8_t>(text[0])];
    for (size_t length = 1; node; ++length) {
      if (nodes_[node].value >= 0) body(nodes_[node].value, length);
      if (length == text.size()) return;
      node = child(nodes_[node], static_cast<uint8_t>(text[length]));
    }
  }

 private:
  struct Node {
    uint32_t first_child = 0;
    int32_t value = -1;
    uint16_t children = 0;
    uint8_t byte = 0;
  };
  uint32_t child(const Node& node, uint8_t byte) const {
    uint32_t low = node.first_child, high = low + node.children;
    while (low < high) {
      const uint32_t middle = (low + high) / 2;
      if (nodes_[middle].byte < byte)
        low = middle + 1;
      else
        high = middle;
    }
    return low < node.first_child + node.children && nodes_[low].byte == byte ? low : 0;
  }

  std::vector<Node> nodes_;  // the root is 0, and no node's child
  uint32_t first_[256] = {};
};

}  // namespace octavo::tokenizer
