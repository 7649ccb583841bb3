#include "cuda/row_split.h"

#include <algorithm>
#include <bit>

namespace octavo::cuda {
namespace {

constexpr int kOctetElements = 8;
constexpr int kBlockThreads = 128;  // narrow rows share a block of this size

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t round_up_to_warp(int64_t n) { return ceil_div(n, 32) * 32; }

}  // namespace

RowSplit split_row(int64_t width, bool aligned, const DeviceFacts& facts) {
  RowSplit s;
  if (!aligned || width <= 0) return s;
  const int64_t octets = ceil_div(width, kOctetElements);
  const int max_cluster = facts.compute_capability >= 90 ? 8 : 1;
  s.octets = octets <= 64 ? 2 : 4;
  int64_t threads = ceil_div(octets, s.octets);  // of the whole row
  if (threads <= 32) {
    s.threads = static_cast<int>(std::bit_ceil(static_cast<uint64_t>(threads)));
    s.rows_per_block = kBlockThreads / s.threads;
    return s;
  }
  // Blocks of 128 to 256 threads, several on a multiprocessor, so that one loads while another reduces; beyond that a
  // cluster of such blocks, then blocks of 512 threads, then eight octets a thread.
  const int64_t wide_block = 256;
  while (s.cluster < max_cluster && threads > wide_block * s.cluster) s.cluster *= 2;
  if (threads > static_cast<int64_t>(kMaxRowThreads) * s.cluster) {
    s.octets = 8;
    threads = ceil_div(octets, s.octets);
  }
  const int64_t in_block = round_up_to_warp(ceil_div(threads, s.cluster));
  if (in_block > kMaxRowThreads) return RowSplit{};
  s.threads = static_cast<int>(in_block);
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
  const int64_t bytes = t.dtype() == DType::i8 ? 8 : 16, size = size_of(t.dtype());
  return t.dim(1) % kOctetElements == 0 && (t.dim(1) <= 1 || t.stride(1) == 1) &&
         (t.dim(0) <= 1 || t.stride(0) * size % bytes == 0) && reinterpret_cast<uintptr_t>(t.data()) % static_cast<uintptr_t>(bytes) == 0;
}

bool parameter_aligned(const ConstTensor& t) {
  return !t || ((t.dim(0) <= 1 || t.stride(0) == 1) && reinterpret_cast<uintptr_t>(t.data()) % 16 == 0);
}

}  // namespace octavo::cuda
