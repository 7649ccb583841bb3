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
  // Positions by rank: bucket_of[rank] is an index into buckets, or -1.
  std::vector<int32_t> bucket_of, free_buckets;
  std::vector<std::vector<int32_t>> buckets;
  std::vector<uint32_t> ranks;  // those that have a bucket, a min-heap
};

void merge_symbols(const MergeTable& merges, std::vector<int32_t>& symbols, MergeScratch& scratch);

}  // namespace octavo::tokenizer
