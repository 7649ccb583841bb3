// How a row of a tensor is spread over threads: host side of rows.cuh. The split depends on the width and the device
// only, never on the number of rows, so that a row's bits do not depend on its batch.
#pragma once
#include <cstdint>

#include "core/context.h"

namespace octavo::cuda {

inline constexpr int kRowOctets = 4;        // octets (8 elements) of a row in the registers of one thread
inline constexpr int kMaxRowThreads = 512;  // of a block of the row kernels

struct RowSplit {
  int threads = 32;        // of a row in one block
  int rows_per_block = 1;
  int cluster = 1;         // blocks of a row

  int64_t grid(int64_t rows) const { return (rows + rows_per_block - 1) / rows_per_block * cluster; }
};

// Whether the registers of this device hold such a row: up to 16,384 elements, times 8 with clusters.
bool row_fits_registers(int64_t width, const DeviceFacts& facts);
RowSplit split_row(int64_t width);   // for rows that fit
RowSplit split_loop(int64_t width);  // for rows that are read again and again from the caches

// Whether the octets of every row start at multiples of 16 bytes (8 for codes): base, row stride and width fit.
// An absent tensor is aligned.
bool octets_aligned(const ConstTensor& t);
// For a parameter [width]: unit stride, aligned, and of a dtype that the register kernels of `dtype` take beside it.
bool parameter_fits(const ConstTensor& t, DType dtype);

}  // namespace octavo::cuda
