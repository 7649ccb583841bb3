// RMS norm on CUDA:  u = x + residual (rounded, stored);  y = u / sqrt(mean(u^2) + eps) * weight;  codes of y.
// Bound by memory: x (and residual) are read once, u, y and codes written once; everything between stays in registers.
// Threads to data: rows.cuh. Bytes in flight: a thread has 2 to 8 loads of 16 bytes outstanding, 512 threads and more a
// multiprocessor, so 32 KB and more; HBM of an H200 needs about 23 KB a multiprocessor (4.3 TB/s, 0.7 us).
#include "cuda/launch.h"
#include "cuda/rows.cuh"
#include "ops/rms_norm/rms_norm_cuda.h"

namespace octavo {
namespace {

using namespace cuda;

template <class T>
struct RmsNormRows {
  const T* x;         // [rows, width]
  const T* residual;  // [rows, width]
  RowParameter weight;
  T* u;               // [rows, width]
  T* y;               // [rows, width], or null
  int8_t* codes;      // [rows, width]
  float* scale;       // [rows]
  int64_t x_stride, residual_stride, u_stride, y_stride, codes_stride, scale_stride;  // elements
  int64_t rows;
  int width;
  float eps;
};

template <int kOctets>
__device__ __forceinline__ float sum_of_squares(const RowSlice<kOctets>& slice) {
  float sum = 0.0f;
#pragma unroll
  for (int i = 0; i < kOctets; ++i)
#pragma unroll
    for (int e = 0; e < kOctet; ++e) sum = fmaf(slice.value[i][e], slice.value[i][e], sum);
  return sum;
}

template <int kOctets>
__device__ __forceinline__ void scale_by_weight(RowSlice<kOctets>& slice, float rstd, const RowParameter& weight,
                                                const Columns<kOctets>& columns) {
#pragma unroll
  for (int i = 0; i < kOctets; ++i) {
    if (!columns.has(i)) continue;
    float w[kOctet];
    load_parameter_octet(weight, columns.column(i), w);
#pragma unroll
    for (int e = 0; e < kOctet; ++e) slice.value[i][e] = slice.value[i][e] * rstd * w[e];
  }
}

template <class T, int kOctets, bool kResidual, bool kCodes>
__global__ void __launch_bounds__(kMaxRowThreads) rms_norm_in_registers(const __grid_constant__ RmsNormRows<T> p) {
  __shared__ ReduceScratch square_scratch, amax_scratch;
  const Columns<kOctets> columns{row_place(p.rows), p.width};
  const int64_t row = columns.at.row;
  cluster_announce();
  ptx::grid_dependency_release();
  ptx::grid_dependency_wait();

  const auto x = load_raw(p.x + row * p.x_stride, columns);
  RowSlice<kOctets> slice;
  if constexpr (kResidual) {
    const auto residual = load_raw(p.residual + row * p.residual_stride, columns);
    slice = unpack(x);
    add_residual(slice, residual, p.u + row * p.u_stride, columns);
  } else {
    slice = unpack(x);
  }

  cluster_start();
  const float mean = reduce_row<Sum>(sum_of_squares(slice), square_scratch) / static_cast<float>(p.width);
  scale_by_weight(slice, 1.0f / sqrtf(mean + p.eps), p.weight, columns);

  if (p.y) store(p.y + row * p.y_stride, columns, slice);
  if constexpr (kCodes) {
    const uint32_t amax = reduce_row<MaxBits>(largest(slice), amax_scratch);
    store_quantised(p.codes + row * p.codes_stride, p.scale + row * p.scale_stride, columns, slice, amax);
  }
}

// Any width, alignment and stride: element by element, the row read again from the caches instead of kept.
template <class T>
__global__ void __launch_bounds__(kMaxRowThreads) rms_norm_in_loops(const __grid_constant__ RmsNormRows<T> p) {
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
  const float mean = reduce_row<Sum>(sum, square_scratch) / static_cast<float>(p.width);
  const float rstd = 1.0f / sqrtf(mean + p.eps);
  const auto normed = [&](int i) { return load_element(x + i) * rstd * load_parameter(p.weight, i); };

  RowCoding coding{};
  int8_t* codes = p.codes ? p.codes + at.row * p.codes_stride : nullptr;
  if (p.codes) {
    uint32_t bits = 0;
#pragma unroll 4
    for (int i = at.first; i < end; i += at.step) bits = max(bits, magnitude_bits(normed(i)));
    coding = row_coding(__uint_as_float(reduce_row<MaxBits>(bits, amax_scratch)));
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
  const auto stride = [](const ConstTensor& t) { return t ? t.stride(0) : 0; };
  return {.x = static_cast<const T*>(a.x.data()),
          .residual = static_cast<const T*>(a.residual.data()),
          .weight = {a.weight.data(), a.weight.dtype(), a.weight.stride(0)},
          .u = static_cast<T*>(a.u.data()),
          .y = static_cast<T*>(a.y.data()),
          .codes = static_cast<int8_t*>(a.y_codes.data()),
          .scale = static_cast<float*>(a.y_scale.data()),
          .x_stride = stride(a.x),
          .residual_stride = stride(a.residual),
          .u_stride = stride(a.u),
          .y_stride = stride(a.y),
          .codes_stride = stride(a.y_codes),
          .scale_stride = stride(a.y_scale),
          .rows = a.x.dim(0),
          .width = static_cast<int>(a.x.dim(1)),
          .eps = a.eps};
}

LaunchShape shape_of(const char* kernel, const RowSplit& s, int64_t rows) {
  return {.kernel = kernel,
          .grid = dim3(static_cast<unsigned>(s.grid(rows))),
          .block = dim3(static_cast<unsigned>(s.threads), static_cast<unsigned>(s.rows_per_block)),
          .cluster = s.cluster,
          .overlap = true};
}

template <class T, int kOctets>
void launch_in_registers(const Context& ctx, const RmsNormArgs& a, const RowSplit& split) {
  const LaunchShape shape = shape_of("rms_norm_in_registers", split, a.x.dim(0));
  const RmsNormRows<T> rows = rows_of<T>(a);
  if (a.residual && a.y_codes) launch(ctx, shape, rms_norm_in_registers<T, kOctets, true, true>, rows);
  else if (a.residual) launch(ctx, shape, rms_norm_in_registers<T, kOctets, true, false>, rows);
  else if (a.y_codes) launch(ctx, shape, rms_norm_in_registers<T, kOctets, false, true>, rows);
  else launch(ctx, shape, rms_norm_in_registers<T, kOctets, false, false>, rows);
}

template <class T>
void launch_for_dtype(const Context& ctx, const RmsNormArgs& a, const RowSplit& split) {
  if (split.octets == 2) launch_in_registers<T, 2>(ctx, a, split);
  else if (split.octets == 4) launch_in_registers<T, 4>(ctx, a, split);
  else launch_in_registers<T, 8>(ctx, a, split);
}

bool all_aligned(const RmsNormArgs& a) {
  return octets_aligned(a.x) && octets_aligned(a.residual) && octets_aligned(a.u) && octets_aligned(a.y) &&
         octets_aligned(a.y_codes) && parameter_aligned(a.weight);
}

}  // namespace

bool rms_norm_fits_registers(const RmsNormArgs& a, const DeviceFacts& facts) {
  return split_row(a.x.dim(1), all_aligned(a), facts).octets > 0;
}

void rms_norm_registers(const Context& ctx, const RmsNormArgs& a) {
  rms_norm_registers(ctx, a, split_row(a.x.dim(1), all_aligned(a), *ctx.facts));
}

void rms_norm_registers(const Context& ctx, const RmsNormArgs& a, const RowSplit& split) {
  if (a.x.numel() == 0) return;
  if (a.x.dtype() == DType::f16) launch_for_dtype<F16>(ctx, a, split);
  else if (a.x.dtype() == DType::bf16) launch_for_dtype<BF16>(ctx, a, split);
  else launch_for_dtype<float>(ctx, a, split);
}

void rms_norm_loop(const Context& ctx, const RmsNormArgs& a) {
  if (a.x.dim(0) == 0) return;
  const LaunchShape shape = shape_of("rms_norm_in_loops", split_loop(a.x.dim(1)), a.x.dim(0));
  if (a.x.dtype() == DType::f16) launch(ctx, shape, rms_norm_in_loops<F16>, rows_of<F16>(a));
  else if (a.x.dtype() == DType::bf16) launch(ctx, shape, rms_norm_in_loops<BF16>, rows_of<BF16>(a));
  else launch(ctx, shape, rms_norm_in_loops<float>, rows_of<float>(a));
}

}  // namespace octavo
