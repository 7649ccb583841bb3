// Elementwise kernels over [rows, width] with a row stride: one octet a thread, blocks in the order of memory.
// One vector a thread and many blocks is what copied fastest on an H200 (4,288 of 4,290 GB/s; more unrolling was slower).
#pragma once
#include <cstdint>

#include "cuda/launch.h"
#include "cuda/ptx/grid_dependency.cuh"
#include "cuda/vec.cuh"

namespace octavo::cuda {

inline constexpr int kElementwiseThreads = 256;

// n / d for 0 <= n < 2^31 by a multiplication (Granlund and Montgomery, PLDI 1994).
struct Divisor {
  uint32_t d = 1, multiplier = 0, shift = 0;

  Divisor() = default;
  explicit Divisor(uint32_t divisor) : d(divisor) {
    while ((uint64_t{1} << shift) < d) ++shift;
    multiplier = static_cast<uint32_t>(((uint64_t{1} << 32) * ((uint64_t{1} << shift) - d)) / d + 1);
  }
  __device__ __forceinline__ uint32_t divide(uint32_t n) const {
    return (__umulhi(n, multiplier) + n) >> shift;
  }
};

// A block is `lanes` octets wide and kElementwiseThreads / lanes threads high; blocks go along the row first. A thread has
// the same octet of rows_per_thread rows, one below the other.
struct OctetGrid {
  int64_t rows = 0;
  int width = 0;
  int lanes = 1, threads = kElementwiseThreads, rows_per_thread = 1;
  Divisor blocks_per_row;

  OctetGrid(int64_t rows_, int64_t width_, int rows_per_thread_ = 1, int threads_ = kElementwiseThreads)
      : rows(rows_), width(static_cast<int>(width_)), threads(threads_), rows_per_thread(rows_per_thread_) {
    const int64_t octets = (width_ + kOctet - 1) / kOctet;
    while (lanes < octets && lanes < threads) lanes *= 2;
    blocks_per_row = Divisor(static_cast<uint32_t>((octets + lanes - 1) / lanes));
  }
  LaunchShape shape(const char* kernel) const {
    const int64_t height = threads / lanes, rows_per_block = height * rows_per_thread;
    return {
        .kernel = kernel,
        .grid = dim3(static_cast<unsigned>((rows + rows_per_block - 1) / rows_per_block * blocks_per_row.d)),
        .block = dim3(static_cast<unsigned>(lanes), static_cast<unsigned>(height)),
        .overlap = true};
  }
};

struct OctetPlace {
  int64_t row;  // the first
  int column;
  bool exists;
};
__device__ __forceinline__ OctetPlace octet_place(const OctetGrid& grid) {
  const uint32_t row_block = grid.blocks_per_row.divide(blockIdx.x);
  const uint32_t column_block = blockIdx.x - row_block * grid.blocks_per_row.d;
  const int64_t row = (static_cast<int64_t>(row_block) * blockDim.y + threadIdx.y) * grid.rows_per_thread;
  const int column = static_cast<int>(column_block * blockDim.x + threadIdx.x) * kOctet;
  return {row, column, row < grid.rows && column < grid.width};
}

// One thread an element, for tensors that no octet fits: element i of rows x width.
inline LaunchShape shape_of_elements(const char* kernel, int64_t elements) {
  const int64_t blocks = (elements + kElementwiseThreads - 1) / kElementwiseThreads;
  constexpr int64_t kMostBlocks = 1 << 20;  // beyond that the threads go round again
  return {.kernel = kernel,
          .grid = dim3(static_cast<unsigned>(blocks < kMostBlocks ? blocks : kMostBlocks)),
          .block = dim3(kElementwiseThreads),
          .overlap = true};
}
__device__ __forceinline__ int64_t first_element() {
  return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}
__device__ __forceinline__ int64_t element_step() { return static_cast<int64_t>(gridDim.x) * blockDim.x; }

}  // namespace octavo::cuda
