// Layer norm on CUDA:  u = x + residual (rounded, stored);  y = (u - mean) / sqrt(mean((u - mean)^2) + eps) * weight + bias;
// codes of y. Bound by memory: x (and residual) are read once, u, y and codes written once; the row stays in registers, so
// the variance is taken about the mean at no cost. Threads, bytes in flight, order of stores: as in rms_norm.cu.
#include "cuda/launch.h"
#include "cuda/rows.cuh"
#include "ops/layer_norm/layer_norm_cuda.h"

namespace octavo {
namespace {

using namespace cuda;

template <class T>
struct LayerNormRows {
  const T* x;         // [rows, width]
  const T* residual;  // [rows, width]
  RowParameter weight, bias;  // [width]; bias may be null
  T* u;               // [rows, width]
  T* y;               // [rows, width], or null
  int8_t* codes;      // [rows, width]
  float* scale;       // [rows]
  int64_t x_stride, residual_stride, u_stride, y_stride, codes_stride, scale_stride;  // elements
  int64_t rows;
  int width;
  float eps;
};

// Subtracts the mean and returns the sum of squares; what lies beyond the width stays zero.
__device__ __forceinline__ float centre(RowSlice& slice, float mean, const Columns& columns) {
  float sum = 0.0f;
#pragma unroll
  for (int i = 0; i < kRowOctets; ++i) {
    if (!columns.has(i)) continue;
#pragma unroll
    for (int e = 0; e < kOctet; ++e) {
      slice.value[i][e] -= mean;
      sum = fmaf(slice.value[i][e], slice.value[i][e], sum);
    }
  }
  return sum;
}

template <class T, RowSpan kSpan, bool kResidual, bool kCodes>
__global__ void __launch_bounds__(kMaxRowThreads) layer_norm_in_registers(const __grid_constant__ LayerNormRows<T> p) {
  __shared__ ReduceScratch mean_scratch, square_scratch, amax_scratch;
  const Columns columns{row_place<kSpan>(p.rows), p.width};
  const int64_t row = columns.at.row;
  cluster_announce<kSpan>();
  ptx::grid_dependency_release();
  ptx::grid_dependency_wait();

  const RawSlice<T> x = load_raw(p.x + row * p.x_stride, columns);
  RowSlice slice;
  if constexpr (kResidual) {
    const RawSlice<T> residual = load_raw(p.residual + row * p.residual_stride, columns);
    slice = rounded_sum(x, residual);
  } else {
    slice = unpack(x);
  }
  const ParameterSlice<T> weight(p.weight, columns);
  if constexpr (kResidual && kSpan != RowSpan::cluster) store(p.u + row * p.u_stride, columns, slice);

  RawSlice<T> u_octets;  // clusters: u waits, because the barriers wait for stores before them
  cluster_start<kSpan>();
  const float sum = sum_over(slice, [](float v, float all) { return all + v; });
  const float mean = reduce_row<Sum, kSpan>(sum, mean_scratch) / static_cast<float>(p.width);
  if constexpr (kResidual && kSpan == RowSpan::cluster) u_octets = pack_slice<T>(slice);
  const float squares = reduce_row<Sum, kSpan>(centre(slice, mean, columns), square_scratch);
  const float rstd = 1.0f / sqrtf(squares / static_cast<float>(p.width) + p.eps);

  if constexpr (kResidual && kSpan == RowSpan::cluster) store(p.u + row * p.u_stride, columns, u_octets);
  weight.for_each(columns, [&](int i, const float(&w)[kOctet]) {
#pragma unroll
    for (int e = 0; e < kOctet; ++e) slice.value[i][e] = slice.value[i][e] * rstd * w[e];
  });
  if (p.bias.data)
    ParameterSlice<T>(p.bias, columns).for_each(columns, [&](int i, const float(&b)[kOctet]) {
#pragma unroll
      for (int e = 0; e < kOctet; ++e) slice.value[i][e] += b[e];
    });
  if constexpr (kCodes) {
    const uint32_t amax = reduce_row<MaxBits, kSpan>(largest(slice), amax_scratch);
    store_quantised(p.codes + row * p.codes_stride, p.scale + row * p.scale_stride, columns, slice, amax);
  }
  if (!kCodes || p.y) store(p.y + row * p.y_stride, columns, slice);
}

// Any width, alignment and stride: element by element, the row read again from the caches instead of kept.
template <class T>
__global__ void __launch_bounds__(kMaxRowThreads) layer_norm_in_loops(const __grid_constant__ LayerNormRows<T> p) {
  __shared__ ReduceScratch mean_scratch, square_scratch, amax_scratch;
  const RowPlace at = row_place<RowSpan::block>(p.rows);
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
  const float rstd = 1.0f / sqrtf(squares / static_cast<float>(p.width) + p.eps);
  const auto normed = [&](int i) {
    const float v = (load_element(x + i) - mean) * rstd * load_parameter(p.weight, i);
    return p.bias.data ? v + load_parameter(p.bias, i) : v;
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
  if (rows.residual && rows.codes) launch(ctx, shape, layer_norm_in_registers<T, kSpan, true, true>, rows);
  else if (rows.residual) launch(ctx, shape, layer_norm_in_registers<T, kSpan, true, false>, rows);
  else if (rows.codes) launch(ctx, shape, layer_norm_in_registers<T, kSpan, false, true>, rows);
  else launch(ctx, shape, layer_norm_in_registers<T, kSpan, false, false>, rows);
}

}  // namespace

bool layer_norm_fits_registers(const LayerNormArgs& a, const DeviceFacts& facts) {
  return row_fits_registers(a.x.dim(1), facts) && octets_aligned(a.x) && octets_aligned(a.residual) &&
         octets_aligned(a.u) && octets_aligned(a.y) && octets_aligned(a.y_codes) && parameter_fits(a.weight, a.x.dtype()) &&
         parameter_fits(a.bias, a.x.dtype());
}

void layer_norm_registers(const Context& ctx, const LayerNormArgs& a) { layer_norm_with_split(ctx, a, split_row(a.x.dim(1))); }

void layer_norm_with_split(const Context& ctx, const LayerNormArgs& a, const RowSplit& split) {
  if (a.x.numel() == 0) return;
  const LaunchShape shape = shape_of_rows("layer_norm_in_registers", split, a.x.dim(0));
  with_float_type(a.x.dtype(), [&]<class T>(T) {
    with_span(split, [&](auto span) { launch_in_registers<T, span.value>(ctx, shape, rows_of<T>(a)); });
  });
}

void layer_norm_loop(const Context& ctx, const LayerNormArgs& a) {
  if (a.x.dim(0) == 0) return;
  const LaunchShape shape = shape_of_rows("layer_norm_in_loops", split_loop(a.x.dim(1)), a.x.dim(0));
  with_float_type(a.x.dtype(), [&]<class T>(T) { launch(ctx, shape, layer_norm_in_loops<T>, rows_of<T>(a)); });
}

}  // namespace octavo
