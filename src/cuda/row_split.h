// How a row of a tensor is spread over threads: host side of rows.cuh. The split depends on the width and the device
// only, never on the number of rows, so that a row's bits do not depend on its batch.
#pragma once
#include <cstdint>

#include "core/context.h"

namespace octavo::cuda {

struct RowSplit {
  int octets = 0;          // of a thread: 2, 4 or 8, a template argument of the kernels; 0: the kernel that loops
  int threads = 32;        // of a row in one block
  int rows_per_block = 1;
  int cluster = 1;         // blocks of a row

  int64_t grid(int64_t rows) const { return (rows + rows_per_block - 1) / rows_per_block * cluster; }
};

inline constexpr int kMaxRowThreads = 512;  // of a block of the row kernels

// For rows held in registers; octets = 0 when no split of this device holds such a row, or `aligned` is false.
RowSplit split_row(int64_t width, bool aligned, const DeviceFacts& facts);
// For rows read again and again from the caches.
RowSplit split_loop(int64_t width);

// Whether the octets of every row start at multiples of 16 bytes (8 for codes): base, row stride and width fit.
bool octets_aligned(const ConstTensor& t);
bool parameter_aligned(const ConstTensor& t);  // [width], unit stride

}  // namespace octavo::cuda
