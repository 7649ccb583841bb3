// Norms of wide rows of 16 bits (sm_90): a cluster of blocks keeps its part of the parameters in registers and takes rows as
// it gets done with others (row_turns.cuh), while the copy engine fills slots of shared memory with the rows to come.
// Parameters are read once a multiprocessor instead of once a row, which for a layer norm is as much as the row. The formulas
// are row_norm.cuh's.
//
//   slot of a row: [inputs][kRowOctets * blockDim.x octets], this block's part of the row
//   loop:          row from its slot into registers, sums; reduction (its barrier frees the slot: refill); last pass
//
// A row's bits depend on its width only: same threads, same octets of a thread, same order of sums for every batch, and the
// same as a row in registers where one block has it.
#pragma once
#include "cuda/ptx/bulk_copy.cuh"
#include "cuda/row_norm.cuh"
#include "cuda/row_turns.cuh"
#include "cuda/stream_counter.h"

namespace octavo::cuda {

inline constexpr int kStreamBlock = 512;  // threads of a block: one a multiprocessor, or two of half as many
// Codes of an RMS norm without a residual move the fewest bytes an instruction: twice the threads, with 64 registers each,
// which leaves none for the row: the last pass reads its slot again.
constexpr bool stream_rereads(Norm norm, bool residual, bool codes) {
  return norm == Norm::rms && !residual && codes;
}
constexpr int stream_threads(Norm norm, bool residual, bool codes) {
  return stream_rereads(norm, residual, codes) ? 2 * kStreamBlock : kStreamBlock;
}

// Which use of which slot this is, and its row.
struct StreamTurn {
  int number = 0;  // counts this cluster's turns
  int stage = 0;
  uint32_t phase = 0;
  int64_t row = TurnQueue::kNone;
};

// The rows on their way to this block. NOTE: no members but references to shared memory and kernel parameters: the last pass
// has no register to spare. The first warp sends a reduction's part to the other blocks, so others fill slots and ask for rows.
template <class T, Norm kNorm, bool kResidual, int kThreads>
class RowSlots {
 public:
  static constexpr int kInputs = kResidual ? 2 : 1;
  static constexpr bool kStarts = kNorm == Norm::layer;
  struct Shared {
    uint4 start[kStarts ? kMaxStages : 1][kInputs];  // of each row, its first octet
    uint64_t filled[kMaxStages];                     // mbarriers
    int row[kMaxStages];
    TurnQueue::Shared queue;
  };

  __device__ __forceinline__ RowSlots(Shared& shared, uint4* slots, const NormRows<T>& p,
                                      const TurnPlan& plan)
      : shared_(shared), slots_(slots), p_(p), plan_(plan), queue_(shared.queue, plan) {
    if (threadIdx.x != 0) return;
    queue_.init();
    for (uint64_t& filled : shared.filled) ptx::mbarrier_init(&filled, 1);
  }
  // This thread's octets: the first one's column, and how far they lie apart. Those of a block's threads lie side by side,
  // which for RMS norms is up to 1.5 points faster than a piece for every warp; layer norms have the pieces of rows in
  // registers (PackedColumns) and so, in one block, their bits.
  __device__ __forceinline__ static int column() {
    const int thread = static_cast<int>(threadIdx.x);
    return begin() + (kPieces ? thread / 32 * (32 * kRowOctets) + thread % 32 : thread) * kOctet;
  }
  static constexpr bool kPieces = kNorm == Norm::layer;
  static constexpr int kApart = (kPieces ? 32 : kThreads) * kOctet;  // elements
  __device__ __forceinline__ bool has(int i) const { return column() + i * kApart < p_.width; }

  __device__ __forceinline__ void start() {
    if (is_asker()) queue_.start();
    if (!is_filler()) return;
#pragma unroll 1
    for (int s = 0; s < plan_.stages; ++s) fill(queue_.first_turn(s), s);
  }
  // Waits for the slot of a turn; false when there is no row any more.
  __device__ __forceinline__ bool wait(StreamTurn& turn) const {
    ptx::mbarrier_wait(&shared_.filled[turn.stage], turn.phase);
    turn.row = shared_.row[turn.stage];
    return turn.row >= 0;
  }
  __device__ __forceinline__ StreamTurn after(StreamTurn turn) const {
    ++turn.number;
    if (++turn.stage == plan_.stages) turn.stage = 0, turn.phase ^= 1;
    return turn;
  }
  // The slot of this turn, which nobody reads any more, takes the next row.
  __device__ __forceinline__ void refill(const StreamTurn& turn) {
    if (is_filler()) fill(queue_.later_turn(turn.number), turn.stage);
    if (is_asker()) queue_.prepare(turn.number + 1);
  }
  // The slot of the turn before, likewise.
  __device__ __forceinline__ void refill_before(const StreamTurn& turn) {
    if (turn.number == 0) return;
    if (is_filler())
      fill(queue_.later_turn(turn.number - 1), turn.stage == 0 ? plan_.stages - 1 : turn.stage - 1);
    if (is_asker()) queue_.prepare(turn.number);
  }
  // Octet i of this thread.
  __device__ __forceinline__ RawOctet<T> octet(const StreamTurn& turn, int input, int i) const {
    return {{(slot(turn.stage, input) + (column() - begin()) / kOctet)[i * (kApart / kOctet)]}};
  }
  __device__ __forceinline__ RawOctet<T> first_octet(const StreamTurn& turn, int input) const {
    return {{shared_.start[turn.stage][input]}};
  }

 private:
  __device__ __forceinline__ static bool is_filler() { return threadIdx.x == 32; }
  __device__ __forceinline__ static bool is_asker() { return threadIdx.x / 32 == 2; }
  // Layer norms of one block have as many threads as a row in registers.
  __device__ __forceinline__ static int threads() {
    return kPieces ? static_cast<int>(blockDim.x) : kThreads;
  }
  __device__ __forceinline__ static int capacity() {
    return kRowOctets * threads();
  }                                                // octets of a slot's input
  __device__ __forceinline__ static int begin() {  // this block's first column
    return static_cast<int>(ptx::cluster_rank()) * capacity() * kOctet;
  }
  __device__ __forceinline__ uint4* slot(int stage, int input) const {
    return slots_ + (stage * kInputs + input) * capacity();
  }
  __device__ __forceinline__ void fill(int row, int stage) {
    if (row == TurnQueue::kEnded) return;
    shared_.row[stage] = row;
    uint64_t* filled = &shared_.filled[stage];
    if (row == TurnQueue::kNone) return ptx::mbarrier_arrive(filled);
    constexpr uint32_t kStart = kStarts ? sizeof(uint4) : 0;
    const auto bytes =
        static_cast<uint32_t>(max(0, min(p_.width - begin(), capacity() * kOctet)) * sizeof(T));
    ptx::mbarrier_arrive_expect(filled, kInputs * (bytes + kStart));
#pragma unroll
    for (int i = 0; i < kInputs; ++i) {
      const T* from = i == 0 ? p_.x + row * p_.x_stride : p_.residual + row * p_.residual_stride;
      if constexpr (kStarts) ptx::bulk_load(&shared_.start[stage][i], from, kStart, filled);
      if (bytes > 0) ptx::bulk_load(slot(stage, i), from + begin(), bytes, filled);
    }
  }
  Shared& shared_;
  uint4* slots_;
  const NormRows<T>& p_;
  const TurnPlan& plan_;
  TurnQueue queue_;
};

// A thread's octets of a parameter, packed in registers over all rows; zeros without one.
template <class T, class Slots>
struct ParameterOfRows {
  RawOctet<T> kept[kRowOctets];
  __device__ __forceinline__ ParameterOfRows(const RowParameter& p, const Slots& slots) {
    const T* first = static_cast<const T*>(p.data) + slots.column();
#pragma unroll
    for (int i = 0; i < kRowOctets; ++i) {
      kept[i] = {};
      if (p.data && slots.has(i)) kept[i] = load_octet(first + i * Slots::kApart);
    }
  }
  __device__ __forceinline__ void octet(int i, float (&value)[kOctet]) const { unpack(kept[i], value); }
};

// Reductions of one kind, turn after turn: begin(n), then end(n), before begin(n + 2); all threads. begin is a barrier of the
// block: warps to the block, blocks to the cluster.
template <Second kSecond>
class RowReduction {
 public:
  using Shared = StatisticsScratch[2];
  __device__ __forceinline__ explicit RowReduction(Shared& scratch) : scratch_(scratch) {
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
  Shared& scratch_;
  RowStatistics block_;
};

// The same where end is the barrier: each warp sends its part to all blocks by itself, one step instead of two. With a residual
// 0.3 points faster (H200); without one up to 8 slower, since every thread then joins the parts of all warps.
template <Second kSecond>
class DirectReduction {
 public:
  struct Shared {
    float2 part[2][kMaxRowCluster * kStreamBlock / 32];  // of every warp of the cluster
    uint64_t arrived[2];                                 // mbarriers
  };
  __device__ __forceinline__ explicit DirectReduction(Shared& shared) : shared_(shared) {
    if (threadIdx.x == 0)
      ptx::mbarrier_init(&shared.arrived[0], 1), ptx::mbarrier_init(&shared.arrived[1], 1);
  }
  __device__ __forceinline__ void begin(int number, const RowStatistics& mine) {
    const RowStatistics warp = over_warp<kSecond>(mine);
    const uint32_t lane = threadIdx.x % 32, blocks = ptx::cluster_size();
    float2* part = &shared_.part[number & 1][ptx::cluster_rank() * warps() + threadIdx.x / 32];
    uint64_t* arrived = &shared_.arrived[number & 1];
    if (lane < blocks) ptx::store_to_peer(part, arrived, lane, make_float2(warp.sum, warp.second));
    if (threadIdx.x == 0)
      ptx::mbarrier_arrive_expect(arrived, blocks * warps() * static_cast<uint32_t>(sizeof(float2)));
  }
  __device__ __forceinline__ RowStatistics end(int number) const {
    ptx::mbarrier_wait(&shared_.arrived[number & 1], static_cast<uint32_t>(number / 2) & 1);
    RowStatistics all;
    for (uint32_t i = threadIdx.x % 32; i < ptx::cluster_size() * warps(); i += 32) {
      const float2 part = shared_.part[number & 1][i];
      all.sum += part.x;
      if constexpr (kSecond == Second::sum) all.second += part.y;
      if constexpr (kSecond == Second::peak) all.second = ptx::larger(all.second, part.y);
    }
    return over_warp<kSecond>(all);
  }

 private:
  __device__ __forceinline__ static uint32_t warps() { return blockDim.x / 32; }
  Shared& shared_;
};

template <class T, Norm kNorm, bool kResidual, bool kCodes>
__global__ void __launch_bounds__(stream_threads(kNorm, kResidual, kCodes), 1)
    norm_in_stream(const __grid_constant__ NormRows<T> p, const __grid_constant__ TurnPlan plan) {
  constexpr bool kRereads = stream_rereads(kNorm, kResidual, kCodes);
  constexpr Second kSecond = kNorm == Norm::layer ? Second::sum : kCodes ? Second::peak : Second::unused;
  using Slots = RowSlots<T, kNorm, kResidual, stream_threads(kNorm, kResidual, kCodes)>;
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
    RawOctet<T> u[kRereads ? 1 : kRowOctets];
    RowStatistics mine;
#pragma unroll
    for (int i = 0; i < kRowOctets; ++i) {
      if (!slots.has(i)) continue;
      RawOctet<T> raw = slots.octet(turn, 0, i);
      if constexpr (kResidual) {
        raw = rounded_sum(raw, slots.octet(turn, 1, i));
        store_octet(u_row + i * Slots::kApart, raw);
      }
      if constexpr (!kRereads) u[i] = raw;
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
          weight.octet(i, w);
#pragma unroll
          for (int e = 0; e < kOctet; ++e) mine.second = ptx::largest_magnitude(mine.second, v[e] * w[e]);
        }
      }
    }
    statistics.begin(turn.number, mine);
    if constexpr (kRereads) slots.refill_before(turn);  // all threads are beyond its last pass
    if constexpr (!kRereads && !kDirect) slots.refill(turn);
    const RowStatistics all = statistics.end(turn.number);
    if constexpr (kDirect) slots.refill(turn);

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
      for (int i = 0; i < kRowOctets; ++i) {
        if (!slots.has(i)) continue;
        float v[kOctet], w[kOctet];
        unpack(kRereads ? slots.octet(turn, 0, i) : u[kRereads ? 0 : i], v), weight.octet(i, w);
        if constexpr (!kCodes) {
#pragma unroll
          for (int e = 0; e < kOctet; ++e) v[e] = v[e] * rstd * w[e];
          put_y(i, v);
        } else {
#pragma unroll
          for (int e = 0; e < kOctet; ++e) v[e] *= w[e];
          put_codes(i, v, inverse);
          if constexpr (!kRereads) {
            if (!p.y) continue;
#pragma unroll
            for (int e = 0; e < kOctet; ++e) v[e] *= rstd;
            put_y(i, v);
          }
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
      for (int i = 0; i < kRowOctets; ++i) {
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
        for (int i = 0; i < kRowOctets; ++i) {
          if (!slots.has(i)) continue;
          float v[kOctet];
          normed(i, v);
          put_codes(i, v, inverse);
        }
      }
    }
  }
}

// ---- launch ----------------------------------------------------------------------------------------------------------

struct NormStream {
  int threads = 0;  // of a block; 0: not for these rows
  int cluster = 1;  // blocks of a row
  int stages = 0;
  int64_t slot_bytes = 0;
};
// Which rows stream (H200): by width those that take more than a block of 64 bytes a thread; and since the bits are the same,
// many rows of layer norms where that was faster than a row a block.
inline bool norm_is_faster_in_stream(Norm norm, int64_t rows, int64_t width, bool residual, bool codes,
                                     const DeviceFacts& facts) {
  constexpr int64_t kBlockElements = kMaxRowThreads * kRowOctets * kOctet, kRowsPerCore = 8;
  if (width > kBlockElements) return true;
  return norm == Norm::layer && residual == codes && width > kBlockElements / 4 &&
         rows >= kRowsPerCore * facts.cores;
}
inline NormStream split_norm_stream(Norm norm, int64_t rows, int64_t width, DType dtype, bool residual,
                                    bool codes, const DeviceFacts& facts) {
  constexpr int64_t kThreadElements = kRowOctets * kOctet;
  constexpr int64_t kMostRows = int64_t{1} << 30;  // a turn is an int
  constexpr int64_t kMostElements = kMaxRowCluster * kStreamBlock * kThreadElements;
  if (facts.compute_capability < 90 || dtype == DType::f32 || rows > kMostRows || width > kMostElements ||
      !norm_is_faster_in_stream(norm, rows, width, residual, codes, facts))
    return {};
  NormStream s;
  s.threads = stream_threads(norm, residual, codes);
  s.cluster = static_cast<int>((width + s.threads * kThreadElements - 1) / (s.threads * kThreadElements));
  if (s.cluster == 1 && norm == Norm::layer)  // as many as for a row in registers
    s.threads = static_cast<int>((width + 32 * kThreadElements - 1) / (32 * kThreadElements) * 32);
  // Two rows a block, three where the last pass reads its slot again or where blocks are small: more were never faster.
  s.stages = stream_rereads(norm, residual, codes) || (!residual && s.threads < kStreamBlock) ? 3 : 2;
  s.slot_bytes = s.threads * kThreadElements * size_of(dtype) * (residual ? 2 : 1);
  return s;
}
template <class Args>
NormStream split_norm_stream(Norm norm, const Args& a, const DeviceFacts& facts) {
  return split_norm_stream(norm, a.x.dim(0), a.x.dim(1), a.x.dtype(), static_cast<bool>(a.residual),
                           static_cast<bool>(a.y_codes), facts);
}
// Whether it takes these arguments (a bias aside).
template <class Args>
bool norm_streams(Norm norm, const Args& a, const DeviceFacts& facts) {
  const bool rereads = stream_rereads(norm, static_cast<bool>(a.residual), static_cast<bool>(a.y_codes));
  const NormStream s = split_norm_stream(norm, a, facts);
  return s.threads > 0 && s.stages * s.slot_bytes + 4096 <= facts.shared_bytes_per_block &&
         !(rereads && a.y) && octets_aligned(a.x) && octets_aligned(a.residual) && octets_aligned(a.u) &&
         octets_aligned(a.y) && octets_aligned(a.y_codes) && a.weight.dtype() == a.x.dtype() &&
         parameter_fits(a.weight, a.x.dtype());
}

template <Norm kNorm, class T>
void launch_norm_in_stream(const Context& ctx, const char* name, const NormRows<T>& rows) {
  if (rows.rows == 0) return;
  const NormStream split = split_norm_stream(kNorm, rows.rows, rows.width, DTypeOf<T>::value,
                                             rows.residual != nullptr, rows.codes != nullptr, *ctx.facts);
  LaunchShape shape{.kernel = name,
                    .grid = dim3(static_cast<unsigned>(split.cluster)),
                    .block = dim3(static_cast<unsigned>(split.threads)),
                    .shared_bytes = split.stages * split.slot_bytes,
                    .cluster = split.cluster,
                    .overlap = true};
  const auto run = [&](void (*kernel)(NormRows<T>, TurnPlan)) {
    const int64_t resident = resident_clusters(reinterpret_cast<const void*>(kernel), shape);
    const TurnPlan plan{.turns = static_cast<int>(rows.rows),
                        .clusters = static_cast<int>(rows.rows < resident ? rows.rows : resident),
                        .stages = split.stages,
                        .counter = stream_counter(ctx, name)};
    shape.grid.x *= static_cast<unsigned>(plan.clusters);
    launch(ctx, shape, kernel, rows, plan);
  };
  if (rows.residual)
    run(rows.codes ? norm_in_stream<T, kNorm, true, true> : norm_in_stream<T, kNorm, true, false>);
  else
    run(rows.codes ? norm_in_stream<T, kNorm, false, true> : norm_in_stream<T, kNorm, false, false>);
}

}  // namespace octavo::cuda
