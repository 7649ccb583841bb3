// bias + GELU on CUDA:  v = x + bias;  out = v * Phi(v);  codes of out.
// 4 bytes an element in 16 bits leave about 27 instructions an element before the arithmetic, not the memory, is the
// limit (128 lanes a clock, 4.3 TB/s): hence the forms of cuda/activation.cuh.
#include "cuda/activation.cuh"
#include "cuda/device.h"
#include "cuda/elementwise.cuh"
#include "cuda/row_pipeline.cuh"
#include "ops/bias_gelu/bias_gelu_cuda.h"

namespace octavo {
namespace {

using namespace cuda;

template <class T>
struct BiasGeluRows {
  const T* x;                                                // [rows, width]
  RowParameter bias;                                         // [width], or null
  T* out;                                                    // [rows, width], or null
  int8_t* codes;                                             // [rows, width], or null
  float* scale;                                              // [rows]
  int64_t x_stride, out_stride, codes_stride, scale_stride;  // elements
  int64_t rows;
  int width;
};

// From there on two rows a thread share the bias and the addresses: 9 % faster at 16384x8192 (H200); below, more threads
// start the loads sooner: 18 % faster at 512x4096.
constexpr int64_t kSmallElements = 2 << 20;

template <class T, GeluForm kForm>
__device__ __forceinline__ float gelu(float v) {
  return kForm == GeluForm::tanh ? gelu_tanh<T>(v) : gelu_erf<T>(v);
}

template <class T>
__device__ __forceinline__ void load_bias(float (&b)[kOctet], const RowParameter& bias, int column) {
#pragma unroll
  for (int e = 0; e < kOctet; ++e) b[e] = 0.0f;
  if (!bias.data) return;
  if (bias.dtype == DTypeOf<T>::value)
    unpack(load_octet(static_cast<const T*>(bias.data) + column), b);
  else
    unpack(load_octet(static_cast<const float*>(bias.data) + column), b);
}

// x becomes gelu(x + bias).
template <class T, GeluForm kForm>
__device__ __forceinline__ void activate(float (&x)[kOctet], const float (&bias)[kOctet]) {
#pragma unroll
  for (int e = 0; e < kOctet; ++e) x[e] = gelu<T, kForm>(x[e] + bias[e]);
}

template <class T, GeluForm kForm, int kRows>
__global__ void __launch_bounds__(kElementwiseThreads)
    bias_gelu_elementwise(const __grid_constant__ BiasGeluRows<T> p, const __grid_constant__ OctetGrid grid) {
  const OctetPlace at = octet_place(grid);
  ptx::grid_dependency_release();
  ptx::grid_dependency_wait();
  if (!at.exists) return;
  RawOctet<T> raw[kRows];
#pragma unroll
  for (int i = 0; i < kRows; ++i)
    if (at.row + i < p.rows) raw[i] = load_octet(p.x + (at.row + i) * p.x_stride + at.column);
  float bias[kOctet];
  load_bias<T>(bias, p.bias, at.column);
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
    if (at.row + i >= p.rows) break;
    float x[kOctet];
    unpack(raw[i], x);
    activate<T, kForm>(x, bias);
    store_octet(p.out + (at.row + i) * p.out_stride + at.column, pack<T>(x));
  }
}

// The last steps of a row: its scale, codes, and values if wanted.
template <class T>
__device__ __forceinline__ void store_row(const BiasGeluRows<T>& p, const Columns& columns,
                                          const RowSlice& slice, uint32_t amax) {
  const int64_t row = columns.at.row;
  store_quantised(p.codes + row * p.codes_stride, p.scale + row * p.scale_stride, columns, slice, amax);
  if (p.out) store(p.out + row * p.out_stride, columns, slice);
}

template <class T, RowSpan kSpan, GeluForm kForm>
__global__ void __launch_bounds__(kMaxRowThreads)
    bias_gelu_to_codes(const __grid_constant__ BiasGeluRows<T> p) {
  __shared__ ReduceScratch amax_scratch;
  const Columns columns{row_place(p.rows), p.width};
  ptx::grid_dependency_release();
  ptx::grid_dependency_wait();

  const RawSlice<T> x = load_raw(p.x + columns.at.row * p.x_stride, columns);
  const ParameterSlice<T> bias(p.bias, columns);
  RowSlice slice = unpack(x);
#pragma unroll
  for (int i = 0; i < kRowOctets; ++i) {
    if (!columns.has(i)) continue;
    float b[kOctet];
    bias.octet(i, b);
    activate<T, kForm>(slice.value[i], b);
  }
  store_row(p, columns, slice, reduce_row<MaxBits, kSpan>(largest(slice), amax_scratch));
}

// Many rows, and wide ones. The same bits as bias_gelu_to_codes.
template <class T, GeluForm kForm>
__global__ void __launch_bounds__(kFatStreamThreads)
    bias_gelu_streamed_rows(const __grid_constant__ BiasGeluRows<T> p, int stages) {
  extern __shared__ __align__(128) uint4 slots[];
  __shared__ PipelineShared<1> shared;
  ptx::grid_dependency_release();
  RowPipeline<T, 1, 1> row(shared, slots, p.rows, p.width, stages);
  const Columns& columns = row.columns;
  row.set_source(0, p.x, p.x_stride);
  ptx::grid_dependency_wait();
  row.start();
  const StreamedParameter<T> bias(p.bias, columns);

  for (; row.has_row(); row.next()) {
    row.wait();
    RowSlice slice{};
#pragma unroll
    for (int i = 0; i < kRowOctets; ++i) {
      if (!columns.has(i)) continue;
      float b[kOctet];
      unpack(row.octet(0, i), slice.value[i]);
      bias.octet(i, b);
      activate<T, kForm>(slice.value[i], b);
    }
    const uint32_t amax = row.template reduce<MaxBits>(0, largest(slice));
    row.refill();
    store_row(p, columns, slice, amax);
  }
}

// Any strides.
template <class T>
__global__ void __launch_bounds__(kMaxRowThreads)
    bias_gelu_in_loops(const __grid_constant__ BiasGeluRows<T> p, GeluForm form) {
  __shared__ ReduceScratch amax_scratch;
  const RowPlace at = row_place(p.rows);
  ptx::grid_dependency_release();
  ptx::grid_dependency_wait();
  const int end = at.exists ? p.width : 0;
  const auto activated = [&](int i) {
    float v = load_element(p.x + at.row * p.x_stride + i);
    if (p.bias.data) v += load_parameter(p.bias, i);
    return form == GeluForm::tanh ? gelu<float, GeluForm::tanh>(v) : gelu<float, GeluForm::erf>(v);
  };
  RowCoding coding{};
  if (p.codes) {
    uint32_t bits = 0;
#pragma unroll 4
    for (int i = at.first; i < end; i += at.step) bits = max(bits, magnitude_bits(activated(i)));
    coding = row_coding(__uint_as_float(reduce_row<MaxBits, RowSpan::block>(bits, amax_scratch)));
    if (at.exists && at.first == 0) p.scale[at.row * p.scale_stride] = coding.scale;
  }
#pragma unroll 4
  for (int i = at.first; i < end; i += at.step) {
    const float v = activated(i);
    if (p.codes) p.codes[at.row * p.codes_stride + i] = quantize(v, coding.inverse);
    if (p.out) store_element(p.out + at.row * p.out_stride + i, v);
  }
}

template <class T>
BiasGeluRows<T> rows_of(const BiasGeluArgs& a) {
  return {.x = static_cast<const T*>(a.x.data()),
          .bias = {a.bias.data(), a.bias.dtype(), row_stride(a.bias)},
          .out = static_cast<T*>(a.out.data()),
          .codes = static_cast<int8_t*>(a.out_codes.data()),
          .scale = static_cast<float*>(a.out_scale.data()),
          .x_stride = row_stride(a.x),
          .out_stride = row_stride(a.out),
          .codes_stride = row_stride(a.out_codes),
          .scale_stride = row_stride(a.out_scale),
          .rows = a.x.dim(0),
          .width = static_cast<int>(a.x.dim(1))};
}

template <class T, GeluForm kForm>
void launch_octets(const Context& ctx, const BiasGeluArgs& a) {
  const int64_t rows = a.x.dim(0), width = a.x.dim(1);
  if (!a.out_codes) {
    if (rows * width <= kSmallElements) {
      const OctetGrid grid(rows, width);
      return launch(ctx, grid.shape("bias_gelu_elementwise"), bias_gelu_elementwise<T, kForm, 1>,
                    rows_of<T>(a), grid);
    }
    const OctetGrid grid(rows, width, 2, 128);
    return launch(ctx, grid.shape("bias_gelu_elementwise"), bias_gelu_elementwise<T, kForm, 2>, rows_of<T>(a),
                  grid);
  }
  const RowSplit split = split_row(width);
  with_span(split, [&](auto span) {
    launch(ctx, shape_of_rows("bias_gelu_to_codes", split, rows), bias_gelu_to_codes<T, span.value, kForm>,
           rows_of<T>(a));
  });
}

template <class T, GeluForm kForm>
void launch_streams(const Context& ctx, const BiasGeluArgs& a) {
  const RowStream stream =
      split_stream(a.x.dim(1), a.x.dtype(), 1, device_facts(current_device()), kFatStreamThreads);
  launch_streamed(ctx, "bias_gelu_streamed_rows", stream, a.x.dim(0), bias_gelu_streamed_rows<T, kForm>,
                  rows_of<T>(a));
}

bool in_octets(const BiasGeluArgs& a) {
  return octets_aligned(a.x) && octets_aligned(a.out) && octets_aligned(a.out_codes) &&
         parameter_fits(a.bias, a.x.dtype()) && a.x.dim(1) > 0;
}

}  // namespace

bool bias_gelu_streams(const BiasGeluArgs& a, const DeviceFacts& facts) {
  return a.out_codes && in_octets(a) && (!a.bias || a.bias.dtype() == a.x.dtype()) &&
         row_streams(a.x.dim(0), a.x.dim(1), a.x.dtype(), 1, facts);
}

void bias_gelu_streamed(const Context& ctx, const BiasGeluArgs& a) {
  with_float_type(a.x.dtype(), [&]<class T>(T) {
    if (a.form == GeluForm::tanh)
      launch_streams<T, GeluForm::tanh>(ctx, a);
    else
      launch_streams<T, GeluForm::erf>(ctx, a);
  });
}

bool bias_gelu_fits_octets(const BiasGeluArgs& a, const DeviceFacts&) {
  return in_octets(a) && (!a.out_codes || row_fits_registers(a.x.dim(1)));
}

void bias_gelu_octets(const Context& ctx, const BiasGeluArgs& a) {
  if (a.x.dim(0) == 0) return;
  with_float_type(a.x.dtype(), [&]<class T>(T) {
    if (a.form == GeluForm::tanh)
      launch_octets<T, GeluForm::tanh>(ctx, a);
    else
      launch_octets<T, GeluForm::erf>(ctx, a);
  });
}

void bias_gelu_loop(const Context& ctx, const BiasGeluArgs& a) {
  if (a.x.dim(0) == 0) return;
  const LaunchShape shape = shape_of_rows("bias_gelu_in_loops", split_loop(a.x.dim(1)), a.x.dim(0));
  with_float_type(a.x.dtype(),
                  [&]<class T>(T) { launch(ctx, shape, bias_gelu_in_loops<T>, rows_of<T>(a), a.form); });
}

}  // namespace octavo
