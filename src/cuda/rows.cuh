// Rows in registers: the steps that the norm and quantisation kernels share. A thread holds kOctets octets of its row as
// floats; octet i of a thread is octet first + i * step of the row, so that neighbouring threads read neighbouring memory.
// Shape of the launch: reduce.cuh. Padding beyond the width holds zeros, which change no sum and no maximum.
#pragma once
#include <cstdint>

#include "core/quantizer.h"
#include "cuda/ptx/grid_dependency.cuh"
#include "cuda/reduce.cuh"
#include "cuda/row_split.h"
#include "cuda/vec.cuh"

namespace octavo::cuda {

// Where this thread stands.
struct RowPlace {
  int64_t row;
  bool exists;   // the last block may have rows to spare; their threads take part in barriers, and read and write nothing
  int first, step;  // octets (rows in registers) or elements (loops)
};

__device__ __forceinline__ RowPlace row_place(int64_t rows) {
  const int ranks = ptx::cluster_size(), rank = ptx::cluster_rank();
  const int64_t row = static_cast<int64_t>(blockIdx.x) / ranks * blockDim.y + threadIdx.y;
  return {row, row < rows, static_cast<int>(rank * blockDim.x + threadIdx.x), static_cast<int>(ranks * blockDim.x)};
}

template <int kOctets>
struct RowSlice {
  float value[kOctets][kOctet];
};

// The columns of a thread: octet i starts at column(i), and exists when it is below width.
template <int kOctets>
struct Columns {
  RowPlace at;
  int width;
  __device__ __forceinline__ int column(int i) const { return (at.first + i * at.step) * kOctet; }
  __device__ __forceinline__ bool has(int i) const { return at.exists && column(i) < width; }
};

// All loads first, then the conversions: kOctets independent loads in flight.
template <class T, int kOctets>
struct RawSlice {
  RawOctet<T> octet[kOctets];
};

template <class T, int kOctets>
__device__ __forceinline__ RawSlice<T, kOctets> load_raw(const T* row, const Columns<kOctets>& columns) {
  RawSlice<T, kOctets> raw;
#pragma unroll
  for (int i = 0; i < kOctets; ++i) {
    raw.octet[i] = {};
    if (columns.has(i)) raw.octet[i] = load_octet(row + columns.column(i));
  }
  return raw;
}

template <class T, int kOctets>
__device__ __forceinline__ RowSlice<kOctets> unpack(const RawSlice<T, kOctets>& raw) {
  RowSlice<kOctets> slice;
#pragma unroll
  for (int i = 0; i < kOctets; ++i) unpack(raw.octet[i], slice.value[i]);
  return slice;
}

template <class T, int kOctets>
__device__ __forceinline__ void store(T* row, const Columns<kOctets>& columns, const RowSlice<kOctets>& slice) {
#pragma unroll
  for (int i = 0; i < kOctets; ++i)
    if (columns.has(i)) store_octet(row + columns.column(i), pack<T>(slice.value[i]));
}

// u = x + residual rounded to T: stored, and what the norm goes on with.
template <class T, int kOctets>
__device__ __forceinline__ void add_residual(RowSlice<kOctets>& slice, const RawSlice<T, kOctets>& residual, T* u,
                                             const Columns<kOctets>& columns) {
#pragma unroll
  for (int i = 0; i < kOctets; ++i) {
    float r[kOctet];
    unpack(residual.octet[i], r);
#pragma unroll
    for (int e = 0; e < kOctet; ++e) slice.value[i][e] += r[e];
    const RawOctet<T> sum = pack<T>(slice.value[i]);
    if (columns.has(i)) store_octet(u + columns.column(i), sum);
    unpack(sum, slice.value[i]);
  }
}

__device__ __forceinline__ uint32_t magnitude_bits(float v) { return __float_as_uint(v) & 0x7fffffffu; }

// Largest magnitude of the slice as bits; NaN counts as largest.
template <int kOctets>
__device__ __forceinline__ uint32_t largest(const RowSlice<kOctets>& slice) {
  uint32_t bits = 0;
#pragma unroll
  for (int i = 0; i < kOctets; ++i)
#pragma unroll
    for (int e = 0; e < kOctet; ++e) bits = max(bits, magnitude_bits(slice.value[i][e]));
  return bits;
}

// Codes and scale of the row whose largest magnitude is amax_bits.
template <int kOctets>
__device__ __forceinline__ void store_quantised(int8_t* codes, float* scale, const Columns<kOctets>& columns,
                                                const RowSlice<kOctets>& slice, uint32_t amax_bits) {
  const RowCoding coding = row_coding(__uint_as_float(amax_bits));
#pragma unroll
  for (int i = 0; i < kOctets; ++i)
    if (columns.has(i)) store_codes(codes + columns.column(i), codes_of(slice.value[i], coding.inverse));
  if (columns.at.exists && columns.at.first == 0) *scale = coding.scale;
}

}  // namespace octavo::cuda
