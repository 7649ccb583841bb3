// How a row of a tensor is spread over threads: host side of rows.cuh. The split depends on the width and the device
// only, never on the number of rows, so that a row's bits do not depend on its batch.
#pragma once
#include <cstdint>

#include "core/context.h"

namespace octavo::cuda {

inline constexpr int kRowOctets = 4;        // octets (8 elements) of a row in the registers of one thread
inline constexpr int kMaxRowThreads = 512;  // of a block of the row kernels

struct RowSplit {
  int threads = 32;  // of a row in one block
  int rows_per_block = 1;
  int cluster = 1;  // blocks of a row

  int64_t grid(int64_t rows) const { return (rows + rows_per_block - 1) / rows_per_block; }
};

// Whether the registers of a block hold such a row: up to 16,384 elements.
bool row_fits_registers(int64_t width);
RowSplit split_row(int64_t width);   // for rows that fit
RowSplit split_loop(int64_t width);  // for rows that are read again and again from the caches

// Rows in registers (row_columns.cuh): so many bytes of a row a thread.
inline constexpr int kRowBytes = 64, kWideRowBytes = 128;
inline constexpr int kMaxRowCluster = 8;  // the largest that every sm_90 device grants
// A block of up to 512 threads; wider rows on sm_90 in clusters of smaller ones. No threads: it does not fit.
RowSplit split_packed_row(int64_t width, DType dtype, const DeviceFacts& facts,
                          int bytes_per_thread = kRowBytes);
bool packed_row_fits(const ConstTensor& t, const DeviceFacts& facts);  // its rows do, and are aligned

// How rows stream through shared memory (row_pipeline.cuh, sm_90).
// Threads of a multiprocessor: with 64 registers each; with 128, for kernels that keep parameters and results in them.
inline constexpr int kMaxStreamThreads = 1024, kFatStreamThreads = 512, kMaxStages = 4;
struct RowStream {
  int threads = 0;         // of a block
  int cluster = 1;         // blocks of a row
  int stages = 0;          // rows in flight or in work
  int64_t slot_bytes = 0;  // shared memory of a block for one row
};
// The split of a row of `inputs` tensors of this dtype; no threads: it does not fit. `cluster` > 0 asks for that one.
RowStream split_stream(int64_t width, DType dtype, int inputs, const DeviceFacts& facts, int threads,
                       int cluster = 0);
// Whether to stream: the device can, and rows are wider than registers hold, or, from least_width on, many.
bool row_streams(int64_t rows, int64_t width, DType dtype, int inputs, const DeviceFacts& facts,
                 int64_t least_width = INT64_MAX);

// Whether the octets of every row start at multiples of 16 bytes (8 for codes): base, row stride and width fit.
// An absent tensor is aligned.
bool octets_aligned(const ConstTensor& t);
// For a parameter [width]: unit stride, aligned, and of a dtype that the register kernels of `dtype` take beside it.
bool parameter_fits(const ConstTensor& t, DType dtype);

}  // namespace octavo::cuda
