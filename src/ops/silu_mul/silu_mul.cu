// SwiGLU's product on CUDA:  out = gate * sigmoid(gate) * up in fp32; codes of out.
// Bound by memory: 6 bytes an element in 16 bits, against about 25 instructions. Without codes a thread has one octet
// (elementwise.cuh); with codes a row waits in registers for its amax (rows.cuh).
#include "cuda/activation.cuh"
#include "cuda/device.h"
#include "cuda/elementwise.cuh"
#include "cuda/row_pipeline.cuh"
#include "ops/silu_mul/silu_mul_cuda.h"

namespace octavo {
namespace {

using namespace cuda;

template <class T>
struct SiluMulRows {
  const T *gate, *up;                                                      // [rows, width]
  T* out;                                                                  // [rows, width], or null
  int8_t* codes;                                                           // [rows, width], or null
  float* scale;                                                            // [rows]
  int64_t gate_stride, up_stride, out_stride, codes_stride, scale_stride;  // elements between rows
  int64_t gate_step, up_step, out_step;                                    // elements between columns
  int64_t rows;
  int width;
};

// gate becomes the product.
template <class T>
__device__ __forceinline__ void multiply(float (&gate)[kOctet], const float (&up)[kOctet]) {
#pragma unroll
  for (int e = 0; e < kOctet; ++e) gate[e] = cuda::silu_mul<T>(gate[e], up[e]);
}

// Gate and up of one octet of outputs.
template <class T, bool kInterleaved>
struct RawPair {
  RawOctet<T> first, second;  // gate and up, or g0 u0 .. g3 u3 and g4 u4 .. g7 u7

  __device__ __forceinline__ void load(const SiluMulRows<T>& p, int64_t row, int column) {
    if constexpr (kInterleaved) {
      const T* pairs = p.gate + row * p.gate_stride + 2 * column;
      first = load_octet(pairs), second = load_octet(pairs + kOctet);
    } else {
      first = load_octet(p.gate + row * p.gate_stride + column),
      second = load_octet(p.up + row * p.up_stride + column);
    }
  }
  __device__ __forceinline__ void product(float (&out)[kOctet]) const {
    float a[kOctet], b[kOctet];
    unpack(first, a), unpack(second, b);
    if constexpr (kInterleaved) {
      float up[kOctet];
#pragma unroll
      for (int e = 0; e < kOctet / 2; ++e) {
        out[e] = a[2 * e], up[e] = a[2 * e + 1];
        out[4 + e] = b[2 * e], up[4 + e] = b[2 * e + 1];
      }
      multiply<T>(out, up);
    } else {
#pragma unroll
      for (int e = 0; e < kOctet; ++e) out[e] = a[e];
      multiply<T>(out, b);
    }
  }
};

template <class T, bool kInterleaved>
__global__ void __launch_bounds__(kElementwiseThreads)
    silu_mul_elementwise(const __grid_constant__ SiluMulRows<T> p, const __grid_constant__ OctetGrid grid) {
  const OctetPlace at = octet_place(grid);
  ptx::grid_dependency_release();
  ptx::grid_dependency_wait();
  if (!at.exists) return;
  RawPair<T, kInterleaved> raw;
  raw.load(p, at.row, at.column);
  float out[kOctet];
  raw.product(out);
  store_octet(p.out + at.row * p.out_stride + at.column, pack<T>(out));
}

// The last steps of a row: its scale, codes, and values if wanted.
template <class T>
__device__ __forceinline__ void store_row(const SiluMulRows<T>& p, const Columns& columns,
                                          const RowSlice& slice, uint32_t amax) {
  const int64_t row = columns.at.row;
  store_quantised(p.codes + row * p.codes_stride, p.scale + row * p.scale_stride, columns, slice, amax);
  if (p.out) store(p.out + row * p.out_stride, columns, slice);
}

template <class T, RowSpan kSpan, bool kInterleaved>
__global__ void __launch_bounds__(kMaxRowThreads)
    silu_mul_to_codes(const __grid_constant__ SiluMulRows<T> p) {
  __shared__ ReduceScratch amax_scratch;
  const Columns columns{row_place(p.rows), p.width};
  ptx::grid_dependency_release();
  ptx::grid_dependency_wait();

  RawPair<T, kInterleaved> raw[kRowOctets];
#pragma unroll
  for (int i = 0; i < kRowOctets; ++i) {
    raw[i] = {};
    if (columns.has(i)) raw[i].load(p, columns.at.row, columns.column(i));
  }
  RowSlice slice;
#pragma unroll
  for (int i = 0; i < kRowOctets; ++i) raw[i].product(slice.value[i]);
  store_row(p, columns, slice, reduce_row<MaxBits, kSpan>(largest(slice), amax_scratch));
}

// Many rows, and wide ones, gate and up apart. The same bits as silu_mul_to_codes.
template <class T>
__global__ void __launch_bounds__(kMaxStreamThreads)
    silu_mul_streamed_rows(const __grid_constant__ SiluMulRows<T> p, int stages) {
  extern __shared__ __align__(128) uint4 slots[];
  __shared__ PipelineShared<1> shared;
  ptx::grid_dependency_release();
  RowPipeline<T, 2, 1> row(shared, slots, p.rows, p.width, stages);
  const Columns& columns = row.columns;
  row.set_source(0, p.gate, p.gate_stride), row.set_source(1, p.up, p.up_stride);
  ptx::grid_dependency_wait();
  row.start();

  for (; row.has_row(); row.next()) {
    row.wait();
    RowSlice slice{};
#pragma unroll
    for (int i = 0; i < kRowOctets; ++i)
      if (columns.has(i)) RawPair<T, false>{row.octet(0, i), row.octet(1, i)}.product(slice.value[i]);
    const uint32_t amax = row.template reduce<MaxBits>(0, largest(slice));
    row.refill();
    store_row(p, columns, slice, amax);
  }
}

// Any strides.
template <class T>
__global__ void __launch_bounds__(kMaxRowThreads)
    silu_mul_in_loops(const __grid_constant__ SiluMulRows<T> p) {
  __shared__ ReduceScratch amax_scratch;
  const RowPlace at = row_place(p.rows);
  ptx::grid_dependency_release();
  ptx::grid_dependency_wait();
  const int end = at.exists ? p.width : 0;
  const auto product = [&](int i) {
    return cuda::silu_mul<float>(load_element(p.gate + at.row * p.gate_stride + i * p.gate_step),
                                 load_element(p.up + at.row * p.up_stride + i * p.up_step));
  };
  RowCoding coding{};
  if (p.codes) {
    uint32_t bits = 0;
#pragma unroll 4
    for (int i = at.first; i < end; i += at.step) bits = max(bits, magnitude_bits(product(i)));
    coding = row_coding(__uint_as_float(reduce_row<MaxBits, RowSpan::block>(bits, amax_scratch)));
    if (at.exists && at.first == 0) p.scale[at.row * p.scale_stride] = coding.scale;
  }
#pragma unroll 4
  for (int i = at.first; i < end; i += at.step) {
    const float v = product(i);
    if (p.codes) p.codes[at.row * p.codes_stride + i] = quantize(v, coding.inverse);
    if (p.out) store_element(p.out + at.row * p.out_stride + i * p.out_step, v);
  }
}

template <class T>
SiluMulRows<T> rows_of(const SiluMulArgs& a) {
  const auto step = [](const ConstTensor& t) { return t ? t.stride(1) : 1; };
  return {.gate = static_cast<const T*>(a.gate.data()),
          .up = static_cast<const T*>(a.up.data()),
          .out = static_cast<T*>(a.out.data()),
          .codes = static_cast<int8_t*>(a.out_codes.data()),
          .scale = static_cast<float*>(a.out_scale.data()),
          .gate_stride = row_stride(a.gate),
          .up_stride = row_stride(a.up),
          .out_stride = row_stride(a.out),
          .codes_stride = row_stride(a.out_codes),
          .scale_stride = row_stride(a.out_scale),
          .gate_step = step(a.gate),
          .up_step = step(a.up),
          .out_step = step(a.out),
          .rows = a.gate.dim(0),
          .width = static_cast<int>(a.gate.dim(1))};
}

// g0 u0 g1 u1 ...: up starts one element after gate, both step by two.
bool interleaved(const SiluMulArgs& a) {
  const auto* gate = static_cast<const char*>(a.gate.data());
  const int64_t size = size_of(a.gate.dtype());
  return a.gate.stride(1) == 2 && a.up.stride(1) == 2 && a.gate.stride(0) == a.up.stride(0) &&
         static_cast<const char*>(a.up.data()) == gate + size && a.gate.dim(1) % kOctet == 0 &&
         (a.gate.dim(0) <= 1 || a.gate.stride(0) * size % 16 == 0) &&
         reinterpret_cast<uintptr_t>(gate) % 16 == 0;
}

template <class T, bool kInterleaved>
void launch_octets(const Context& ctx, const SiluMulArgs& a) {
  const int64_t rows = a.gate.dim(0), width = a.gate.dim(1);
  if (!a.out_codes) {
    const OctetGrid grid(rows, width);
    return launch(ctx, grid.shape("silu_mul_elementwise"), silu_mul_elementwise<T, kInterleaved>,
                  rows_of<T>(a), grid);
  }
  const RowSplit split = split_row(width);
  with_span(split, [&](auto span) {
    launch(ctx, shape_of_rows("silu_mul_to_codes", split, rows),
           silu_mul_to_codes<T, span.value, kInterleaved>, rows_of<T>(a));
  });
}

}  // namespace

bool silu_mul_streams(const SiluMulArgs& a, const DeviceFacts& facts) {
  return a.out_codes && octets_aligned(a.out) && octets_aligned(a.out_codes) && octets_aligned(a.gate) &&
         octets_aligned(a.up) && row_streams(a.gate.dim(0), a.gate.dim(1), a.gate.dtype(), 2, facts);
}

void silu_mul_streamed(const Context& ctx, const SiluMulArgs& a) {
  const RowStream stream =
      split_stream(a.gate.dim(1), a.gate.dtype(), 2, device_facts(current_device()), kMaxStreamThreads);
  with_float_type(a.gate.dtype(), [&]<class T>(T) {
    launch_streamed(ctx, "silu_mul_streamed_rows", stream, a.gate.dim(0), silu_mul_streamed_rows<T>,
                    rows_of<T>(a));
  });
}

bool silu_mul_fits_octets(const SiluMulArgs& a, const DeviceFacts&) {
  return octets_aligned(a.out) && octets_aligned(a.out_codes) &&
         (interleaved(a) || (octets_aligned(a.gate) && octets_aligned(a.up))) &&
         (!a.out_codes || row_fits_registers(a.gate.dim(1)));
}

void silu_mul_octets(const Context& ctx, const SiluMulArgs& a) {
  if (a.gate.numel() == 0) return silu_mul_loop(ctx, a);  // rows without columns still have scales
  with_float_type(a.gate.dtype(), [&]<class T>(T) {
    if (interleaved(a))
      launch_octets<T, true>(ctx, a);
    else
      launch_octets<T, false>(ctx, a);
  });
}

void silu_mul_loop(const Context& ctx, const SiluMulArgs& a) {
  if (a.gate.dim(0) == 0) return;
  const LaunchShape shape = shape_of_rows("silu_mul_in_loops", split_loop(a.gate.dim(1)), a.gate.dim(0));
  with_float_type(a.gate.dtype(),
                  [&]<class T>(T) { launch(ctx, shape, silu_mul_in_loops<T>, rows_of<T>(a)); });
}

}  // namespace octavo
