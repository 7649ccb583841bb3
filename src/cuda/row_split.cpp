#include "cuda/row_split.h"

#include <algorithm>
#include <bit>

namespace octavo::cuda {
namespace {

constexpr int64_t kOctetElements = 8;
constexpr int64_t kMaxRowCluster = 8;       // the largest that every sm_90 device grants
constexpr int64_t kNarrowBlock = 128;       // threads of a block that narrow rows share
constexpr int64_t kBlockThreads = 256;      // wider rows take a cluster before they take larger blocks: several blocks
                                            // on a multiprocessor, one loads while another reduces
int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t threads_of(int64_t width) { return ceil_div(ceil_div(width, kOctetElements), kRowOctets); }
bool aligned_to(const void* p, int64_t bytes) { return reinterpret_cast<uintptr_t>(p) % static_cast<uintptr_t>(bytes) == 0; }

}  // namespace

bool row_fits_registers(int64_t width, const DeviceFacts& facts) {
  const int64_t blocks = facts.compute_capability >= 90 ? kMaxRowCluster : 1;
  return width > 0 && threads_of(width) <= kMaxRowThreads * blocks;
}

RowSplit split_row(int64_t width) {
  const int64_t threads = threads_of(width);
  RowSplit s;
  if (threads <= 32) {
    s.threads = static_cast<int>(std::bit_ceil(static_cast<uint64_t>(threads)));
    s.rows_per_block = static_cast<int>(kNarrowBlock / s.threads);
    return s;
  }
  const int64_t blocks = threads <= kMaxRowThreads ? 1 : ceil_div(threads, kBlockThreads);
  s.cluster = static_cast<int>(std::min<int64_t>(static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(blocks))), kMaxRowCluster));
  s.threads = static_cast<int>(ceil_div(ceil_div(threads, s.cluster), 32) * 32);
  return s;
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

bool parameter_fits(const ConstTensor& t, DType dtype) {
  return !t || ((t.dim(0) <= 1 || t.stride(0) == 1) && aligned_to(t.data(), 16) &&
                (t.dtype() == dtype || t.dtype() == DType::f32));
}

}  // namespace octavo::cuda
