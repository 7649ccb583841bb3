// Norms of wide rows of 16 bits (sm_90): a cluster of blocks keeps its part of the parameters in registers and works through
// its share of the rows, while the copy engine fills slots of shared memory with the rows to come. Parameters are read once
// a multiprocessor instead of once a row, which for a layer norm is as much as the row. The formulas are row_norm.cuh's.
//
//   slot of a row: [inputs][kStreamOctets * blockDim.x octets], this block's part of the row
//   loop:          row from its slot into registers, sums; reduction (its barrier frees the slot: refill); last pass
//
// A row's bits depend on its width only: same threads, same octets of a thread, same order of sums for every batch.
#pragma once
#include "cuda/ptx/bulk_copy.cuh"
#include "cuda/row_norm.cuh"

namespace octavo::cuda {

inline constexpr int kStreamOctets = kRowOctets;  // of a row in a thread
inline constexpr int kStreamBlock = 512;  // threads of a block: one a multiprocessor, or two of half as many
// Codes of an RMS norm without a residual move the fewest bytes an instruction: twice the threads, with 64 registers each,
// which leaves none for the row: the last pass reads its slot again.
constexpr bool stream_rereads(Norm norm, bool residual, bool codes) {
  return norm == Norm::rms && !residual && codes;
}
constexpr int stream_threads(Norm norm, bool residual, bool codes) {
  return stream_rereads(norm, residual, codes) ? 2 * kStreamBlock : kStreamBlock;
}

// A row of this cluster's: where it lies in the tensors, and which use of which slot holds it.
struct RowTurn {
  int64_t row;
  int number;  // 0, 1, ...: counts this cluster's rows
  int stage;
  uint32_t phase;
};

// The rows on their way to this block.
template <class T, int kInputs>
class RowSlots {
 public:
  __device__ __forceinline__ RowSlots(uint64_t* filled, uint4* slots, int stages, int64_t rows, int width)
      : filled_(filled),
        slots_(slots),
        stages_(stages),
        width_(width),
        begin_row_(rows * ptx::cluster_index() / ptx::cluster_count()),
        end_row_(rows * (ptx::cluster_index() + 1) / ptx::cluster_count()) {
    const int capacity = kStreamOctets * kOctet * static_cast<int>(blockDim.x);
    begin_ = static_cast<int>(ptx::cluster_rank()) * capacity;
    bytes_ = static_cast<uint32_t>(max(0, min(width - begin_, capacity))) * static_cast<uint32_t>(sizeof(T));
    if (threadIdx.x == 0)
      for (int s = 0; s < stages; ++s) ptx::mbarrier_init(&filled_[s], 1);
  }
  __device__ __forceinline__ void set_source(int input, const T* rows, int64_t stride) {
    source_[input] = rows, stride_[input] = stride;
  }
  __device__ __forceinline__ RowTurn first() const { return {begin_row_, 0, 0, 0}; }
  __device__ __forceinline__ RowTurn after(RowTurn t) const {
    ++t.row, ++t.number;
    if (++t.stage == stages_) t.stage = 0, t.phase ^= 1;
    return t;
  }
  __device__ __forceinline__ bool exists(const RowTurn& t) const { return t.row < end_row_; }
  // This thread's columns.
  __device__ __forceinline__ int column(int i) const { return begin_ + local(i) * kOctet; }
  __device__ __forceinline__ bool has(int i) const { return column(i) < width_; }

  __device__ __forceinline__ void start() {
    for (int s = 0; s < stages_; ++s) fill(begin_row_ + s, s);
  }
  // The slot of turn t, which nobody reads any more, takes the row of turn t + stages; that of the turn before, likewise.
  __device__ __forceinline__ void refill(const RowTurn& t) { fill(t.row + stages_, t.stage); }
  __device__ __forceinline__ void refill_before(const RowTurn& t) {
    if (t.number > 0) fill(t.row - 1 + stages_, t.stage == 0 ? stages_ - 1 : t.stage - 1);
  }
  __device__ __forceinline__ void wait(const RowTurn& t) { ptx::mbarrier_wait(&filled_[t.stage], t.phase); }
  __device__ __forceinline__ RawOctet<T> octet(const RowTurn& t, int input, int i) const {
    const uint4* words = slot(t.stage, input) + local(i) * kWords;
    RawOctet<T> raw;
#pragma unroll
    for (int w = 0; w < kWords; ++w) raw.part[w] = words[w];
    return raw;
  }

 private:
  static constexpr int kWords = sizeof(RawOctet<T>) / sizeof(uint4);
  __device__ __forceinline__ static int local(int i) {
    return static_cast<int>(threadIdx.x) + i * static_cast<int>(blockDim.x);
  }
  __device__ __forceinline__ uint4* slot(int stage, int input) const {
    return slots_ + (stage * kInputs + input) * (kStreamOctets * kWords) * static_cast<int>(blockDim.x);
  }
  __device__ __forceinline__ void fill(int64_t row, int stage) {
    if (threadIdx.x != 0 || row >= end_row_) return;
    ptx::mbarrier_arrive_expect(&filled_[stage], kInputs * bytes_);
    if (bytes_ == 0) return;
#pragma unroll
    for (int i = 0; i < kInputs; ++i)
      ptx::bulk_load(slot(stage, i), source_[i] + row * stride_[i] + begin_, bytes_, &filled_[stage]);
  }
  uint64_t* filled_;  // mbarriers, one a stage
  uint4* slots_;
  int stages_, width_;
  int64_t begin_row_, end_row_;  // this cluster's share
  int begin_;                    // this block's first column
  uint32_t bytes_;
  const T* source_[kInputs];
  int64_t stride_[kInputs];  // elements
};

// A thread's octets of a parameter, packed in registers over all rows; zeros without one.
template <class T, class Slots>
struct ParameterOfRows {
  RawOctet<T> kept[kStreamOctets];
  __device__ __forceinline__ ParameterOfRows(const RowParameter& p, const Slots& slots) {
#pragma unroll
    for (int i = 0; i < kStreamOctets; ++i) {
      kept[i] = {};
      if (p.data && slots.has(i)) kept[i] = load_octet(static_cast<const T*>(p.data) + slots.column(i));
    }
  }
  __device__ __forceinline__ void octet(int i, float (&value)[kOctet]) const { unpack(kept[i], value); }
};

// Reductions of one kind, row after row: begin(n) by all threads (a barrier), then end(n), before begin(n + 2).
template <Second kSecond>
class RowReduction {
 public:
  __device__ __forceinline__ explicit RowReduction(StatisticsScratch (&scratch)[2]) : scratch_(scratch) {
    if (threadIdx.x == 0)
      ptx::mbarrier_init(&scratch[0].arrived, 1), ptx::mbarrier_init(&scratch[1].arrived, 1);
  }
  __device__ __forceinline__ void begin(int number, const RowStatistics& mine) {
    block_ = over_block<kSecond>(mine, scratch_[number & 1]);
    if (ptx::cluster_size() > 1) send_to_peers(block_, scratch_[number & 1]);
  }
  __device__ __forceinline__ RowStatistics end(int number) const {
    if (ptx::cluster_size() == 1) return block_;
    return from_peers<kSecond>(scratch_[number & 1], number / 2);
  }

 private:
  StatisticsScratch (&scratch_)[2];
  RowStatistics block_;
};

template <class T, Norm kNorm, bool kResidual, bool kCodes>
__global__ void __launch_bounds__(stream_threads(kNorm, kResidual, kCodes), 1)
    norm_in_stream(const __grid_constant__ NormRows<T> p, int stages) {
  constexpr bool kRereads = stream_rereads(kNorm, kResidual, kCodes);
  constexpr Second kSecond = kNorm == Norm::layer ? Second::sum : kCodes ? Second::peak : Second::unused;
  using Slots = RowSlots<T, kResidual ? 2 : 1>;
  extern __shared__ __align__(128) uint4 slot_memory[];
  __shared__ StatisticsScratch scratch[2], peak_scratch[2];
  __shared__ uint64_t filled[kMaxStages];
  Slots slots(filled, slot_memory, stages, p.rows, p.width);
  slots.set_source(0, p.x, p.x_stride);
  if constexpr (kResidual) slots.set_source(1, p.residual, p.residual_stride);
  RowReduction<kSecond> statistics(scratch);
  RowReduction<Second::peak> peak(peak_scratch);
  if (threadIdx.x == 0) ptx::mbarrier_init_fence();
  __syncthreads();
  if (ptx::cluster_size() > 1) ptx::cluster_arrive(), ptx::cluster_wait();
  ptx::grid_dependency_release();
  ptx::grid_dependency_wait();
  slots.start();
  const ParameterOfRows<T, Slots> weight(p.weight, slots), bias(p.bias, slots);
  const Mean mean(p.width);

  // The shift of the row to come (row_norm.cuh), asked for a row before it is needed.
  RawOctet<T> first{}, first_residual{};
  const auto load_first = [&](const RowTurn& turn) {
    if (kNorm != Norm::layer || !slots.exists(turn)) return;
    first = load_octet(p.x + turn.row * p.x_stride);
    if constexpr (kResidual) first_residual = load_octet(p.residual + turn.row * p.residual_stride);
  };
  load_first(slots.first());

  struct Row {
    RawOctet<T> u[kRereads ? 1 : kStreamOctets];  // zeros beyond the width
    float c;
  };
  const auto first_pass = [&](const RowTurn& turn, Row& row) {
    row.c = 0.0f;
    if constexpr (kNorm == Norm::layer) {
      row.c = shift_of(kResidual ? rounded_sum(first, first_residual) : first);
    }
    slots.wait(turn);
    RowStatistics mine;
#pragma unroll
    for (int i = 0; i < kStreamOctets; ++i) {
      RawOctet<T>& u = row.u[kRereads ? 0 : i];
      u = {};
      if (!slots.has(i)) continue;
      u = slots.octet(turn, 0, i);
      if constexpr (kResidual) {
        u = rounded_sum(u, slots.octet(turn, 1, i));
        store_octet(p.u + turn.row * p.u_stride + slots.column(i), u);
      }
      float v[kOctet];
      unpack(u, v);
      if constexpr (kNorm == Norm::layer) {
#pragma unroll
        for (int e = 0; e < kOctet; ++e) v[e] -= row.c;
        mine.sum += octet_sum(v), mine.second += octet_squares(v);
      } else {
        mine.sum += octet_squares(v);
        if constexpr (kCodes) {
          float w[kOctet];
          weight.octet(i, w);
#pragma unroll
          for (int e = 0; e < kOctet; ++e) mine.second = ptx::largest_magnitude(mine.second, v[e] * w[e]);
        }
      }
    }
    statistics.begin(turn.number, mine);
    if constexpr (kRereads)
      slots.refill_before(turn);  // all threads are beyond its last pass
    else
      slots.refill(turn);
    load_first(slots.after(turn));
  };

  const auto last_pass = [&](const RowTurn& turn, const Row& row, const RowStatistics& all) {
    const auto put_y = [&](int i, const float(&v)[kOctet]) {
      store_octet(p.y + turn.row * p.y_stride + slots.column(i), pack<T>(v));
    };
    const auto put_codes = [&](int i, const float(&v)[kOctet], float inverse) {
      store_codes(p.codes + turn.row * p.codes_stride + slots.column(i), codes_of(v, inverse));
    };
    const auto put_scale = [&](float amax) {
      if (slots.column(0) == 0) p.scale[turn.row * p.scale_stride] = row_coding(amax).scale;
    };
    if constexpr (kNorm == Norm::rms) {
      const float rstd = rstd_of(mean.of(all.sum), p.eps);
      const float inverse = kCodes ? inverse_of(all.second, rstd) : 0.0f;
      if constexpr (kCodes) put_scale(all.second * rstd);
#pragma unroll
      for (int i = 0; i < kStreamOctets; ++i) {
        if (!slots.has(i)) continue;
        float v[kOctet], w[kOctet];
        unpack(kRereads ? slots.octet(turn, 0, i) : row.u[kRereads ? 0 : i], v), weight.octet(i, w);
        if constexpr (kCodes) {
#pragma unroll
          for (int e = 0; e < kOctet; ++e) v[e] *= w[e];
          put_codes(i, v, inverse);
          if (kRereads || !p.y) continue;
#pragma unroll
          for (int e = 0; e < kOctet; ++e) v[e] *= rstd;
        } else {
#pragma unroll
          for (int e = 0; e < kOctet; ++e) v[e] = v[e] * rstd * w[e];
        }
        put_y(i, v);
      }
    } else {
      const LayerStatistics s(all, mean, p.eps);
      const float offset = -s.offset * s.rstd;
      const auto normed = [&](int i, float(&v)[kOctet]) {
        float w[kOctet], b[kOctet];
        unpack(row.u[i], v), weight.octet(i, w), bias.octet(i, b);
#pragma unroll
        for (int e = 0; e < kOctet; ++e) v[e] = fmaf(fmaf(v[e] - row.c, s.rstd, offset), w[e], b[e]);
      };
      RowStatistics top;
#pragma unroll
      for (int i = 0; i < kStreamOctets; ++i) {
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
        for (int i = 0; i < kStreamOctets; ++i) {
          if (!slots.has(i)) continue;
          float v[kOctet];
          normed(i, v);
          put_codes(i, v, inverse);
        }
      }
    }
  };

  for (RowTurn turn = slots.first(); slots.exists(turn); turn = slots.after(turn)) {
    Row row;
    first_pass(turn, row);
    last_pass(turn, row, statistics.end(turn.number));
  }
}

// ---- launch ----------------------------------------------------------------------------------------------------------

struct NormStream {
  int threads = 0;  // of a block; 0: not for these rows
  int cluster = 1;  // blocks of a row
  int stages = 0;
  int64_t slot_bytes = 0;
};
// Which rows stream: where that was faster than rows in registers (H200), by width alone: layer norms that take more than
// a block, RMS norms that take the largest clusters.
inline NormStream split_norm_stream(Norm norm, int64_t width, DType dtype, bool residual, bool codes,
                                    const DeviceFacts& facts) {
  constexpr int64_t kThreadElements = kStreamOctets * kOctet, kHalf = kStreamBlock / 2 * kThreadElements;
  const int64_t widest_in_registers =
      norm == Norm::layer ? kMaxRowThreads * kThreadElements : kMaxRowCluster * kHalf;
  if (facts.compute_capability < 90 || dtype == DType::f32 || width <= widest_in_registers) return {};
  NormStream s{.threads = stream_threads(norm, residual, codes),
               .stages = stream_rereads(norm, residual, codes) ? 3 : 2};
  if (width <= kMaxRowCluster * kHalf) s.threads = kStreamBlock / 2;
  while (s.cluster * s.threads * kThreadElements < width) s.cluster *= 2;
  if (s.cluster > kMaxRowCluster) return {};
  s.slot_bytes = s.threads * kThreadElements * size_of(dtype) * (residual ? 2 : 1);
  return s;
}
// Whether it takes these arguments (a bias aside).
template <class Args>
bool norm_streams(Norm norm, const Args& a, const DeviceFacts& facts) {
  const bool residual = static_cast<bool>(a.residual), codes = static_cast<bool>(a.y_codes);
  const NormStream s = split_norm_stream(norm, a.x.dim(1), a.x.dtype(), residual, codes, facts);
  return s.threads > 0 && s.stages * s.slot_bytes + 4096 <= facts.shared_bytes_per_block &&
         !(stream_rereads(norm, residual, codes) && a.y) && octets_aligned(a.x) &&
         octets_aligned(a.residual) && octets_aligned(a.u) && octets_aligned(a.y) &&
         octets_aligned(a.y_codes) && a.weight.dtype() == a.x.dtype() &&
         parameter_fits(a.weight, a.x.dtype());
}

template <Norm kNorm, class T>
void launch_norm_in_stream(const Context& ctx, const char* name, const NormRows<T>& rows) {
  if (rows.rows == 0) return;
  const NormStream split = split_norm_stream(kNorm, rows.width, DTypeOf<T>::value, rows.residual != nullptr,
                                             rows.codes != nullptr, *ctx.facts);
  LaunchShape shape{.kernel = name,
                    .grid = dim3(static_cast<unsigned>(split.cluster)),
                    .block = dim3(static_cast<unsigned>(split.threads)),
                    .shared_bytes = split.stages * split.slot_bytes,
                    .cluster = split.cluster,
                    .overlap = true};
  const auto run = [&](void (*kernel)(NormRows<T>, int)) {
    const int64_t resident = resident_clusters(reinterpret_cast<const void*>(kernel), shape);
    shape.grid.x *= static_cast<unsigned>(rows.rows < resident ? rows.rows : resident);
    launch(ctx, shape, kernel, rows, split.stages);
  };
  if (rows.residual)
    run(rows.codes ? norm_in_stream<T, kNorm, true, true> : norm_in_stream<T, kNorm, true, false>);
  else
    run(rows.codes ? norm_in_stream<T, kNorm, false, true> : norm_in_stream<T, kNorm, false, false>);
}

}  // namespace octavo::cuda
