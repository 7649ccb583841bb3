// quantize_rows on CUDA: amax of the row, then its codes by core/quantizer.h, bit for bit as on the CPU.
// Bound by memory: x is read once, codes are written once; the row waits for its amax in registers (row_columns.cuh).
#include "cuda/row_columns.cuh"
#include "cuda/row_statistics.cuh"
#include "ops/quantize_rows/quantize_rows_cuda.h"

namespace octavo {
namespace {

using namespace cuda;

template <class T>
struct QuantizeRows {
  const T* x;                                                // [rows, width]
  int8_t* codes;                                             // [rows, width], zeros up to padded_width
  float* scale;                                              // [rows]
  int32_t* code_sum;                                         // [rows], or null
  int64_t x_stride, codes_stride, scale_stride, sum_stride;  // elements
  int64_t rows;
  int width, padded_width;
};

template <class T>
__device__ __forceinline__ void zero_padding(const QuantizeRows<T>& p, const RowPlace& at) {
  if (!at.exists) return;
  for (int i = p.width + at.first; i < p.padded_width; i += at.step) p.codes[at.row * p.codes_stride + i] = 0;
}

__device__ __forceinline__ int sum_of(uint2 codes) {
  return __dp4a(static_cast<int>(codes.x), 0x01010101, __dp4a(static_cast<int>(codes.y), 0x01010101, 0));
}

// Two blocks of 512 threads on a multiprocessor; a cluster's only where there are clusters (sm_80 would spill).
constexpr int least_blocks(RowSpan span) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
  return span == RowSpan::block ? 2 : 1;
#else
  return span == RowSpan::lanes ? 1 : 2;
#endif
}

template <class T, RowSpan kSpan, int kBytes>
__global__ void __launch_bounds__(kMaxRowThreads, least_blocks(kSpan))
    quantize_rows_in_registers(const __grid_constant__ QuantizeRows<T> p) {
  __shared__ StatisticsScratch scratch[2];
  const PackedColumns<T, kSpan, kBytes> columns(p.rows, p.width);
  constexpr int kOctets = PackedColumns<T, kSpan, kBytes>::kOctets;
  const int64_t row = columns.row;
  if constexpr (kSpan == RowSpan::cluster) arrive_at_peers(scratch, 2);
  ptx::grid_dependency_release();
  ptx::grid_dependency_wait();

  RawOctet<T> x[kOctets];
  load_packed(x, p.x + row * p.x_stride, columns);
  RowStatistics mine;
#pragma unroll
  for (int i = 0; i < kOctets; ++i) {
    float v[kOctet];
    unpack(x[i], v);
#pragma unroll
    for (int e = 0; e < kOctet; ++e) mine.second = ptx::largest_magnitude(mine.second, v[e]);
  }
  if constexpr (kSpan == RowSpan::cluster) wait_for_peers();
  const RowCoding coding = row_coding(over_row<kSpan, Second::peak>(mine, scratch[0]).second);

  int sum = 0;
#pragma unroll
  for (int i = 0; i < kOctets; ++i) {
    float v[kOctet];
    unpack(x[i], v);
    const uint2 codes = codes_of(v, coding.inverse);
    if (columns.has(i)) store_codes(p.codes + row * p.codes_stride + columns.column(i), codes);
    sum += sum_of(codes);
  }
  if (columns.is_first()) p.scale[row * p.scale_stride] = coding.scale;
  if (p.padded_width > p.width && columns.in_first_block())
    zero_padding(p, {row, true, static_cast<int>(threadIdx.x), static_cast<int>(blockDim.x)});
  if (p.code_sum) {
    // NOTE: exact: rows that fit have fewer than 2^24 / 127 elements.
    const RowStatistics all =
        over_row<kSpan, Second::unused>(RowStatistics{static_cast<float>(sum), 0.0f}, scratch[1]);
    if (columns.is_first()) p.code_sum[row * p.sum_stride] = static_cast<int32_t>(all.sum);
  }
}

template <class T>
__global__ void __launch_bounds__(kMaxRowThreads)
    quantize_rows_in_loops(const __grid_constant__ QuantizeRows<T> p) {
  __shared__ ReduceScratch amax_scratch, sum_scratch;
  const RowPlace at = row_place(p.rows);
  ptx::grid_dependency_release();
  ptx::grid_dependency_wait();
  const int end = at.exists ? p.width : 0;
  const T* x = p.x + at.row * p.x_stride;
  int8_t* codes = p.codes + at.row * p.codes_stride;

  uint32_t bits = 0;
#pragma unroll 8
  for (int i = at.first; i < end; i += at.step) bits = max(bits, magnitude_bits(load_element(x + i)));
  const RowCoding coding =
      row_coding(__uint_as_float(reduce_row<MaxBits, RowSpan::block>(bits, amax_scratch)));

  int sum = 0;
#pragma unroll 8
  for (int i = at.first; i < end; i += at.step) {
    const int8_t code = quantize(load_element(x + i), coding.inverse);
    codes[i] = code;
    sum += code;
  }
  zero_padding(p, at);
  const bool writes = at.exists && at.first == 0;
  if (writes) p.scale[at.row * p.scale_stride] = coding.scale;
  if (p.code_sum) {
    sum = reduce_row<IntSum, RowSpan::block>(sum, sum_scratch);
    if (writes) p.code_sum[at.row * p.sum_stride] = sum;
  }
}

template <class T>
QuantizeRows<T> rows_of(const QuantizeRowsArgs& a) {
  return {.x = static_cast<const T*>(a.x.data()),
          .codes = static_cast<int8_t*>(a.codes.data()),
          .scale = static_cast<float*>(a.scale.data()),
          .code_sum = static_cast<int32_t*>(a.code_sum.data()),
          .x_stride = row_stride(a.x),
          .codes_stride = row_stride(a.codes),
          .scale_stride = row_stride(a.scale),
          .sum_stride = row_stride(a.code_sum),
          .rows = a.x.dim(0),
          .width = static_cast<int>(a.x.dim(1)),
          .padded_width = static_cast<int>(a.padded_width)};
}

}  // namespace

// 64 bytes a thread in one block, 128 where that would take a cluster.
static int bytes_per_thread(int64_t width, DType dtype, const DeviceFacts& facts) {
  const RowSplit split = split_packed_row(width, dtype, facts);
  return split.cluster == 1 && split.threads > 0 ? kRowBytes : kWideRowBytes;
}

bool quantize_rows_fits_registers(const QuantizeRowsArgs& a, const DeviceFacts& facts) {
  const int bytes = bytes_per_thread(a.x.dim(1), a.x.dtype(), facts);
  return split_packed_row(a.x.dim(1), a.x.dtype(), facts, bytes).threads > 0 && octets_aligned(a.x) &&
         octets_aligned(a.codes);
}

void quantize_rows_registers(const Context& ctx, const QuantizeRowsArgs& a) {
  if (a.x.dim(0) == 0) return;
  const int bytes = bytes_per_thread(a.x.dim(1), a.x.dtype(), *ctx.facts);
  const RowSplit split = split_packed_row(a.x.dim(1), a.x.dtype(), *ctx.facts, bytes);
  const LaunchShape shape = shape_of_rows("quantize_rows_in_registers", split, a.x.dim(0));
  with_float_type(a.x.dtype(), [&]<class T>(T) {
    const QuantizeRows<T> rows = rows_of<T>(a);
    if (split.cluster > 1)
      launch(ctx, shape, quantize_rows_in_registers<T, RowSpan::cluster, kWideRowBytes>, rows);
    else if (bytes == kWideRowBytes)
      launch(ctx, shape, quantize_rows_in_registers<T, RowSpan::block, kWideRowBytes>, rows);
    else if (split.threads > 32)
      launch(ctx, shape, quantize_rows_in_registers<T, RowSpan::block, kRowBytes>, rows);
    else
      launch(ctx, shape, quantize_rows_in_registers<T, RowSpan::lanes, kRowBytes>, rows);
  });
}

void quantize_rows_loop(const Context& ctx, const QuantizeRowsArgs& a) {
  if (a.x.dim(0) == 0) return;
  const LaunchShape shape = shape_of_rows("quantize_rows_in_loops", split_loop(a.x.dim(1)), a.x.dim(0));
  with_float_type(a.x.dtype(),
                  [&]<class T>(T) { launch(ctx, shape, quantize_rows_in_loops<T>, rows_of<T>(a)); });
}

}  // namespace octavo
