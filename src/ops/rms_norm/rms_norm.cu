// RMS norm on CUDA:  u = x + residual (rounded, stored);  y = u / sqrt(mean(u^2) + eps) * weight;  codes of y.
// Bound by memory: x (and residual) are read once, u, y and codes written once. HBM of an H200 needs about 16 KB of loads
// in flight on every multiprocessor (2.1 TB/s of reads, 1 us); many rows stream through 190 KB of slots.
#include "cuda/device.h"
#include "cuda/row_pipeline.cuh"
#include "ops/rms_norm/rms_norm_cuda.h"

namespace octavo {
namespace {

using namespace cuda;

template <class T>
struct RmsNormRows {
  const T* x;         // [rows, width]
  const T* residual;  // [rows, width]
  RowParameter weight;
  T* u;           // [rows, width]
  T* y;           // [rows, width], or null
  int8_t* codes;  // [rows, width]
  float* scale;   // [rows]
  int64_t x_stride, residual_stride, u_stride, y_stride, codes_stride, scale_stride;  // elements
  int64_t rows;
  int width;
  float eps;
};

__device__ __forceinline__ float rstd_of(float mean_square, float eps) {
  return __frsqrt_rn(mean_square + eps);
}

__device__ __forceinline__ void scale_octet(float (&v)[kOctet], float rstd, const float (&w)[kOctet]) {
#pragma unroll
  for (int e = 0; e < kOctet; ++e) v[e] = v[e] * rstd * w[e];
}

// One row of few: the shortest way from load to store.
template <class T, RowSpan kSpan, bool kResidual, bool kCodes>
__global__ void __launch_bounds__(kMaxRowThreads)
    rms_norm_in_registers(const __grid_constant__ RmsNormRows<T> p) {
  __shared__ ReduceScratch square_scratch, amax_scratch;
  const Columns columns{row_place(p.rows), p.width};
  const int64_t row = columns.at.row;
  const Mean mean(p.width);
  ptx::grid_dependency_release();
  ptx::grid_dependency_wait();

  const RawSlice<T> x = load_raw(p.x + row * p.x_stride, columns);
  RawSlice<T> residual;
  if constexpr (kResidual) residual = load_raw(p.residual + row * p.residual_stride, columns);
  const ParameterSlice<T> weight(p.weight, columns);
  RowSlice slice;
  if constexpr (kResidual)
    slice = rounded_sum(x, residual);
  else
    slice = unpack(x);

  float squares[kRowOctets];
#pragma unroll
  for (int i = 0; i < kRowOctets; ++i) squares[i] = octet_squares(slice.value[i]);
  const float rstd = rstd_of(mean.of(reduce_row<Sum, kSpan>(sum_of(squares), square_scratch)), p.eps);

  if constexpr (kResidual) store(p.u + row * p.u_stride, columns, slice);
#pragma unroll
  for (int i = 0; i < kRowOctets; ++i) {
    float w[kOctet];
    weight.octet(i, w);
    scale_octet(slice.value[i], rstd, w);
  }
  if constexpr (kCodes) {
    const uint32_t amax = reduce_row<MaxBits, kSpan>(largest(slice), amax_scratch);
    store_quantised(p.codes + row * p.codes_stride, p.scale + row * p.scale_stride, columns, slice, amax);
  }
  if (!kCodes || p.y) store(p.y + row * p.y_stride, columns, slice);
}

// Many rows, and wide ones. The same bits as rms_norm_in_registers.
template <class T, bool kResidual, bool kCodes>
__global__ void __launch_bounds__(kCodes || sizeof(T) == 4 ? kFatStreamThreads : kMaxStreamThreads)
    rms_norm_streamed_rows(const __grid_constant__ RmsNormRows<T> p, int stages) {
  constexpr int kReductions = kCodes ? 2 : 1;
  extern __shared__ __align__(128) uint4 slots[];
  __shared__ PipelineShared<kReductions> shared;
  ptx::grid_dependency_release();
  RowPipeline<T, kResidual ? 2 : 1, kReductions> row(shared, slots, p.rows, p.width, stages);
  const Columns& columns = row.columns;
  const Mean mean(p.width);
  row.set_source(0, p.x, p.x_stride);
  if constexpr (kResidual) row.set_source(1, p.residual, p.residual_stride);
  ptx::grid_dependency_wait();
  row.start();
  const StreamedParameter<T> weight(p.weight, columns);

  for (; row.has_row(); row.next()) {
    row.wait();
    float squares[kRowOctets] = {};
#pragma unroll
    for (int i = 0; i < kRowOctets; ++i) {
      if (!columns.has(i)) continue;
      float v[kOctet];
      if constexpr (kResidual) {
        const RawOctet<T> u = rounded_sum(row.octet(0, i), row.octet(1, i));
        row.keep(i, u);
        store_octet(p.u + row.row() * p.u_stride + columns.column(i), u);
        unpack(u, v);
      } else {
        unpack(row.octet(0, i), v);
      }
      squares[i] = octet_squares(v);
    }
    if constexpr (kResidual) row.written();
    const float square_sum = row.template reduce<Sum>(0, sum_of(squares));
    row.refill();
    const float rstd = rstd_of(mean.of(square_sum), p.eps);

    RowSlice slice{};
#pragma unroll
    for (int i = 0; i < kRowOctets; ++i) {
      if (!columns.has(i)) continue;
      float w[kOctet];
      unpack(row.octet(0, i), slice.value[i]);
      weight.octet(i, w);
      scale_octet(slice.value[i], rstd, w);
      if (!kCodes || p.y)
        store_octet(p.y + row.row() * p.y_stride + columns.column(i), pack<T>(slice.value[i]));
    }
    if constexpr (kCodes) {
      const uint32_t amax = row.template reduce<MaxBits>(1, largest(slice));
      store_quantised(p.codes + row.row() * p.codes_stride, p.scale + row.row() * p.scale_stride, columns,
                      slice, amax);
    }
  }
}

// Any width, alignment and stride: element by element, the row read again from the caches instead of kept.
template <class T>
__global__ void __launch_bounds__(kMaxRowThreads)
    rms_norm_in_loops(const __grid_constant__ RmsNormRows<T> p) {
  __shared__ ReduceScratch square_scratch, amax_scratch;
  const RowPlace at = row_place(p.rows);
  ptx::grid_dependency_release();
  ptx::grid_dependency_wait();
  const int end = at.exists ? p.width : 0;

  const T* x = p.x + at.row * p.x_stride;
  float sum = 0.0f;
  if (p.residual) {
    const T* residual = p.residual + at.row * p.residual_stride;
    T* u = p.u + at.row * p.u_stride;
    for (int i = at.first; i < end; i += at.step) {
      store_element(u + i, load_element(x + i) + load_element(residual + i));
      const float v = load_element(u + i);
      sum = fmaf(v, v, sum);
    }
    x = u;  // each thread reads back only what it wrote itself
  } else {
#pragma unroll 8
    for (int i = at.first; i < end; i += at.step) {
      const float v = load_element(x + i);
      sum = fmaf(v, v, sum);
    }
  }
  const float mean = reduce_row<Sum, RowSpan::block>(sum, square_scratch) / static_cast<float>(p.width);
  const float rstd = rstd_of(mean, p.eps);
  const auto normed = [&](int i) { return load_element(x + i) * rstd * load_parameter(p.weight, i); };

  RowCoding coding{};
  int8_t* codes = p.codes ? p.codes + at.row * p.codes_stride : nullptr;
  if (p.codes) {
    uint32_t bits = 0;
#pragma unroll 4
    for (int i = at.first; i < end; i += at.step) bits = max(bits, magnitude_bits(normed(i)));
    coding = row_coding(__uint_as_float(reduce_row<MaxBits, RowSpan::block>(bits, amax_scratch)));
    if (at.exists && at.first == 0) p.scale[at.row * p.scale_stride] = coding.scale;
  }
  T* y = p.y ? p.y + at.row * p.y_stride : nullptr;
#pragma unroll 4
  for (int i = at.first; i < end; i += at.step) {
    const float v = normed(i);
    if (codes) codes[i] = quantize(v, coding.inverse);
    if (y) store_element(y + i, v);
  }
}

template <class T>
RmsNormRows<T> rows_of(const RmsNormArgs& a) {
  return {.x = static_cast<const T*>(a.x.data()),
          .residual = static_cast<const T*>(a.residual.data()),
          .weight = {a.weight.data(), a.weight.dtype(), a.weight.stride(0)},
          .u = static_cast<T*>(a.u.data()),
          .y = static_cast<T*>(a.y.data()),
          .codes = static_cast<int8_t*>(a.y_codes.data()),
          .scale = static_cast<float*>(a.y_scale.data()),
          .x_stride = row_stride(a.x),
          .residual_stride = row_stride(a.residual),
          .u_stride = row_stride(a.u),
          .y_stride = row_stride(a.y),
          .codes_stride = row_stride(a.y_codes),
          .scale_stride = row_stride(a.y_scale),
          .rows = a.x.dim(0),
          .width = static_cast<int>(a.x.dim(1)),
          .eps = a.eps};
}

template <class T, RowSpan kSpan>
void launch_in_registers(const Context& ctx, const LaunchShape& shape, const RmsNormRows<T>& rows) {
  if (rows.residual && rows.codes)
    launch(ctx, shape, rms_norm_in_registers<T, kSpan, true, true>, rows);
  else if (rows.residual)
    launch(ctx, shape, rms_norm_in_registers<T, kSpan, true, false>, rows);
  else if (rows.codes)
    launch(ctx, shape, rms_norm_in_registers<T, kSpan, false, true>, rows);
  else
    launch(ctx, shape, rms_norm_in_registers<T, kSpan, false, false>, rows);
}

template <class T>
void launch_streams(const Context& ctx, const RowStream& stream, const RmsNormRows<T>& rows) {
  const auto run = [&](auto kernel) {
    launch_streamed(ctx, "rms_norm_streamed_rows", stream, rows.rows, kernel, rows);
  };
  if (rows.residual && rows.codes)
    run(rms_norm_streamed_rows<T, true, true>);
  else if (rows.residual)
    run(rms_norm_streamed_rows<T, true, false>);
  else if (rows.codes)
    run(rms_norm_streamed_rows<T, false, true>);
  else
    run(rms_norm_streamed_rows<T, false, false>);
}

bool in_octets(const RmsNormArgs& a) {
  return octets_aligned(a.x) && octets_aligned(a.residual) && octets_aligned(a.u) && octets_aligned(a.y) &&
         octets_aligned(a.y_codes) && parameter_fits(a.weight, a.x.dtype());
}
int inputs_of(const RmsNormArgs& a) { return a.residual ? 2 : 1; }

}  // namespace

bool rms_norm_streams(const RmsNormArgs& a, const DeviceFacts& facts) {
  return in_octets(a) && a.weight.dtype() == a.x.dtype() &&
         row_streams(a.x.dim(0), a.x.dim(1), a.x.dtype(), inputs_of(a), facts,
                     a.y_codes && !a.residual ? 4097 : INT64_MAX);
}

static int rms_norm_stream_threads(const RmsNormArgs& a) {
  return a.y_codes || a.x.dtype() == DType::f32 ? kFatStreamThreads : kMaxStreamThreads;
}

void rms_norm_streamed(const Context& ctx, const RmsNormArgs& a) {
  rms_norm_with_stream(ctx, a,
                       split_stream(a.x.dim(1), a.x.dtype(), inputs_of(a), device_facts(current_device()),
                                    rms_norm_stream_threads(a)));
}

void rms_norm_with_stream(const Context& ctx, const RmsNormArgs& a, const RowStream& stream) {
  if (a.x.numel() == 0) return;
  with_float_type(a.x.dtype(), [&]<class T>(T) { launch_streams<T>(ctx, stream, rows_of<T>(a)); });
}

bool rms_norm_fits_registers(const RmsNormArgs& a, const DeviceFacts&) {
  return row_fits_registers(a.x.dim(1)) && in_octets(a);
}

void rms_norm_registers(const Context& ctx, const RmsNormArgs& a) {
  if (a.x.numel() == 0) return;
  const RowSplit split = split_row(a.x.dim(1));
  const LaunchShape shape = shape_of_rows("rms_norm_in_registers", split, a.x.dim(0));
  with_float_type(a.x.dtype(), [&]<class T>(T) {
    with_span(split, [&](auto span) { launch_in_registers<T, span.value>(ctx, shape, rows_of<T>(a)); });
  });
}

void rms_norm_loop(const Context& ctx, const RmsNormArgs& a) {
  if (a.x.dim(0) == 0) return;
  const LaunchShape shape = shape_of_rows("rms_norm_in_loops", split_loop(a.x.dim(1)), a.x.dim(0));
  with_float_type(a.x.dtype(), [&]<class T>(T) { launch(ctx, shape, rms_norm_in_loops<T>, rows_of<T>(a)); });
}

}  // namespace octavo
