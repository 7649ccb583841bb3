// Rows that stay in registers: which columns a thread has. A row is spread over lanes of a warp, warps of a block, or on
// sm_90 blocks of a cluster (split_packed_row); a thread has kRowBytes of it, or kWideRowBytes, asked for in one go.
#pragma once
#include "cuda/ptx/cluster.cuh"
#include "cuda/rows.cuh"

namespace octavo::cuda {

// The octets of a thread that has kBytes of a row of T. Of a row over warps, each warp has 32 * kOctets in a piece, so that
// a thread's addresses differ by constants.
template <class T, RowSpan kSpan, int kBytes = kRowBytes>
struct PackedColumns {
  static constexpr int kOctets = kBytes / (kOctet * static_cast<int>(sizeof(T)));
  int64_t row;
  bool
      exists;  // the last block of narrow rows may have some to spare; their threads only take part in reductions
  int first, width;

  __device__ __forceinline__ PackedColumns(int64_t rows, int width_) : width(width_) {
    const int thread = static_cast<int>(threadIdx.x);
    if constexpr (kSpan == RowSpan::lanes) {
      const RowPlace at = row_place(rows);
      row = at.row, exists = at.exists, first = thread * kOctet;
    } else {
      row = ptx::cluster_index(), exists = true;
      first = (thread / 32 * (32 * kOctets) + thread % 32) * kOctet;
      if constexpr (kSpan == RowSpan::cluster)
        first += static_cast<int>(ptx::cluster_rank() * blockDim.x) * (kOctets * kOctet);
    }
  }
  // This thread's number in the block, and how many there are.
  __device__ __forceinline__ static int thread() {
    return static_cast<int>(kSpan == RowSpan::lanes ? threadIdx.y * blockDim.x + threadIdx.x : threadIdx.x);
  }
  __device__ __forceinline__ static int threads() {
    return static_cast<int>(kSpan == RowSpan::lanes ? blockDim.x * blockDim.y : blockDim.x);
  }
  // Octet i of this thread begins at column(i), that is so many elements after `first`.
  __device__ __forceinline__ int apart(int i) const {
    return i * kOctet * (kSpan == RowSpan::lanes ? static_cast<int>(blockDim.x) : 32);
  }
  __device__ __forceinline__ int column(int i) const { return first + apart(i); }
  __device__ __forceinline__ bool has(int i) const { return exists && column(i) < width; }
  __device__ __forceinline__ bool is_first() const { return exists && first == 0; }
  __device__ __forceinline__ bool in_first_block() const {
    return exists && (kSpan != RowSpan::cluster || ptx::cluster_rank() == 0);
  }
};

// The octets of this thread of the row at `row`, all in flight together; zeros beyond the width.
template <class T, class Columns>
__device__ __forceinline__ void load_packed(RawOctet<T> (&octet)[Columns::kOctets], const T* row,
                                            const Columns& columns) {
  const T* mine = row + columns.first;
#pragma unroll
  for (int i = 0; i < Columns::kOctets; ++i) {
    octet[i] = {};
    if (columns.has(i)) octet[i] = load_octet(mine + columns.apart(i));
  }
}

}  // namespace octavo::cuda
