// Rows in registers: the steps that the norm and quantisation kernels share. A thread holds kRowOctets octets of its row
// as floats; octet i of a thread is octet first + i * step of the row, so that neighbouring threads read neighbouring
// memory. Shape of the launch: reduce.cuh. Beyond the width a slice holds zeros, which change no sum and no maximum.
#pragma once
#include <cstdint>

#include "core/quantizer.h"
#include "cuda/launch.h"
#include "cuda/ptx/grid_dependency.cuh"
#include "cuda/reduce.cuh"
#include "cuda/row_split.h"
#include "cuda/vec.cuh"

namespace octavo::cuda {

// Where this thread stands.
struct RowPlace {
  int64_t row;
  bool exists;      // the last block may have rows to spare; their threads only take part in barriers
  int first, step;  // octets (rows in registers) or elements (loops)
};

__device__ __forceinline__ RowPlace row_place(int64_t rows) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
  return {row, row < rows, static_cast<int>(threadIdx.x), static_cast<int>(blockDim.x)};
}

// The columns of a thread: octet i starts at column(i), and exists when it is below width.
struct Columns {
  RowPlace at;
  int width;
  __device__ __forceinline__ int column(int i) const { return (at.first + i * at.step) * kOctet; }
  __device__ __forceinline__ bool has(int i) const { return at.exists && column(i) < width; }
};

struct RowSlice {
  float value[kRowOctets][kOctet];
};
template <class T>
struct RawSlice {
  RawOctet<T> octet[kRowOctets];
};

// Independent loads, all in flight together; converted by unpack once they are needed.
template <class T>
__device__ __forceinline__ RawSlice<T> load_raw(const T* row, const Columns& columns) {
  RawSlice<T> raw;
#pragma unroll
  for (int i = 0; i < kRowOctets; ++i) {
    raw.octet[i] = {};
    if (columns.has(i)) raw.octet[i] = load_octet(row + columns.column(i));
  }
  return raw;
}

template <class T>
__device__ __forceinline__ RowSlice unpack(const RawSlice<T>& raw) {
  RowSlice slice;
#pragma unroll
  for (int i = 0; i < kRowOctets; ++i) unpack(raw.octet[i], slice.value[i]);
  return slice;
}

template <class T>
__device__ __forceinline__ void store(T* row, const Columns& columns, const RowSlice& slice) {
#pragma unroll
  for (int i = 0; i < kRowOctets; ++i)
    if (columns.has(i)) store_octet(row + columns.column(i), pack<T>(slice.value[i]));
}

// x + residual, rounded to T.
template <class T>
__device__ __forceinline__ RawOctet<T> rounded_sum(const RawOctet<T>& x, const RawOctet<T>& residual) {
  float sum[kOctet], r[kOctet];
  unpack(x, sum), unpack(residual, r);
#pragma unroll
  for (int e = 0; e < kOctet; ++e) sum[e] += r[e];
  return pack<T>(sum);
}
template <class T>
__device__ __forceinline__ RowSlice rounded_sum(const RawSlice<T>& x, const RawSlice<T>& residual) {
  RowSlice sum;
#pragma unroll
  for (int i = 0; i < kRowOctets; ++i) unpack(rounded_sum(x.octet[i], residual.octet[i]), sum.value[i]);
  return sum;
}

// The octets of a parameter that belong to a thread, zeros without one. Of T: asked for at once and kept packed; of f32
// beside 16-bit rows: loaded when used.
template <class T>
struct ParameterSlice {
  const RowParameter& parameter;
  const Columns& columns;
  RawSlice<T> early;

  __device__ __forceinline__ ParameterSlice(const RowParameter& p, const Columns& c)
      : parameter(p), columns(c) {
    if constexpr (sizeof(T) == 2) {
#pragma unroll
      for (int i = 0; i < kRowOctets; ++i) {
        early.octet[i] = {};
        if (p.dtype == DTypeOf<T>::value && p.data && columns.has(i))
          early.octet[i] = load_octet(static_cast<const T*>(p.data) + columns.column(i));
      }
    }
  }
  __device__ __forceinline__ void octet(int i, float (&value)[kOctet]) const {
    if constexpr (sizeof(T) == 2) {
      if (parameter.dtype == DTypeOf<T>::value) {
        unpack(early.octet[i], value);
        return;
      }
    }
    RawOctet<float> raw{};
    if (parameter.data && columns.has(i))
      raw = load_octet(static_cast<const float*>(parameter.data) + columns.column(i));
    unpack(raw, value);
  }
};

// A thread's share of a sum over the row, one partial sum an octet: four chains instead of one.
__device__ __forceinline__ float sum_of(const float (&octet)[kRowOctets]) {
  static_assert(kRowOctets == 4);
  return (octet[0] + octet[1]) + (octet[2] + octet[3]);
}
__device__ __forceinline__ float octet_sum(const float (&v)[kOctet]) {
  return ((v[0] + v[1]) + (v[2] + v[3])) + ((v[4] + v[5]) + (v[6] + v[7]));
}
__device__ __forceinline__ float octet_squares(const float (&v)[kOctet]) {
  float sum = 0.0f;
#pragma unroll
  for (int e = 0; e < kOctet; ++e) sum = fmaf(v[e], v[e], sum);
  return sum;
}

// Division by the width: correctly rounded but for rare ties, in 5 instructions on the way from reduction to store.
struct Mean {
  float count, inverse;
  __device__ __forceinline__ explicit Mean(int width)
      : count(static_cast<float>(width)), inverse(1.0f / count) {}
  __device__ __forceinline__ float of(float sum) const {
    const float q = sum * inverse;
    const float corrected = fmaf(fmaf(-q, count, sum), inverse, q);
    return fabsf(q) <= 3.402823466e38f ? corrected : q;  // Inf stays Inf
  }
};

__device__ __forceinline__ uint32_t magnitude_bits(float v) { return __float_as_uint(v) & 0x7fffffffu; }

// Largest magnitude of the slice as bits; NaN counts as largest.
__device__ __forceinline__ uint32_t largest(const RowSlice& slice) {
  uint32_t bits = 0;
#pragma unroll
  for (int i = 0; i < kRowOctets; ++i)
#pragma unroll
    for (int e = 0; e < kOctet; ++e) bits = max(bits, magnitude_bits(slice.value[i][e]));
  return bits;
}

// Codes and scale of the row whose largest magnitude is amax_bits.
__device__ __forceinline__ void store_quantised(int8_t* codes, float* scale, const Columns& columns,
                                                const RowSlice& slice, uint32_t amax_bits) {
  const RowCoding coding = row_coding(__uint_as_float(amax_bits));
#pragma unroll
  for (int i = 0; i < kRowOctets; ++i)
    if (columns.has(i)) store_codes(codes + columns.column(i), codes_of(slice.value[i], coding.inverse));
  if (columns.at.exists && columns.at.first == 0) *scale = coding.scale;
}

// The launch of a kernel over rows; every such kernel waits for its predecessor itself.
inline LaunchShape shape_of_rows(const char* kernel, const RowSplit& split, int64_t rows) {
  return {.kernel = kernel,
          .grid = dim3(static_cast<unsigned>(split.grid(rows) * split.cluster)),
          .block = dim3(static_cast<unsigned>(split.threads), static_cast<unsigned>(split.rows_per_block)),
          .cluster = split.cluster,
          .overlap = true};
}
// The span of a split: run(std::integral_constant<RowSpan, ...>).
template <class Run>
void with_span(const RowSplit& split, const Run& run) {
  if (split.threads > 32)
    run(std::integral_constant<RowSpan, RowSpan::block>{});
  else
    run(std::integral_constant<RowSpan, RowSpan::lanes>{});
}
// The storage type of a float dtype: run(F16{}), run(BF16{}) or run(float{}).
template <class Run>
void with_float_type(DType dtype, const Run& run) {
  if (dtype == DType::f16)
    run(F16{});
  else if (dtype == DType::bf16)
    run(BF16{});
  else
    run(float{});
}
inline int64_t row_stride(const ConstTensor& t) { return t ? t.stride(0) : 0; }

}  // namespace octavo::cuda
