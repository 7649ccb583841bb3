// quantize_rows on CUDA: amax of the row, then its codes by core/quantizer.h, bit for bit as on the CPU.
// Bound by memory: x is read once, codes are written once; the row waits for its amax in registers, or, where rows are
// many or wide, in shared memory (row_pipeline.cuh).
#include "cuda/device.h"
#include "cuda/row_pipeline.cuh"
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

template <class T, RowSpan kSpan>
__global__ void __launch_bounds__(kMaxRowThreads)
    quantize_rows_in_registers(const __grid_constant__ QuantizeRows<T> p) {
  __shared__ ReduceScratch amax_scratch, sum_scratch;
  const Columns columns{row_place(p.rows), p.width};
  const int64_t row = columns.at.row;
  ptx::grid_dependency_release();
  ptx::grid_dependency_wait();

  const RowSlice slice = unpack(load_raw(p.x + row * p.x_stride, columns));
  const uint32_t amax = reduce_row<MaxBits, kSpan>(largest(slice), amax_scratch);
  store_quantised(p.codes + row * p.codes_stride, p.scale + row * p.scale_stride, columns, slice, amax);
  zero_padding(p, columns.at);
  if (p.code_sum) {
    const float inverse = row_coding(__uint_as_float(amax)).inverse;
    int sum = 0;
#pragma unroll
    for (int i = 0; i < kRowOctets; ++i) sum += sum_of(codes_of(slice.value[i], inverse));
    sum = reduce_row<IntSum, kSpan>(sum, sum_scratch);
    if (columns.at.exists && columns.at.first == 0) p.code_sum[row * p.sum_stride] = sum;
  }
}

// Many rows, and wide ones.
template <class T>
__global__ void __launch_bounds__(kMaxStreamThreads)
    quantize_rows_streamed_rows(const __grid_constant__ QuantizeRows<T> p, int stages) {
  extern __shared__ __align__(128) uint4 slots[];
  __shared__ PipelineShared<2> shared;
  ptx::grid_dependency_release();
  RowPipeline<T, 1, 2> row(shared, slots, p.rows, p.width, stages);
  const Columns& columns = row.columns;
  row.set_source(0, p.x, p.x_stride);
  ptx::grid_dependency_wait();
  row.start();

  for (; row.has_row(); row.next()) {
    row.wait();
    RowSlice slice{};
#pragma unroll
    for (int i = 0; i < kRowOctets; ++i)
      if (columns.has(i)) unpack(row.octet(0, i), slice.value[i]);
    const uint32_t amax = row.template reduce<MaxBits>(0, largest(slice));
    row.refill();
    store_quantised(p.codes + row.row() * p.codes_stride, p.scale + row.row() * p.scale_stride, columns,
                    slice, amax);
    if (columns.at.first < columns.at.step) zero_padding(p, columns.at);  // by the first block of a cluster
    if (p.code_sum) {
      const float inverse = row_coding(__uint_as_float(amax)).inverse;
      int sum = 0;
#pragma unroll
      for (int i = 0; i < kRowOctets; ++i) sum += sum_of(codes_of(slice.value[i], inverse));
      sum = row.template reduce<IntSum>(1, sum);
      if (columns.at.first == 0) p.code_sum[row.row() * p.sum_stride] = sum;
    }
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

bool quantize_rows_streams(const QuantizeRowsArgs& a, const DeviceFacts& facts) {
  return octets_aligned(a.x) && octets_aligned(a.codes) &&
         row_streams(a.x.dim(0), a.x.dim(1), a.x.dtype(), 1, facts);
}

void quantize_rows_streamed(const Context& ctx, const QuantizeRowsArgs& a) {
  quantize_rows_with_stream(
      ctx, a, split_stream(a.x.dim(1), a.x.dtype(), 1, device_facts(current_device()), kMaxStreamThreads));
}

void quantize_rows_with_stream(const Context& ctx, const QuantizeRowsArgs& a, const RowStream& stream) {
  with_float_type(a.x.dtype(), [&]<class T>(T) {
    launch_streamed(ctx, "quantize_rows_streamed_rows", stream, a.x.dim(0), quantize_rows_streamed_rows<T>,
                    rows_of<T>(a));
  });
}

bool quantize_rows_fits_registers(const QuantizeRowsArgs& a, const DeviceFacts&) {
  return row_fits_registers(a.x.dim(1)) && octets_aligned(a.x) && octets_aligned(a.codes);
}

void quantize_rows_registers(const Context& ctx, const QuantizeRowsArgs& a) {
  if (a.x.dim(0) == 0) return;
  const RowSplit split = split_row(a.x.dim(1));
  const LaunchShape shape = shape_of_rows("quantize_rows_in_registers", split, a.x.dim(0));
  with_float_type(a.x.dtype(), [&]<class T>(T) {
    with_span(split, [&](auto span) {
      launch(ctx, shape, quantize_rows_in_registers<T, span.value>, rows_of<T>(a));
    });
  });
}

void quantize_rows_loop(const Context& ctx, const QuantizeRowsArgs& a) {
  if (a.x.dim(0) == 0) return;
  const LaunchShape shape = shape_of_rows("quantize_rows_in_loops", split_loop(a.x.dim(1)), a.x.dim(0));
  with_float_type(a.x.dtype(),
                  [&]<class T>(T) { launch(ctx, shape, quantize_rows_in_loops<T>, rows_of<T>(a)); });
}

}  // namespace octavo
