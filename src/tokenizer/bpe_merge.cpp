#include "tokenizer/bpe_merge.h"

#include <algorithm>
#include <functional>

namespace octavo::tokenizer {
namespace {

constexpr size_t kShortWord = 32;

// Up to kShortWord symbols: look for the lowest rank each time, close the gap by moving the rest.
size_t merge_short(const MergeTable& merges, int32_t* symbols, size_t n) {
  MergeTable::Merge merge_at[kShortWord];
  for (size_t i = 0; i + 1 < n; ++i) merge_at[i] = merges.find(symbols[i], symbols[i + 1]);
  while (n > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < n; ++i)
      if (merge_at[i].rank < merge_at[best].rank) best = i;
    if (merge_at[best].rank == MergeTable::kNone) break;
    symbols[best] = merge_at[best].id;
    std::copy(symbols + best + 2, symbols + n, symbols + best + 1);
    std::copy(merge_at + best + 1, merge_at + n - 1, merge_at + best);
    --n;
    if (best > 0) merge_at[best - 1] = merges.find(symbols[best - 1], symbols[best]);
    if (best + 1 < n) merge_at[best] = merges.find(symbols[best], symbols[best + 1]);
  }
  return n;
}

// Longer words: a linked list of symbols and a queue of candidate merges, some of them outdated.
size_t merge_long(const MergeTable& merges, std::vector<int32_t>& symbols, MergeScratch& s) {
  constexpr int32_t kEnd = -1, kGone = -2;
  const int32_t n = static_cast<int32_t>(symbols.size());
  s.next.resize(n), s.previous.resize(n);
  s.queue.clear();
  for (int32_t i = 0; i < n; ++i) s.next[i] = i + 1 < n ? i + 1 : kEnd, s.previous[i] = i - 1;
  for (int32_t i = 0; i + 1 < n; ++i) {
    const uint32_t rank = merges.find(symbols[i], symbols[i + 1]).rank;
    if (rank != MergeTable::kNone) s.queue.push_back(uint64_t{rank} << 32 | static_cast<uint32_t>(i));
  }
  std::make_heap(s.queue.begin(), s.queue.end(), std::greater<>{});
  const auto push = [&](int32_t left, int32_t right) {
    const uint32_t rank = merges.find(symbols[left], symbols[right]).rank;
    if (rank == MergeTable::kNone) return;
    s.queue.push_back(uint64_t{rank} << 32 | static_cast<uint32_t>(left));
    std::push_heap(s.queue.begin(), s.queue.end(), std::greater<>{});
  };
  while (!s.queue.empty()) {
    std::pop_heap(s.queue.begin(), s.queue.end(), std::greater<>{});
    const uint64_t candidate = s.queue.back();
    s.queue.pop_back();
    const int32_t at = static_cast<int32_t>(candidate & 0xffffffffu), right = s.next[at];
    if (right < 0) continue;  // merged into its left neighbour, or the last symbol
    const MergeTable::Merge merge = merges.find(symbols[at], symbols[right]);
    if (merge.rank != candidate >> 32) continue;  // the pair has changed since
    symbols[at] = merge.id;
    const int32_t after = s.next[right];
    s.next[at] = after;
    s.next[right] = kGone;
    if (after >= 0) s.previous[after] = at;
    if (s.previous[at] >= 0) push(s.previous[at], at);
    if (after >= 0) push(at, after);
  }
  size_t kept = 0;
  for (int32_t i = 0; i >= 0; i = s.next[i]) symbols[kept++] = symbols[i];
  return kept;
}

}  // namespace

void merge_symbols(const MergeTable& merges, std::vector<int32_t>& symbols, MergeScratch& scratch) {
  if (symbols.size() < 2) return;
  const size_t kept = symbols.size() <= kShortWord ? merge_short(merges, symbols.data(), symbols.size())
                                                   : merge_long(merges, symbols, scratch);
  symbols.resize(kept);
}

}  // namespace octavo::tokenizer
