// Norms of rows, the body of rms_norm and layer_norm:
//   u = x + residual (rounded, stored);  y = (u - mean) * rstd * weight + bias, without mean and bias for the RMS norm;
//   codes of y.
// x (and residual) are read once, u, y and codes written once: 3 to 8 bytes an element in 16 bits, so at 4.3 TB/s 16 to 42
// instructions an element saturate a multiprocessor of an H200 (128 lanes a clock): without a residual the instructions are
// the limit as much as the memory. Hence one reduction of two numbers, values kept as floats where they are used twice,
// and no branches: threads without columns compute on zeros. A row is in blocks of 256 threads (row_columns.cuh), four on
// a multiprocessor, each in a phase of its own.
#pragma once
#include "cuda/ptx/async_copy.cuh"
#include "cuda/row_columns.cuh"
#include "cuda/row_statistics.cuh"

namespace octavo::cuda {

enum class Norm { rms, layer };

template <class T>
struct NormRows {
  const T* x;                 // [rows, width]
  const T* residual;          // [rows, width], or null
  RowParameter weight, bias;  // [width]; bias may be null
  T* u;                       // [rows, width]
  T* y;                       // [rows, width], or null
  int8_t* codes;              // [rows, width], or null
  float* scale;               // [rows]
  int64_t x_stride, residual_stride, u_stride, y_stride, codes_stride, scale_stride;  // elements
  int64_t rows;
  int width;
  float eps;
};

__device__ __forceinline__ float rstd_of(float mean_square, float eps) {
  return __frsqrt_rn(mean_square + eps);
}
// 127 / peak for the codes of values whose largest magnitude is peak * factor; 0 where row_coding has 0.
__device__ __forceinline__ float inverse_of(float peak, float factor = 1.0f) {
  const float amax = peak * factor;
  return amax >= kSmallestAmax && amax <= 3.402823466e38f ? __fdiv_rn(127.0f, peak) : 0.0f;
}

// Layer norm adds up u - c and (u - c)^2 about a c near the mean, so that rows far from zero keep their variance in one
// pass: c is the middle one of the row's first three elements. Elements k deviations away from the mean cost a factor of
// 1 + k^2 of fp32's precision; since they belong to the row, k^2 is at most width / 2.
template <class T>
__device__ __forceinline__ float shift_of(const RawOctet<T>& first) {
  float v[kOctet];
  unpack(first, v);
  return fmaxf(fminf(v[0], v[1]), fminf(fmaxf(v[0], v[1]), v[2]));
}
struct LayerStatistics {
  float offset, rstd;  // of the mean from c
  __device__ __forceinline__ LayerStatistics(const RowStatistics& s, const Mean& mean, float eps)
      : offset(mean.of(s.sum)) {
    const float variance = mean.of(fmaf(-s.sum, offset, s.second));
    rstd = rstd_of(variance < 0.0f ? 0.0f : variance, eps);  // NaN stays
  }
};

// ---- a row in registers ----------------------------------------------------------------------------------------------

// Where a thread's octets of a parameter wait. A load from L2 takes a microsecond while the memory is busy, so they are
// asked for with the row where there is room for them.
enum class Parameter {
  kept,       // in registers
  staged,     // in shared memory
  when_used,  // nowhere: loaded from the first-level cache
};

template <class T, class Columns, Parameter kPlace>
class NormParameter {
 public:
  // `staged`: shared memory for kOctets octets a thread.
  __device__ __forceinline__ NormParameter(const RowParameter& p, const Columns& columns, uint4* staged)
      : columns_(columns), data_(static_cast<const T*>(p.data)), staged_(staged) {
    if constexpr (kPlace == Parameter::kept) {
#pragma unroll
      for (int i = 0; i < Columns::kOctets; ++i) kept_[i] = load(i);
    } else if constexpr (kPlace == Parameter::staged) {
#pragma unroll
      for (int i = 0; i < Columns::kOctets; ++i) {
        if (!data_ || !columns.has(i)) continue;
        const auto* words = reinterpret_cast<const uint4*>(data_ + columns.column(i));
#pragma unroll
        for (int w = 0; w < kWords; ++w) ptx::copy_async(at(i, w), words + w);
      }
    }
  }
  // Staged: after ptx::wait_for_copies().
  __device__ __forceinline__ void octet(int i, float (&value)[kOctet]) const {
    if constexpr (kPlace == Parameter::kept) {
      unpack(kept_[i], value);
    } else if constexpr (kPlace == Parameter::staged) {
      RawOctet<T> raw{};
      if (data_ &&
          columns_.has(i))  // beyond the width nothing was staged; zeros keep such values out of the maximum
#pragma unroll
        for (int w = 0; w < kWords; ++w) raw.part[w] = *at(i, w);
      unpack(raw, value);
    } else {
      unpack(load(i), value);
    }
  }

 private:
  static constexpr int kWords = sizeof(RawOctet<T>) / sizeof(uint4);
  __device__ __forceinline__ RawOctet<T> load(int i) const {
    RawOctet<T> raw{};
    if (data_ && columns_.has(i)) raw = load_octet(data_ + columns_.column(i));
    return raw;
  }
  __device__ __forceinline__ uint4* at(int i, int w) const {
    return staged_ + Columns::thread() + (i * kWords + w) * Columns::threads();
  }
  const Columns& columns_;
  const T* data_;
  uint4* staged_;
  RawOctet<T> kept_[kPlace == Parameter::kept ? Columns::kOctets : 1];
};

constexpr Parameter place_of_parameters(Norm norm, RowSpan span, bool codes, int bytes) {
  if (norm == Norm::layer) return Parameter::staged;
  if (bytes == kRowBytes) return Parameter::kept;
  return codes && span == RowSpan::block ? Parameter::when_used : Parameter::staged;
}
// Four blocks of 256 threads on a multiprocessor of an H200, three of a cluster or with a residual; no spills.
constexpr int norm_registers(RowSpan span, bool residual) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
  return 128;
#else
  return span == RowSpan::lanes ? 96 : residual || span == RowSpan::cluster ? 80 : 64;
#endif
}

template <class T, Norm kNorm, RowSpan kSpan, bool kResidual, bool kCodes, int kBytes>
__global__ void __maxnreg__(norm_registers(kSpan, kResidual))
    norm_in_registers(const __grid_constant__ NormRows<T> p) {
  __shared__ StatisticsScratch scratch[2];
  extern __shared__ __align__(16) uint4 staged[];
  const PackedColumns<T, kSpan, kBytes> columns(p.rows, p.width);
  using Columns = PackedColumns<T, kSpan, kBytes>;
  constexpr int kOctets = Columns::kOctets;
  constexpr Parameter kPlace = place_of_parameters(kNorm, kSpan, kCodes, kBytes);
  const int64_t row = columns.row;
  const Mean mean(p.width);
  if constexpr (kSpan == RowSpan::cluster) arrive_at_peers(scratch, 2);
  ptx::grid_dependency_release();
  ptx::grid_dependency_wait();

  RawOctet<T> u[kOctets], first{};
  load_packed(u, p.x + row * p.x_stride, columns);
  if (kNorm == Norm::layer && columns.exists) first = load_octet(p.x + row * p.x_stride);
  RawOctet<T> residual[kResidual ? kOctets : 1], first_residual{};
  if constexpr (kResidual) {
    load_packed(residual, p.residual + row * p.residual_stride, columns);
    if (kNorm == Norm::layer && columns.exists)
      first_residual = load_octet(p.residual + row * p.residual_stride);
  }
  constexpr int kStagedWords = kOctets * static_cast<int>(sizeof(RawOctet<T>) / sizeof(uint4));
  const NormParameter<T, Columns, kPlace> weight(p.weight, columns, staged);
  const NormParameter<T, Columns, kPlace> bias(p.bias, columns, staged + kStagedWords * Columns::threads());
  if constexpr (kResidual) {
    T* mine = p.u + row * p.u_stride + columns.first;
#pragma unroll
    for (int i = 0; i < kOctets; ++i) {
      u[i] = rounded_sum(u[i], residual[i]);
      if (columns.has(i)) store_octet(mine + columns.apart(i), u[i]);
    }
    first = rounded_sum(first, first_residual);
  }

  // What the last pass starts from: u * weight for codes, u - c, u; kept as floats where it was computed anyway and the
  // registers allow.
  constexpr bool kComputed = kCodes || kNorm == Norm::layer, kKept = kComputed && kBytes == kRowBytes;
  if constexpr (kCodes && kNorm == Norm::rms && kPlace == Parameter::staged) ptx::wait_for_copies();
  const float c = kNorm == Norm::layer ? shift_of(first) : 0.0f;
  const auto computed = [&](int i, float(&v)[kOctet]) {
    unpack(u[i], v);
    if constexpr (kNorm == Norm::layer) {
      const float shift = columns.has(i) ? c : 0.0f;  // beyond the width 0 - 0
#pragma unroll
      for (int e = 0; e < kOctet; ++e) v[e] -= shift;
    } else if constexpr (kCodes) {
      float w[kOctet];
      weight.octet(i, w);
#pragma unroll
      for (int e = 0; e < kOctet; ++e) v[e] *= w[e];
    }
  };
  float kept[kKept ? kOctets : 1][kOctet];
  RowStatistics mine;
#pragma unroll
  for (int i = 0; i < kOctets; ++i) {
    float v[kOctet];
    if constexpr (kNorm == Norm::layer) {
      computed(i, v);
      mine.sum += octet_sum(v), mine.second += octet_squares(v);
    } else {
      unpack(u[i], v);
      mine.sum += octet_squares(v);
      if constexpr (kCodes) {
        computed(i, v);
#pragma unroll
        for (int e = 0; e < kOctet; ++e) mine.second = ptx::largest_magnitude(mine.second, v[e]);
      }
    }
    if constexpr (kKept)
#pragma unroll
      for (int e = 0; e < kOctet; ++e) kept[i][e] = v[e];
  }

  if constexpr (kSpan == RowSpan::cluster) wait_for_peers();
  constexpr Second kSecond = kNorm == Norm::layer ? Second::sum : kCodes ? Second::peak : Second::unused;
  const RowStatistics all = over_row<kSpan, kSecond>(mine, scratch[0]);
  if constexpr (kPlace == Parameter::staged) ptx::wait_for_copies();

  const auto start = [&](int i, float(&v)[kOctet]) {
    if constexpr (kKept) {
#pragma unroll
      for (int e = 0; e < kOctet; ++e) v[e] = kept[i][e];
    } else {
      computed(i, v);
    }
  };
  const auto put_y = [&](int i, const float(&v)[kOctet]) {
    if (columns.has(i)) store_octet(p.y + row * p.y_stride + columns.column(i), pack<T>(v));
  };
  const auto put_codes = [&](int i, const float(&v)[kOctet], float inverse) {
    if (columns.has(i)) store_codes(p.codes + row * p.codes_stride + columns.column(i), codes_of(v, inverse));
  };
  const auto put_scale = [&](float amax) {
    if (columns.is_first()) p.scale[row * p.scale_stride] = row_coding(amax).scale;
  };

  if constexpr (kNorm == Norm::rms) {
    // NOTE: rstd cancels out of the codes: u * weight * rstd * 127 / (max |u * weight| * rstd).
    const float rstd = rstd_of(mean.of(all.sum), p.eps);
    const float inverse = kCodes ? inverse_of(all.second, rstd) : 0.0f;
    if constexpr (kCodes) put_scale(all.second * rstd);
#pragma unroll
    for (int i = 0; i < kOctets; ++i) {
      float v[kOctet];
      start(i, v);
      if constexpr (kCodes) put_codes(i, v, inverse);
      if (kCodes && !p.y) continue;
#pragma unroll
      for (int e = 0; e < kOctet; ++e) v[e] *= rstd;
      if constexpr (!kCodes) {
        float w[kOctet];
        weight.octet(i, w);
#pragma unroll
        for (int e = 0; e < kOctet; ++e) v[e] *= w[e];
      }
      put_y(i, v);
    }
  } else {
    const LayerStatistics s(all, mean, p.eps);
    const float offset = -s.offset * s.rstd;
    const auto normed = [&](int i, float(&v)[kOctet]) {
      float w[kOctet], b[kOctet];
      start(i, v), weight.octet(i, w), bias.octet(i, b);
#pragma unroll
      for (int e = 0; e < kOctet; ++e) v[e] = fmaf(fmaf(v[e], s.rstd, offset), w[e], b[e]);
    };
    if constexpr (!kCodes) {
#pragma unroll
      for (int i = 0; i < kOctets; ++i) {
        float v[kOctet];
        normed(i, v);
        put_y(i, v);
      }
    } else {
      RowStatistics top;
#pragma unroll
      for (int i = 0; i < kOctets; ++i) {
        float v[kOctet];
        normed(i, v);
#pragma unroll
        for (int e = 0; e < kOctet; ++e) {
          top.second = ptx::largest_magnitude(top.second, v[e]);
          if constexpr (kKept) kept[i][e] = v[e];
        }
        if (p.y) put_y(i, v);
      }
      top = over_row<kSpan, Second::peak>(top, scratch[1]);
      const float inverse = inverse_of(top.second);
      put_scale(top.second);
#pragma unroll
      for (int i = 0; i < kOctets; ++i) {
        float v[kOctet];
        if constexpr (kKept)
          start(i, v);
        else
          normed(i, v);
        put_codes(i, v, inverse);
      }
    }
  }
}

// ---- any width, alignment and stride ---------------------------------------------------------------------------------

// Element by element, the row read again from the caches instead of kept.
template <class T, Norm kNorm>
__global__ void __launch_bounds__(kMaxRowThreads) norm_in_loops(const __grid_constant__ NormRows<T> p) {
  __shared__ ReduceScratch mean_scratch, square_scratch, amax_scratch;
  const RowPlace at = row_place(p.rows);
  ptx::grid_dependency_release();
  ptx::grid_dependency_wait();
  const int end = at.exists ? p.width : 0;
  const float width = static_cast<float>(p.width);

  const T* x = p.x + at.row * p.x_stride;
  if (p.residual) {
    const T* residual = p.residual + at.row * p.residual_stride;
    T* u = p.u + at.row * p.u_stride;
#pragma unroll 4
    for (int i = at.first; i < end; i += at.step)
      store_element(u + i, load_element(x + i) + load_element(residual + i));
    x = u;  // each thread reads back only what it wrote itself
  }
  float mean = 0.0f, squares = 0.0f;
  if constexpr (kNorm == Norm::layer) {
    float sum = 0.0f;
#pragma unroll 8
    for (int i = at.first; i < end; i += at.step) sum += load_element(x + i);
    mean = reduce_row<Sum, RowSpan::block>(sum, mean_scratch) / width;
  }
#pragma unroll 8
  for (int i = at.first; i < end; i += at.step) {
    const float v = load_element(x + i) - mean;
    squares = fmaf(v, v, squares);
  }
  squares = reduce_row<Sum, RowSpan::block>(squares, square_scratch);
  const float rstd = rstd_of(squares / width, p.eps);
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

// ---- launches --------------------------------------------------------------------------------------------------------

// What the two ops' arguments have in common (a bias is LayerNormArgs' own).
template <class T, class Args>
NormRows<T> norm_rows_of(const Args& a) {
  return {.x = static_cast<const T*>(a.x.data()),
          .residual = static_cast<const T*>(a.residual.data()),
          .weight = {a.weight.data(), a.weight.dtype(), a.weight.stride(0)},
          .bias = {},
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

// How a row is spread: 64 bytes a thread; 128 where an RMS norm without a residual would need a cluster with 64.
struct NormSplit : RowSplit {
  int bytes = kRowBytes;
  int64_t staged_bytes = 0;  // shared memory for parameters
};
inline NormSplit split_norm(Norm norm, int64_t width, DType dtype, bool residual, bool codes,
                            const DeviceFacts& facts) {
  NormSplit s{split_packed_row(width, dtype, facts)};
  if (norm == Norm::rms && !residual && (s.cluster > 1 || s.threads == 0))
    s = {split_packed_row(width, dtype, facts, kWideRowBytes), kWideRowBytes};
  const RowSpan span = s.cluster > 1 ? RowSpan::cluster : RowSpan::block;
  if (place_of_parameters(norm, span, codes, s.bytes) == Parameter::staged)
    s.staged_bytes = int64_t{norm == Norm::layer ? 2 : 1} * s.threads * s.rows_per_block * s.bytes;
  return s;
}
constexpr int64_t kStaticSharedBytes = 2 * sizeof(StatisticsScratch);
constexpr int kStagedPercent =
    64;  // four blocks' parameters, and a first-level cache that holds them once more

// Whether norm_in_registers takes these arguments (a bias aside).
template <class Args>
bool norm_fits_registers(Norm norm, const Args& a, const DeviceFacts& facts) {
  const NormSplit split = split_norm(norm, a.x.dim(1), a.x.dtype(), static_cast<bool>(a.residual),
                                     static_cast<bool>(a.y_codes), facts);
  // Rows of 16 bits that take more than a block stream (row_norm_stream.cuh), but for codes beside y.
  if (split.cluster > 1 && a.x.dtype() != DType::f32 &&
      (norm == Norm::layer || a.residual || !a.y_codes || !a.y))
    return false;
  return split.threads > 0 && split.staged_bytes + kStaticSharedBytes <= facts.shared_bytes_per_block &&
         octets_aligned(a.x) && octets_aligned(a.residual) && octets_aligned(a.u) && octets_aligned(a.y) &&
         octets_aligned(a.y_codes) && a.weight.dtype() == a.x.dtype() &&
         parameter_fits(a.weight, a.x.dtype());
}

template <Norm kNorm, RowSpan kSpan, bool kResidual, bool kCodes, class T>
void launch_norm_of_policy(const Context& ctx, const LaunchShape& shape, int bytes, const NormRows<T>& rows) {
  constexpr bool kMayBeWide = kNorm == Norm::rms && !kResidual && kSpan != RowSpan::lanes;
  constexpr bool kStreams = kSpan == RowSpan::cluster && sizeof(T) == 2 && (kResidual || !kCodes);
  if constexpr (kMayBeWide && !kStreams)
    if (bytes == kWideRowBytes)
      return launch(ctx, shape, norm_in_registers<T, kNorm, kSpan, kResidual, kCodes, kWideRowBytes>, rows);
  if constexpr (!kStreams && (!kMayBeWide || kSpan == RowSpan::block))
    launch(ctx, shape, norm_in_registers<T, kNorm, kSpan, kResidual, kCodes, kRowBytes>, rows);
}

template <Norm kNorm, RowSpan kSpan, class T>
void launch_norm_of_span(const Context& ctx, const char* name, const NormSplit& split,
                         const NormRows<T>& rows) {
  LaunchShape shape = shape_of_rows(name, split, rows.rows);
  shape.shared_bytes = split.staged_bytes;
  if (split.staged_bytes > 0) shape.shared_percent = kStagedPercent;
  if (rows.residual && rows.codes)
    launch_norm_of_policy<kNorm, kSpan, true, true>(ctx, shape, split.bytes, rows);
  else if (rows.residual)
    launch_norm_of_policy<kNorm, kSpan, true, false>(ctx, shape, split.bytes, rows);
  else if (rows.codes)
    launch_norm_of_policy<kNorm, kSpan, false, true>(ctx, shape, split.bytes, rows);
  else
    launch_norm_of_policy<kNorm, kSpan, false, false>(ctx, shape, split.bytes, rows);
}

template <Norm kNorm, class T>
void launch_norm_in_registers(const Context& ctx, const char* name, const NormRows<T>& rows) {
  if (rows.rows == 0) return;
  const NormSplit split = split_norm(kNorm, rows.width, DTypeOf<T>::value, rows.residual != nullptr,
                                     rows.codes != nullptr, *ctx.facts);
  if (split.cluster > 1) {
    if constexpr (kNorm == Norm::rms || sizeof(T) == 4)
      launch_norm_of_span<kNorm, RowSpan::cluster>(ctx, name, split, rows);
  } else if (split.threads > 32) {
    launch_norm_of_span<kNorm, RowSpan::block>(ctx, name, split, rows);
  } else {
    launch_norm_of_span<kNorm, RowSpan::lanes>(ctx, name, split, rows);
  }
}

template <Norm kNorm, class T>
void launch_norm_in_loops(const Context& ctx, const char* name, const NormRows<T>& rows) {
  if (rows.rows == 0) return;
  launch(ctx, shape_of_rows(name, split_loop(rows.width), rows.rows), norm_in_loops<T, kNorm>, rows);
}

}  // namespace octavo::cuda
