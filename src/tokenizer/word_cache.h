// Ids of words seen before: direct-mapped, a cache line an entry, short words only. No answer ever depends on it.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

namespace octavo::tokenizer {

class WordCache {
 public:
  static constexpr size_t kLongestWord = 21, kMostIds = 8;

  struct Found {
    const int32_t* ids;  // null: not in the cache
    size_t count;
  };
  Found find(std::string_view word) const {
    if (word.size() > kLongestWord) return {nullptr, 0};
    const Entry& e = entries_[slot_of(word)];
    if (e.length == word.size() && std::memcmp(e.word, word.data(), word.size()) == 0)
      return {e.ids, e.count};
    return {nullptr, 0};
  }
  void insert(std::string_view word, const int32_t* ids, size_t count) {
    if (word.size() > kLongestWord || count > kMostIds) return;
    Entry& e = entries_[slot_of(word)];
    std::copy_n(word.data(), word.size(), e.word);
    std::copy_n(ids, count, e.ids);  // ids may be null when a word has no ids
    e.length = static_cast<uint8_t>(word.size());
    e.count = static_cast<uint8_t>(count);
  }

 private:
  static constexpr size_t kEntries = 1 << 14;
  struct alignas(64) Entry {
    uint8_t length = 255;  // 255: unused
    uint8_t count = 0;
    char word[kLongestWord + 1];
    int32_t ids[kMostIds];
  };
  static_assert(sizeof(Entry) == 64);

  static size_t slot_of(std::string_view word) {
    uint64_t h = 0x9e3779b97f4a7c15ull ^ word.size();
    const char* p = word.data();
    size_t n = word.size();
    for (; n >= 8; p += 8, n -= 8) {
      uint64_t part;
      std::memcpy(&part, p, 8);
      h = (h ^ part) * 0xd6e8feb86659fd93ull;
      h ^= h >> 32;
    }
    uint64_t part = 0;
    std::memcpy(&part, p, n);
    h = (h ^ part) * 0xd6e8feb86659fd93ull;
    return (h ^ h >> 32) >> 8 & (kEntries - 1);
  }
  std::vector<Entry> entries_ = std::vector<Entry>(kEntries);
};

}  // namespace octavo::tokenizer
