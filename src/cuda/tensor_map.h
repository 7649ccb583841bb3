// Tensor maps: what the copy engine of sm_90 (TMA, ptx/tensor_copy.cuh) knows about a matrix in global memory.
#pragma once
#include <cuda.h>

#include <cstdint>

namespace octavo::cuda {

// A matrix of bytes whose rows are `pitch` bytes apart.
struct ByteMatrix {
  const void* data;
  int64_t rows, columns, pitch;
  int l2_fetch_bytes = 256;  // what a miss brings into L2: 128 or 256
};

// Whether the copy engine takes it: base and pitch multiples of 16 bytes, not empty, sizes within its limits.
bool tensor_map_takes(const ByteMatrix& matrix);

// Boxes of box_rows (at most 256) x 128 bytes, which arrive in the 128-byte swizzle: 16-byte part p of row r of a box lies
// in place p ^ (r % 8). Bytes outside the matrix arrive as 0. Throws usage for a matrix that is not taken, no_device
// without a driver that makes tensor maps. Boxes of 64 bytes a row arrive in the 64-byte swizzle: place p ^ (r / 2 % 4).
inline constexpr int kBoxBytes = 128, kNarrowBoxBytes = 64;
CUtensorMap tensor_map_of(const ByteMatrix& matrix, int box_rows, int box_bytes = kBoxBytes);

// A tensor of up to five dimensions, the contiguous one first, and the box that one load takes. The box's first dimension
// is at most 128 bytes; it arrives as rows of that, in the 128-byte swizzle.
struct BoxedTensor {
  const void* data;
  int element_bytes;        // 1 or 2
  int dims;                 // 2 to 5
  int64_t size[5];          // elements
  int64_t stride_bytes[5];  // of dimension i; [0] is not read
  int box[5];
  bool promote =
      true;  // L2 reads 256 bytes for each line: a tenth slower where the next 128 bytes come with a later line
};
bool tensor_map_takes(const BoxedTensor& tensor);
CUtensorMap tensor_map_of(const BoxedTensor& tensor);

}  // namespace octavo::cuda
