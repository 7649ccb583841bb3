// The merging of one word's symbols, in place.
#pragma once
#include <cstdint>
#include <vector>

#include "tokenizer/bpe.h"

namespace octavo::tokenizer {

// Working memory of merge_symbols, reused between words.
struct MergeScratch {
  std::vector<int32_t> next, previous;
  std::vector<uint64_t> queue;  // rank << 32 | position, a min-heap
};

void merge_symbols(const MergeTable& merges, std::vector<int32_t>& symbols, MergeScratch& scratch);

}  // namespace octavo::tokenizer
