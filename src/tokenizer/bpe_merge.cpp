#include "tokenizer/bpe_merge.h"

#include <algorithm>
#include <functional>
#include <utility>

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

constexpr int32_t kEnd = -1, kGone = -2;

void link_all(size_t n, MergeScratch& s) {
  s.next.resize(n), s.previous.resize(n);
  for (size_t i = 0; i < n; ++i)
    s.next[i] = static_cast<int32_t>(i) + 1, s.previous[i] = static_cast<int32_t>(i) - 1;
  s.next[n - 1] = kEnd;
}

// Puts `id` in the place of the symbols at `at` and behind it; returns what is behind them.
int32_t replace_pair(std::vector<int32_t>& symbols, int32_t at, int32_t id, MergeScratch& s) {
  const int32_t right = s.next[at], after = s.next[right];
  symbols[at] = id;
  s.next[at] = after;
  s.next[right] = kGone;
  if (after >= 0) s.previous[after] = at;
  return after;
}

size_t keep_linked(std::vector<int32_t>& symbols, const MergeScratch& s) {
  size_t kept = 0;
  for (int32_t i = 0; i >= 0; i = s.next[i]) symbols[kept++] = symbols[i];
  return kept;
}

// Longer words: a linked list of symbols and a queue of candidate merges, some of them outdated.
size_t merge_by_queue(const MergeTable& merges, std::vector<int32_t>& symbols, MergeScratch& s) {
  link_all(symbols.size(), s);
  s.queue.clear();
  const auto add = [&](int32_t left, int32_t right) {
    const uint32_t rank = merges.find(symbols[left], symbols[right]).rank;
    if (rank != MergeTable::kNone) s.queue.push_back(uint64_t{rank} << 32 | static_cast<uint32_t>(left));
    return rank != MergeTable::kNone;
  };
  for (int32_t i = 0; s.next[i] >= 0; ++i) add(i, s.next[i]);
  std::make_heap(s.queue.begin(), s.queue.end(), std::greater<>{});
  while (!s.queue.empty()) {
    std::pop_heap(s.queue.begin(), s.queue.end(), std::greater<>{});
    const uint64_t candidate = s.queue.back();
    s.queue.pop_back();
    const int32_t at = static_cast<int32_t>(candidate & 0xffffffffu);
    if (s.next[at] < 0) continue;  // merged into its left neighbour, or the last symbol
    const MergeTable::Merge merge = merges.find(symbols[at], symbols[s.next[at]]);
    if (merge.rank != candidate >> 32) continue;  // the pair has changed since
    const int32_t after = replace_pair(symbols, at, merge.id, s);
    if (s.previous[at] >= 0 && add(s.previous[at], at))
      std::push_heap(s.queue.begin(), s.queue.end(), std::greater<>{});
    if (after >= 0 && add(at, after)) std::push_heap(s.queue.begin(), s.queue.end(), std::greater<>{});
  }
  return keep_linked(symbols, s);
}

// The same for a table in order: all candidates of a rank are known when its turn comes, so that positions are walked from
// left to right, rank by rank. Megabytes of one character stay linear, and the memory is read in order.
size_t merge_by_rank(const MergeTable& merges, std::vector<int32_t>& symbols, MergeScratch& s) {
  link_all(symbols.size(), s);
  s.bucket_of.resize(merges.rules().size(), -1);
  const auto add = [&](int32_t left, int32_t right) {
    const uint32_t rank = merges.find(symbols[left], symbols[right]).rank;
    if (rank == MergeTable::kNone) return;
    int32_t& bucket = s.bucket_of[rank];
    if (bucket < 0) {
      if (s.free_buckets.empty())
        s.free_buckets.push_back(static_cast<int32_t>(s.buckets.size())), s.buckets.emplace_back();
      bucket = s.free_buckets.back();
      s.free_buckets.pop_back();
      s.ranks.push_back(rank);
      std::push_heap(s.ranks.begin(), s.ranks.end(), std::greater<>{});
    }
    s.buckets[bucket].push_back(left);
  };
  for (int32_t i = 0; s.next[i] >= 0; ++i) add(i, s.next[i]);
  std::vector<int32_t> positions;
  while (!s.ranks.empty()) {
    std::pop_heap(s.ranks.begin(), s.ranks.end(), std::greater<>{});
    const uint32_t rank = s.ranks.back();
    s.ranks.pop_back();
    const int32_t bucket = std::exchange(s.bucket_of[rank], -1);
    positions.swap(s.buckets[bucket]);
    if (!std::is_sorted(positions.begin(), positions.end())) std::sort(positions.begin(), positions.end());
    const MergeTable::Rule rule = merges.rules()[rank];
    for (const int32_t at : positions) {
      if (s.next[at] < 0 || symbols[at] != rule.left || symbols[s.next[at]] != rule.right)
        continue;  // outdated
      const int32_t after = replace_pair(symbols, at, rule.id, s);
      if (s.previous[at] >= 0) add(s.previous[at], at);
      if (after >= 0) add(at, after);
    }
    positions.clear();
    positions.swap(s.buckets[bucket]);
    s.free_buckets.push_back(bucket);
  }
  return keep_linked(symbols, s);
}

}  // namespace

void merge_symbols(const MergeTable& merges, std::vector<int32_t>& symbols, MergeScratch& scratch) {
  if (symbols.size() < 2) return;
  if (symbols.size() <= kShortWord)
    symbols.resize(merge_short(merges, symbols.data(), symbols.size()));
  else
    symbols.resize(merges.in_order() ? merge_by_rank(merges, symbols, scratch)
                                     : merge_by_queue(merges, symbols, scratch));
}

}  // namespace octavo::tokenizer
