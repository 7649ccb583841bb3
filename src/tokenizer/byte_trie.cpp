#include "tokenizer/byte_trie.h"

#include <algorithm>

namespace octavo::tokenizer {

ByteTrie::ByteTrie(std::vector<Entry> entries) {
  std::erase_if(entries, [](const Entry& e) { return e.first.empty(); });
  std::sort(entries.begin(), entries.end());
  struct Job {
    uint32_t node;
    size_t begin, end, depth;  // the entries below the node, which agree in their first `depth` bytes
  };
  nodes_.emplace_back();
  std::vector<Job> jobs{{0, 0, entries.size(), 0}};
  for (size_t j = 0; j < jobs.size(); ++j) {
    Job job = jobs[j];
    if (job.begin < job.end && entries[job.begin].first.size() == job.depth)
      nodes_[job.node].value = entries[job.begin++].second;
    nodes_[job.node].first_child = static_cast<uint32_t>(nodes_.size());
    for (size_t i = job.begin; i < job.end;) {
      const char byte = entries[i].first[job.depth];
      size_t end = i;
      while (end < job.end && entries[end].first[job.depth] == byte) ++end;
      const auto node = static_cast<uint32_t>(nodes_.size());
      nodes_.push_back({0, -1, 0, static_cast<uint8_t>(byte)});
      if (job.node == 0) first_[static_cast<uint8_t>(byte)] = node;
      ++nodes_[job.node].children;
      jobs.push_back({node, i, end, job.depth + 1});
      i = end;
    }
  }
}

}  // namespace octavo::tokenizer
