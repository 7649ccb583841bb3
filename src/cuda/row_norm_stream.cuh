// Norms of wide rows of 16 bits (sm_90): a cluster of blocks keeps its part of the parameters in registers and takes rows as
// they come (row_slots.cuh). Parameters are read once a multiprocessor instead of once a row, which for a layer norm is as much
// as the row. The formulas are row_norm.cuh's.
//
// A row's bits depend on its width only: same threads, same octets of a thread, same order of sums for every batch; those of
// layer norms are the same as a row in registers where one block has it.
#pragma once
#include "cuda/row_norm.cuh"
#include "cuda/row_slots.cuh"

namespace octavo::cuda {

// Codes of an RMS norm without a residual move the fewest bytes an instruction. Their threads have 64 elements, so that what a
// thread does once a row weighs half, and keep the products u * weight instead of u; two blocks a multiprocessor take turns.
constexpr bool stream_keeps_products(Norm norm, bool residual, bool codes) {
  return norm == Norm::rms && !residual && codes;
}
constexpr StreamForm stream_form(Norm norm, bool residual, bool codes) {
  if (stream_keeps_products(norm, residual, codes))
    return {.threads = kStreamBlock / 2, .octets = 2 * kRowOctets, .blocks = 2};
  const bool layer = norm == Norm::layer;
  return {.threads = kStreamBlock,
          .octets = kRowOctets,
          .inputs = residual ? 2 : 1,
          .pieces = layer,
          .starts = layer,
          .keeps_address = !layer};
}

// y of an RMS norm whose rows are at most kNarrowStream wide. With a residual: 16 elements a thread, so that a row is in twice
// the blocks and half as many rows are in work at once; when no more come, the clusters end within half the time.
inline constexpr int64_t kNarrowStream = 65536;
constexpr StreamForm narrow_stream_form(bool residual) {
  if (residual) return {.threads = kStreamBlock, .octets = kRowOctets / 2, .stages = 4, .inputs = 2};
  return {.threads = kStreamBlock / 2, .octets = kRowOctets, .blocks = 2};
}

// A thread's octets of a parameter, packed in registers over all rows; zeros without one.
template <class T, class Slots>
struct ParameterOfRows {
  RawOctet<T> kept[Slots::kOctets];
  __device__ __forceinline__ ParameterOfRows(const RowParameter& p, const Slots& slots) {
    const T* first = static_cast<const T*>(p.data) + slots.column();
#pragma unroll
    for (int i = 0; i < Slots::kOctets; ++i) {
      kept[i] = {};
      if (p.data && slots.has(i)) kept[i] = load_octet(first + i * Slots::kApart);
    }
  }
  __device__ __forceinline__ void octet(int i, float (&value)[kOctet]) const { unpack(kept[i], value); }
  // NOTE: the compiler keeps parameters as floats where it sees registers for them; not these.
  __device__ __forceinline__ void packed_octet(int i, float (&value)[kOctet]) const {
    unpack(RawOctet<T>{{ptx::kept(kept[i].part[0])}}, value);
  }
};

template <class T, Norm kNorm, bool kResidual, bool kCodes, StreamForm kForm>
__device__ __forceinline__ void stream_norm(const NormRows<T>& p, const TurnPlan& plan) {
  constexpr bool kProducts = stream_keeps_products(kNorm, kResidual, kCodes);
  constexpr Second kSecond = kNorm == Norm::layer ? Second::sum : kCodes ? Second::peak : Second::unused;
  using Slots = RowSlots<T, NormRows<T>, kForm>;
  constexpr int kOctets = Slots::kOctets;
  extern __shared__ __align__(128) uint4 slot_memory[];
  constexpr bool kDirect = kNorm == Norm::rms && kResidual;
  using Statistics = std::conditional_t<kDirect, DirectReduction<kSecond>, RowReduction<kSecond>>;
  using Peak = RowReduction<Second::peak>;
  __shared__ typename Statistics::Shared statistics_shared;
  __shared__ typename Peak::Shared peak_shared;
  __shared__ __align__(16) typename Slots::Shared slots_shared;
  Slots slots(slots_shared, slot_memory, p, plan);
  Statistics statistics(statistics_shared);
  Peak peak(peak_shared);
  if (threadIdx.x == 0) ptx::mbarrier_init_fence();
  __syncthreads();
  if (ptx::cluster_size() > 1) ptx::cluster_arrive(), ptx::cluster_wait();
  ptx::grid_dependency_release();
  ptx::grid_dependency_wait();
  slots.start();
  const ParameterOfRows<T, Slots> weight(p.weight, slots), bias(p.bias, slots);
  const Mean mean(p.width);

  for (StreamTurn turn; slots.wait(turn); turn = slots.after(turn)) {
    float c = 0.0f;
    if constexpr (kNorm == Norm::layer) {
      RawOctet<T> first = slots.first_octet(turn, 0);
      if constexpr (kResidual) first = rounded_sum(first, slots.first_octet(turn, 1));
      c = shift_of(first);
    }
    T* u_row = p.u + turn.row * p.u_stride + slots.column();
    // What the last pass starts from.
    RawOctet<T> u[kProducts ? 1 : kOctets];
    float product[kProducts ? kOctets : 1][kOctet];
    RowStatistics mine;
#pragma unroll
    for (int i = 0; i < kOctets; ++i) {
      if (!slots.has(i)) continue;
      RawOctet<T> raw = slots.octet(turn, 0, i);
      if constexpr (kResidual) {
        raw = rounded_sum(raw, slots.octet(turn, 1, i));
        store_octet(u_row + i * Slots::kApart, raw);
      }
      if constexpr (!kProducts) u[i] = raw;
      float v[kOctet];
      unpack(raw, v);
      if constexpr (kNorm == Norm::layer) {
#pragma unroll
        for (int e = 0; e < kOctet; ++e) v[e] -= c;
        mine.sum += octet_sum(v), mine.second += octet_squares(v);
      } else {
        mine.sum += octet_squares(v);
        if constexpr (kCodes) {
          float w[kOctet];
          if constexpr (kProducts)
            weight.packed_octet(i, w);
          else
            weight.octet(i, w);
#pragma unroll
          for (int e = 0; e < kOctet; ++e) {
            const float vw = v[e] * w[e];
            if constexpr (kProducts) product[i][e] = vw;
            mine.second = ptx::largest_magnitude(mine.second, vw);
          }
        }
      }
    }
    statistics.begin(turn.number, mine);
    if constexpr (!kDirect) slots.refill(turn);
    const RowStatistics all = statistics.end(turn.number);
    if constexpr (kDirect)
      if (Slots::refills()) statistics.wait_for_begin(turn.number), slots.refill(turn);

    T* y_row = p.y + turn.row * p.y_stride + slots.column();
    int8_t* codes_row = p.codes + turn.row * p.codes_stride + slots.column();
    const auto put_y = [&](int i, const float(&v)[kOctet]) {
      store_octet(y_row + i * Slots::kApart, pack<T>(v));
    };
    const auto put_codes = [&](int i, const float(&v)[kOctet], float inverse) {
      store_codes(codes_row + i * Slots::kApart, codes_of(v, inverse));
    };
    const auto put_scale = [&](float amax) {
      if (slots.column() == 0) p.scale[turn.row * p.scale_stride] = row_coding(amax).scale;
    };
    if constexpr (kNorm == Norm::rms) {
      const float rstd = rstd_of(mean.of(all.sum), p.eps);
      const float inverse = kCodes ? inverse_of(all.second, rstd) : 0.0f;
      if constexpr (kCodes) put_scale(all.second * rstd);
#pragma unroll
      for (int i = 0; i < kOctets; ++i) {
        if (!slots.has(i)) continue;
        if constexpr (kProducts) {
          put_codes(i, product[i], inverse);
          continue;
        }
        float v[kOctet], w[kOctet];
        unpack(u[kProducts ? 0 : i], v), weight.octet(i, w);
        if constexpr (!kCodes) {
#pragma unroll
          for (int e = 0; e < kOctet; ++e) v[e] = v[e] * rstd * w[e];
          put_y(i, v);
        } else {
#pragma unroll
          for (int e = 0; e < kOctet; ++e) v[e] *= w[e];
          put_codes(i, v, inverse);
          if (!p.y) continue;
#pragma unroll
          for (int e = 0; e < kOctet; ++e) v[e] *= rstd;
          put_y(i, v);
        }
      }
    } else {
      const LayerStatistics s(all, mean, p.eps);
      const float offset = -s.offset * s.rstd;
      const auto normed = [&](int i, float(&v)[kOctet]) {
        float w[kOctet], b[kOctet];
        unpack(u[i], v), weight.octet(i, w), bias.octet(i, b);
#pragma unroll
        for (int e = 0; e < kOctet; ++e) v[e] = fmaf(fmaf(v[e] - c, s.rstd, offset), w[e], b[e]);
      };
      RowStatistics top;
#pragma unroll
      for (int i = 0; i < kOctets; ++i) {
        if (!slots.has(i)) continue;
        float v[kOctet];
        normed(i, v);
        if constexpr (kCodes) {
#pragma unroll
          for (int e = 0; e < kOctet; ++e) top.second = ptx::largest_magnitude(top.second, v[e]);
          if (!p.y) continue;
        }
        put_y(i, v);
      }
      if constexpr (kCodes) {
        peak.begin(turn.number, top);
        const float amax = peak.end(turn.number).second, inverse = inverse_of(amax);
        put_scale(amax);
#pragma unroll
        for (int i = 0; i < kOctets; ++i) {
          if (!slots.has(i)) continue;
          float v[kOctet];
          normed(i, v);
          put_codes(i, v, inverse);
        }
      }
    }
  }
}

template <class T, Norm kNorm, bool kResidual, bool kCodes>
__global__ void __launch_bounds__(stream_form(kNorm, kResidual, kCodes).threads,
                                  stream_form(kNorm, kResidual, kCodes).blocks)
    norm_in_stream(const __grid_constant__ NormRows<T> p, const __grid_constant__ TurnPlan plan) {
  stream_norm<T, kNorm, kResidual, kCodes, stream_form(kNorm, kResidual, kCodes)>(p, plan);
}
template <class T, bool kResidual>
__global__ void __launch_bounds__(narrow_stream_form(kResidual).threads, narrow_stream_form(kResidual).blocks)
    rms_norm_in_narrow_stream(const __grid_constant__ NormRows<T> p, const __grid_constant__ TurnPlan plan) {
  stream_norm<T, Norm::rms, kResidual, false, narrow_stream_form(kResidual)>(p, plan);
}

// ---- launch ----------------------------------------------------------------------------------------------------------

// Which rows stream (H200): by width those that take more than a block of 64 bytes a thread; and since the bits are the same,
// many rows of layer norms where that was faster than a row a block.
inline bool norm_is_faster_in_stream(Norm norm, int64_t rows, int64_t width, bool residual, bool codes,
                                     const DeviceFacts& facts) {
  constexpr int64_t kBlockElements = kMaxRowThreads * kRowOctets * kOctet, kRowsPerCore = 8;
  if (width > kBlockElements) return true;
  return norm == Norm::layer && residual == codes && width > kBlockElements / 4 &&
         rows >= kRowsPerCore * facts.cores;
}
inline bool stream_is_narrow(Norm norm, int64_t width, bool codes) {
  return norm == Norm::rms && !codes && width <= kNarrowStream;
}
inline RowsInSlots split_norm_stream(Norm norm, int64_t rows, int64_t width, DType dtype, bool residual,
                                     bool codes, const DeviceFacts& facts) {
  if (!norm_is_faster_in_stream(norm, rows, width, residual, codes, facts)) return {};
  const StreamForm form = stream_is_narrow(norm, width, codes) ? narrow_stream_form(residual)
                                                               : stream_form(norm, residual, codes);
  RowsInSlots s = split_row_in_slots(form, rows, width, dtype, facts);
  if (norm == Norm::layer && !residual && s.threads < kStreamBlock) s.stages = 3;
  return s;
}
// Whether it takes these arguments (a bias aside).
template <class Args>
bool norm_streams(Norm norm, const Args& a, const DeviceFacts& facts) {
  const bool residual = static_cast<bool>(a.residual), codes = static_cast<bool>(a.y_codes);
  const RowsInSlots s = split_norm_stream(norm, a.x.dim(0), a.x.dim(1), a.x.dtype(), residual, codes, facts);
  return slots_fit(s, facts) && !(stream_keeps_products(norm, residual, codes) && a.y) &&
         octets_aligned(a.x) && octets_aligned(a.residual) && octets_aligned(a.u) && octets_aligned(a.y) &&
         octets_aligned(a.y_codes) && a.weight.dtype() == a.x.dtype() &&
         parameter_fits(a.weight, a.x.dtype());
}

template <Norm kNorm, class T>
void launch_norm_in_stream(const Context& ctx, const char* name, const NormRows<T>& rows) {
  const RowsInSlots split = split_norm_stream(kNorm, rows.rows, rows.width, DTypeOf<T>::value,
                                              rows.residual != nullptr, rows.codes != nullptr, *ctx.facts);
  const auto run = [&](void (*kernel)(NormRows<T>, TurnPlan)) {
    launch_in_slots(ctx, name, kernel, split, rows);
  };
  if constexpr (kNorm == Norm::rms)
    if (stream_is_narrow(kNorm, rows.width, rows.codes != nullptr))
      return run(rows.residual ? rms_norm_in_narrow_stream<T, true> : rms_norm_in_narrow_stream<T, false>);
  if (rows.residual)
    run(rows.codes ? norm_in_stream<T, kNorm, true, true> : norm_in_stream<T, kNorm, true, false>);
  else
    run(rows.codes ? norm_in_stream<T, kNorm, false, true> : norm_in_stream<T, kNorm, false, false>);
}

}  // namespace octavo::cuda
