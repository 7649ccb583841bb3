// The ceilings that figures are shares of: how fast this machine reads and copies memory, measured beside the work that
// is compared with them.
#pragma once
#include <cstdint>

#include "core/buffer.h"
#include "core/thread_pool.h"

namespace octavo::harness {

struct RateOptions {
  int64_t bytes = 0;    // of memory read; 0: 1 GiB, or 8 times the last-level cache where that is more
  int rounds = 5;       // the best counts
  double seconds = 60;  // no further round starts after this long; the first always runs
};

// GB/s (1e9 bytes) of a vector sum over the memory by all threads of the pool.
double measure_read_gbs(ThreadPool& pool, const RateOptions& options = {});
// GB/s read plus GB/s written by memcpy from one half of the memory to the other.
double measure_copy_gbs(ThreadPool& pool, const RateOptions& options = {});

// Memory that was touched once, to measure the read rate again and again beside other work.
class ReadRate {
 public:
  explicit ReadRate(ThreadPool& pool, int64_t bytes = 0);
  void read_once();  // one pass over all bytes
  int64_t bytes() const { return bytes_; }

 private:
  ThreadPool& pool_;
  int64_t bytes_;
  Buffer memory_;
  uint64_t sum_ = 0;  // kept, so that the reads are not dropped
};

}  // namespace octavo::harness
