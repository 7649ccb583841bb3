// Layer norm on CUDA:  u = x + residual (rounded, stored);  y = (u - mean) / sqrt(mean((u - mean)^2) + eps) * weight + bias;
// codes of y. Bound by memory: x (and residual) are read once, u, y and codes written once; the row waits on the chip, so the
// variance is taken about the mean at the cost of one barrier. Streaming: as in rms_norm.cu.
#include "cuda/device.h"
#include "cuda/row_pipeline.cuh"
#include "ops/layer_norm/layer_norm_cuda.h"

namespace octavo {
namespace {

using namespace cuda;

template <class T>
struct LayerNormRows {
  const T* x;                 // [rows, width]
  const T* residual;          // [rows, width]
  RowParameter weight, bias;  // [width]; bias may be null
  T* u;                       // [rows, width]
  T* y;                       // [rows, width], or null
  int8_t* codes;              // [rows, width]
  float* scale;               // [rows]
  int64_t x_stride, residual_stride, u_stride, y_stride, codes_stride, scale_stride;  // elements
  int64_t rows;
  int width;
  float eps;
};

__device__ __forceinline__ float rstd_of(float variance, float eps) { return __frsqrt_rn(variance + eps); }

__device__ __forceinline__ float centred_squares(const float (&v)[kOctet], float mean) {
  float d[kOctet];
#pragma unroll
  for (int e = 0; e < kOctet; ++e) d[e] = v[e] - mean;
  return octet_squares(d);
}
__device__ __forceinline__ void normalise(float (&v)[kOctet], float mean, float rstd,
                                          const float (&w)[kOctet], const float (&b)[kOctet]) {
#pragma unroll
  for (int e = 0; e < kOctet; ++e) v[e] = fmaf((v[e] - mean) * rstd, w[e], b[e]);
}

// One row of few: the shortest way from load to store.
template <class T, RowSpan kSpan, bool kResidual, bool kCodes>
__global__ void __launch_bounds__(kMaxRowThreads)
    layer_norm_in_registers(const __grid_constant__ LayerNormRows<T> p) {
  __shared__ ReduceScratch mean_scratch, square_scratch, amax_scratch;
  const Columns columns{row_place(p.rows), p.width};
  const int64_t row = columns.at.row;
  const Mean mean_of(p.width);
  ptx::grid_dependency_release();
  ptx::grid_dependency_wait();

  const RawSlice<T> x = load_raw(p.x + row * p.x_stride, columns);
  RawSlice<T> residual;
  if constexpr (kResidual) residual = load_raw(p.residual + row * p.residual_stride, columns);
  const ParameterSlice<T> weight(p.weight, columns), bias(p.bias, columns);
  RowSlice slice;
  if constexpr (kResidual)
    slice = rounded_sum(x, residual);
  else
    slice = unpack(x);

  float parts[kRowOctets];
#pragma unroll
  for (int i = 0; i < kRowOctets; ++i) parts[i] = octet_sum(slice.value[i]);
  const float mean = mean_of.of(reduce_row<Sum, kSpan>(sum_of(parts), mean_scratch));
#pragma unroll
  for (int i = 0; i < kRowOctets; ++i)
    parts[i] = columns.has(i) ? centred_squares(slice.value[i], mean) : 0.0f;
  const float rstd = rstd_of(mean_of.of(reduce_row<Sum, kSpan>(sum_of(parts), square_scratch)), p.eps);

  if constexpr (kResidual) store(p.u + row * p.u_stride, columns, slice);
#pragma unroll
  for (int i = 0; i < kRowOctets; ++i) {
    float w[kOctet], b[kOctet];
    weight.octet(i, w), bias.octet(i, b);
    normalise(slice.value[i], mean, rstd, w, b);
  }
  if constexpr (kCodes) {
#pragma unroll
    for (int i = 0; i < kRowOctets; ++i)
      if (!columns.has(i))
#pragma unroll
        for (int e = 0; e < kOctet; ++e) slice.value[i][e] = 0.0f;
    const uint32_t amax = reduce_row<MaxBits, kSpan>(largest(slice), amax_scratch);
    store_quantised(p.codes + row * p.codes_stride, p.scale + row * p.scale_stride, columns, slice, amax);
  }
  if (!kCodes || p.y) store(p.y + row * p.y_stride, columns, slice);
}

constexpr int stream_threads(int64_t element_bytes) {
  return element_bytes == 4 ? 384 : kFatStreamThreads;
}  // no spills

// Many rows, and wide ones. The same bits as layer_norm_in_registers.
template <class T, bool kResidual, bool kCodes>
__global__ void __launch_bounds__(stream_threads(sizeof(T)))
    layer_norm_streamed_rows(const __grid_constant__ LayerNormRows<T> p, int stages) {
  constexpr int kReductions = kCodes ? 3 : 2;
  extern __shared__ __align__(128) uint4 slots[];
  __shared__ PipelineShared<kReductions> shared;
  ptx::grid_dependency_release();
  RowPipeline<T, kResidual ? 2 : 1, kReductions> row(shared, slots, p.rows, p.width, stages);
  const Columns& columns = row.columns;
  const Mean mean_of(p.width);
  row.set_source(0, p.x, p.x_stride);
  if constexpr (kResidual) row.set_source(1, p.residual, p.residual_stride);
  ptx::grid_dependency_wait();
  row.start();
  const StreamedParameter<T> weight(p.weight, columns), bias(p.bias, columns);

  for (; row.has_row(); row.next()) {
    row.wait();
    float parts[kRowOctets] = {};
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
      parts[i] = octet_sum(v);
    }
    if constexpr (kResidual) row.written();
    const float mean = mean_of.of(row.template reduce<Sum>(0, sum_of(parts)));
    row.refill();

#pragma unroll
    for (int i = 0; i < kRowOctets; ++i) {
      if (!columns.has(i)) continue;
      float v[kOctet];
      unpack(row.octet(0, i), v);
      parts[i] = centred_squares(v, mean);
    }
    const float rstd = rstd_of(mean_of.of(row.template reduce<Sum>(1, sum_of(parts))), p.eps);

    RowSlice slice{};
#pragma unroll
    for (int i = 0; i < kRowOctets; ++i) {
      if (!columns.has(i)) continue;
      float w[kOctet], b[kOctet];
      unpack(row.octet(0, i), slice.value[i]);
      weight.octet(i, w), bias.octet(i, b);
      normalise(slice.value[i], mean, rstd, w, b);
      if (!kCodes || p.y)
        store_octet(p.y + row.row() * p.y_stride + columns.column(i), pack<T>(slice.value[i]));
    }
    if constexpr (kCodes) {
      const uint32_t amax = row.template reduce<MaxBits>(kReductions - 1, largest(slice));
      store_quantised(p.codes + row.row() * p.codes_stride, p.scale + row.row() * p.scale_stride, columns,
                      slice, amax);
    }
  }
}

// Any width, alignment and stride: element by element, the row read again from the caches instead of kept.
template <class T>
__global__ void __launch_bounds__(kMaxRowThreads)
    layer_norm_in_loops(const __grid_constant__ LayerNormRows<T> p) {
  __shared__ ReduceScratch mean_scratch, square_scratch, amax_scratch;
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
      sum += load_element(u + i);
    }
    x = u;  // each thread reads back only what it wrote itself
  } else {
#pragma unroll 8
    for (int i = at.first; i < end; i += at.step) sum += load_element(x + i);
  }
  const float mean = reduce_row<Sum, RowSpan::block>(sum, mean_scratch) / static_cast<float>(p.width);
  float squares = 0.0f;
#pragma unroll 8
  for (int i = at.first; i < end; i += at.step) {
    const float v = load_element(x + i) - mean;
    squares = fmaf(v, v, squares);
  }
  squares = reduce_row<Sum, RowSpan::block>(squares, square_scratch);
  const float rstd = rstd_of(squares / static_cast<float>(p.width), p.eps);
  const auto normed = [&](int i) {
    const float v = (load_element(x + i) - mean) * rstd, w = load_parameter(p.weight, i);
    return p.bias.data ? fmaf(v, w, load_parameter(p.bias, i)) : v * w;
  };

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
LayerNormRows<T> rows_of(const LayerNormArgs& a) {
  return {.x = static_cast<const T*>(a.x.data()),
          .residual = static_cast<const T*>(a.residual.data()),
          .weight = {a.weight.data(), a.weight.dtype(), a.weight.stride(0)},
          .bias = {a.bias.data(), a.bias.dtype(), row_stride(a.bias)},
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
void launch_in_registers(const Context& ctx, const LaunchShape& shape, const LayerNormRows<T>& rows) {
  if (rows.residual && rows.codes)
    launch(ctx, shape, layer_norm_in_registers<T, kSpan, true, true>, rows);
  else if (rows.residual)
    launch(ctx, shape, layer_norm_in_registers<T, kSpan, true, false>, rows);
  else if (rows.codes)
    launch(ctx, shape, layer_norm_in_registers<T, kSpan, false, true>, rows);
  else
    launch(ctx, shape, layer_norm_in_registers<T, kSpan, false, false>, rows);
}

template <class T>
void launch_streams(const Context& ctx, const RowStream& stream, const LayerNormRows<T>& rows) {
  const auto run = [&](auto kernel) {
    launch_streamed(ctx, "layer_norm_streamed_rows", stream, rows.rows, kernel, rows);
  };
  if (rows.residual && rows.codes)
    run(layer_norm_streamed_rows<T, true, true>);
  else if (rows.residual)
    run(layer_norm_streamed_rows<T, true, false>);
  else if (rows.codes)
    run(layer_norm_streamed_rows<T, false, true>);
  else
    run(layer_norm_streamed_rows<T, false, false>);
}

bool in_octets(const LayerNormArgs& a) {
  return octets_aligned(a.x) && octets_aligned(a.residual) && octets_aligned(a.u) && octets_aligned(a.y) &&
         octets_aligned(a.y_codes) && parameter_fits(a.weight, a.x.dtype()) &&
         parameter_fits(a.bias, a.x.dtype());
}
int inputs_of(const LayerNormArgs& a) { return a.residual ? 2 : 1; }

}  // namespace

bool layer_norm_streams(const LayerNormArgs& a, const DeviceFacts& facts) {
  return in_octets(a) && a.weight.dtype() == a.x.dtype() &&
         row_streams(a.x.dim(0), a.x.dim(1), a.x.dtype(), inputs_of(a), facts,
                     a.residual && !a.y_codes ? INT64_MAX : 0);
}

void layer_norm_streamed(const Context& ctx, const LayerNormArgs& a) {
  layer_norm_with_stream(ctx, a,
                         split_stream(a.x.dim(1), a.x.dtype(), inputs_of(a), device_facts(current_device()),
                                      stream_threads(size_of(a.x.dtype()))));
}

void layer_norm_with_stream(const Context& ctx, const LayerNormArgs& a, const RowStream& stream) {
  if (a.x.numel() == 0) return;
  with_float_type(a.x.dtype(), [&]<class T>(T) { launch_streams<T>(ctx, stream, rows_of<T>(a)); });
}

bool layer_norm_fits_registers(const LayerNormArgs& a, const DeviceFacts&) {
  return row_fits_registers(a.x.dim(1)) && in_octets(a);
}

void layer_norm_registers(const Context& ctx, const LayerNormArgs& a) {
  if (a.x.numel() == 0) return;
  const RowSplit split = split_row(a.x.dim(1));
  const LaunchShape shape = shape_of_rows("layer_norm_in_registers", split, a.x.dim(0));
  with_float_type(a.x.dtype(), [&]<class T>(T) {
    with_span(split, [&](auto span) { launch_in_registers<T, span.value>(ctx, shape, rows_of<T>(a)); });
  });
}

void layer_norm_loop(const Context& ctx, const LayerNormArgs& a) {
  if (a.x.dim(0) == 0) return;
  const LaunchShape shape = shape_of_rows("layer_norm_in_loops", split_loop(a.x.dim(1)), a.x.dim(0));
  with_float_type(a.x.dtype(),
                  [&]<class T>(T) { launch(ctx, shape, layer_norm_in_loops<T>, rows_of<T>(a)); });
}

}  // namespace octavo
