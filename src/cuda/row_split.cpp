#include "cuda/row_split.h"

#include <algorithm>
#include <bit>

namespace octavo::cuda {
namespace {

constexpr int64_t kOctetElements = 8;
constexpr int64_t kNarrowBlock = 128;      // threads of a block that narrow rows share
constexpr int64_t kClusterThreads = 256;   // of a block of a cluster, while there are blocks to be had
constexpr int kWantedStages = 3;           // one row in work, two on their way
constexpr int64_t kBlockOverhead = 4096;   // shared memory of a block beside its slots, rounded up
constexpr int64_t kStreamRowsPerCore = 3;  // fewer rows start faster from registers
int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t threads_of(int64_t width) { return ceil_div(ceil_div(width, kOctetElements), kRowOctets); }
bool aligned_to(const void* p, int64_t bytes) {
  return reinterpret_cast<uintptr_t>(p) % static_cast<uintptr_t>(bytes) == 0;
}

}  // namespace

bool row_fits_registers(int64_t width) { return width > 0 && threads_of(width) <= kMaxRowThreads; }

// So many threads in one block, or the rows that share a block when a warp is enough for one.
static RowSplit split_of_threads(int64_t threads) {
  RowSplit s;
  if (threads <= 32) {
    s.threads = static_cast<int>(std::bit_ceil(static_cast<uint64_t>(threads)));
    s.rows_per_block = static_cast<int>(kNarrowBlock / s.threads);
  } else {
    s.threads = static_cast<int>(ceil_div(threads, 32) * 32);
  }
  return s;
}

RowSplit split_row(int64_t width) { return split_of_threads(threads_of(width)); }

RowSplit split_packed_row(int64_t width, DType dtype, const DeviceFacts& facts, int bytes_per_thread) {
  const int64_t threads = ceil_div(width * size_of(dtype), bytes_per_thread);
  int64_t cluster = 1;
  if (facts.compute_capability >= 90)
    while (cluster < kMaxRowCluster && threads > cluster * (cluster > 1 ? kClusterThreads : kMaxRowThreads))
      cluster *= 2;
  if (width == 0 || threads > cluster * kMaxRowThreads) return {.threads = 0};
  RowSplit s = split_of_threads(ceil_div(threads, cluster));
  s.cluster = static_cast<int>(cluster);
  return s;
}

RowStream split_stream(int64_t width, DType dtype, int inputs, const DeviceFacts& facts, int max_threads,
                       int cluster) {
  const int64_t shared_bytes = facts.shared_bytes_per_block;
  for (int blocks = cluster ? cluster : 1; blocks <= (cluster ? cluster : kMaxRowCluster); blocks *= 2) {
    const int64_t threads = ceil_div(ceil_div(threads_of(width), blocks), 32) * 32;
    const int64_t slot = threads * kRowOctets * kOctetElements * size_of(dtype) * inputs;
    const int64_t stages_alone = (shared_bytes - kBlockOverhead) / slot;
    if (threads > max_threads || stages_alone < kWantedStages) continue;
    // As many blocks side by side as threads and slots allow.
    int64_t resident = max_threads / threads;
    const auto stages = [&] { return (shared_bytes / resident - kBlockOverhead) / slot; };
    while (resident > 1 && stages() < kWantedStages) --resident;
    return {static_cast<int>(threads), blocks, static_cast<int>(std::min<int64_t>(stages(), kMaxStages)),
            slot};
  }
  return {};
}

bool row_streams(int64_t rows, int64_t width, DType dtype, int inputs, const DeviceFacts& facts,
                 int64_t least_width) {
  if (facts.compute_capability < 90 || rows == 0 || width <= 32 * kRowOctets * kOctetElements) return false;
  if (row_fits_registers(width) && (width < least_width || rows < kStreamRowsPerCore * facts.cores))
    return false;
  return split_stream(width, dtype, inputs, facts, kFatStreamThreads).threads > 0;
}

RowSplit split_loop(int64_t width) {
  RowSplit s;
  if (width <= 256) {
    s.threads = 32, s.rows_per_block = 4;
  } else {
    s.threads = static_cast<int>(std::clamp<int64_t>(ceil_div(width, 8 * 32) * 32, 64, kMaxRowThreads));
  }
  return s;
}

bool octets_aligned(const ConstTensor& t) {
  if (!t) return true;
  const int64_t bytes = t.dtype() == DType::i8 ? 8 : 16;
  return t.dim(1) % kOctetElements == 0 && (t.dim(1) <= 1 || t.stride(1) == 1) &&
         (t.dim(0) <= 1 || t.stride(0) * size_of(t.dtype()) % bytes == 0) && aligned_to(t.data(), bytes);
}

bool packed_row_fits(const ConstTensor& t, const DeviceFacts& facts) {
  return octets_aligned(t) && split_packed_row(t.dim(1), t.dtype(), facts).threads > 0;
}

bool parameter_fits(const ConstTensor& t, DType dtype) {
  return !t || ((t.dim(0) <= 1 || t.stride(0) == 1) && aligned_to(t.data(), 16) &&
                (t.dtype() == dtype || t.dtype() == DType::f32));
}

}  // namespace octavo::cuda
