// Rows of 16 bits that stream through shared memory (sm_90): a cluster of blocks takes rows as it gets done with others
// (row_turns.cuh), while the copy engine fills slots with the rows to come.
//
//   slot of a row: [inputs][octets * threads octets], this block's part of the row
//   loop:          row from its slot into registers, sums; reduction (its barrier frees the slot: refill); last pass
#pragma once
#include "cuda/ptx/bulk_copy.cuh"
#include "cuda/ptx/kept.cuh"
#include "cuda/row_statistics.cuh"
#include "cuda/row_turns.cuh"
#include "cuda/rows.cuh"
#include "cuda/stream_counter.h"

namespace octavo::cuda {

inline constexpr int kStreamBlock = 512;  // threads of a multiprocessor, with 128 registers each

// How a row's threads are laid out.
struct StreamForm {
  int threads;          // of a block, at least 96
  int octets;           // of a row in a thread
  int blocks = 1;       // on a multiprocessor: while one waits for a reduction, another computes
  int stages = 2;       // rows in flight or in work a block
  int inputs = 1;       // 2: x and residual
  bool pieces = false;  // a piece of the row a warp (PackedColumns); else a block's threads lie side by side
  bool starts = false;  // every block gets the row's first octet too
  // Or the compiler computes an address for every octet, a tenth of the instructions; layer norms lose up to a point by it.
  bool keeps_address = true;

  constexpr int capacity() const { return octets * threads; }  // octets of a block
};

// Which use of which slot this is, and its row.
struct StreamTurn {
  int number = 0;  // counts this cluster's turns
  int stage = 0;
  uint32_t phase = 0;
  int64_t row = TurnQueue::kNone;
  uint32_t address = 0;  // of this thread's first octet in shared memory, where the form keeps it
};

// The rows on their way to this block. NOTE: no members but references to shared memory and kernel parameters: the last pass
// has no register to spare. The first warp sends a reduction's part to the other blocks, so others fill slots and ask for rows.
// `Rows`: the kernel's parameters x, residual, their strides and width.
template <class T, class Rows, StreamForm kForm>
class RowSlots {
 public:
  static constexpr int kInputs = kForm.inputs, kOctets = kForm.octets;
  struct Shared {
    uint4 start[kForm.starts ? kMaxStages : 1][kInputs];  // of each row, its first octet
    uint64_t filled[kMaxStages];                          // mbarriers
    int row[kMaxStages];
    TurnQueue::Shared queue;
  };

  __device__ __forceinline__ RowSlots(Shared& shared, uint4* slots, const Rows& p, const TurnPlan& plan)
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
    return begin() + (kForm.pieces ? thread / 32 * (32 * kOctets) + thread % 32 : thread) * kOctet;
  }
  static constexpr int kApart = (kForm.pieces ? 32 : kForm.threads) * kOctet;  // elements
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
    if constexpr (kForm.keeps_address) turn.address = ptx::kept(ptx::shared_address(mine(turn.stage, 0)));
    return turn.row >= 0;
  }
  __device__ __forceinline__ StreamTurn after(StreamTurn turn) const {
    ++turn.number;
    if (++turn.stage == plan_.stages) turn.stage = 0, turn.phase ^= 1;
    return turn;
  }
  __device__ __forceinline__ static bool refills() { return is_filler() || is_asker(); }
  // The slot of this turn, which nobody reads any more, takes the next row.
  __device__ __forceinline__ void refill(const StreamTurn& turn) {
    if (is_filler()) fill(queue_.later_turn(turn.number), turn.stage);
    if (is_asker()) queue_.prepare(turn.number + 1);
  }
  // Octet i of this thread.
  __device__ __forceinline__ RawOctet<T> octet(const StreamTurn& turn, int input, int i) const {
    if constexpr (kForm.keeps_address) {
      const int after =
          input * capacity() * static_cast<int>(sizeof(uint4)) + i * kApart * static_cast<int>(sizeof(T));
      return {{ptx::load_shared(turn.address + static_cast<uint32_t>(after))}};
    } else {
      return {{mine(turn.stage, input)[i * (kApart / kOctet)]}};
    }
  }
  __device__ __forceinline__ RawOctet<T> first_octet(const StreamTurn& turn, int input) const {
    return {{shared_.start[turn.stage][input]}};
  }

 private:
  __device__ __forceinline__ static bool is_filler() { return threadIdx.x == 32; }
  __device__ __forceinline__ static bool is_asker() { return threadIdx.x / 32 == 2; }
  // Rows in pieces that one block has may have fewer threads.
  __device__ __forceinline__ static int capacity() {  // octets of a slot's input
    return kForm.pieces ? kOctets * static_cast<int>(blockDim.x) : kForm.capacity();
  }
  __device__ __forceinline__ static int begin() {  // this block's first column
    return static_cast<int>(ptx::cluster_rank()) * capacity() * kOctet;
  }
  __device__ __forceinline__ uint4* slot(int stage, int input) const {
    return slots_ + (stage * kInputs + input) * capacity();
  }
  // This thread's first octet.
  __device__ __forceinline__ const uint4* mine(int stage, int input) const {
    return slot(stage, input) + (column() - begin()) / kOctet;
  }
  __device__ __forceinline__ void fill(int row, int stage) {
    if (row == TurnQueue::kEnded) return;
    shared_.row[stage] = row;
    uint64_t* filled = &shared_.filled[stage];
    if (row == TurnQueue::kNone) return ptx::mbarrier_arrive(filled);
    constexpr uint32_t kStart = kForm.starts ? sizeof(uint4) : 0;
    const auto bytes =
        static_cast<uint32_t>(max(0, min(p_.width - begin(), capacity() * kOctet)) * sizeof(T));
    ptx::mbarrier_arrive_expect(filled, kInputs * (bytes + kStart));
#pragma unroll
    for (int i = 0; i < kInputs; ++i) {
      const T* from = i == 0 ? p_.x + row * p_.x_stride : p_.residual + row * p_.residual_stride;
      if constexpr (kForm.starts) ptx::bulk_load(&shared_.start[stage][i], from, kStart, filled);
      if (bytes > 0) ptx::bulk_load(slot(stage, i), from + begin(), bytes, filled);
    }
  }
  Shared& shared_;
  uint4* slots_;
  const Rows& p_;
  const TurnPlan& plan_;
  TurnQueue queue_;
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
    uint64_t begun[2];                                   // mbarriers: by every warp of this block
  };
  __device__ __forceinline__ explicit DirectReduction(Shared& shared) : shared_(shared) {
    if (threadIdx.x == 0)
      for (int i = 0; i < 2; ++i)
        ptx::mbarrier_init(&shared.arrived[i], 1), ptx::mbarrier_init(&shared.begun[i], warps());
  }
  __device__ __forceinline__ void begin(int number, const RowStatistics& mine) {
    const RowStatistics warp = over_warp<kSecond>(mine);
    const uint32_t lane = threadIdx.x % 32, blocks = ptx::cluster_size();
    float2* part = &shared_.part[number & 1][ptx::cluster_rank() * warps() + threadIdx.x / 32];
    uint64_t* arrived = &shared_.arrived[number & 1];
    if (lane < blocks) ptx::store_to_peer(part, arrived, lane, make_float2(warp.sum, warp.second));
    if (threadIdx.x == 0)
      ptx::mbarrier_arrive_expect(arrived, blocks * warps() * static_cast<uint32_t>(sizeof(float2)));
    __syncwarp();
    if (lane == 0) ptx::mbarrier_arrive(&shared_.begun[number & 1]);
  }
  // What this block's threads did before begin is done, in every thread's eyes: st.async orders only itself. For the few
  // that overwrite what others have read.
  __device__ __forceinline__ void wait_for_begin(int number) const {
    ptx::mbarrier_wait(&shared_.begun[number & 1], static_cast<uint32_t>(number / 2) & 1);
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

// ---- launch ----------------------------------------------------------------------------------------------------------

struct RowsInSlots {
  int threads = 0;  // of a block; 0: not for these rows
  int cluster = 1;  // blocks of a row
  int blocks = 1;   // on a multiprocessor
  int stages = 0;
  int64_t slot_bytes = 0;
};
inline RowsInSlots split_row_in_slots(const StreamForm& form, int64_t rows, int64_t width, DType dtype,
                                      const DeviceFacts& facts) {
  constexpr int64_t kMostRows = int64_t{1} << 30;  // a turn is an int
  const int64_t elements = int64_t{form.capacity()} * kOctet;
  if (facts.compute_capability < 90 || dtype == DType::f32 || rows > kMostRows ||
      width > kMaxRowCluster * elements)
    return {};
  RowsInSlots s{.threads = form.threads,
                .cluster = static_cast<int>((width + elements - 1) / elements),
                .blocks = form.blocks,
                .stages = form.stages};
  if (s.cluster == 1 && form.pieces) {  // as many as for a row in registers
    const int64_t of_warp = int64_t{32} * form.octets * kOctet;
    s.threads = static_cast<int>((width + of_warp - 1) / of_warp * 32);
  }
  s.slot_bytes = int64_t{s.threads} * form.octets * kOctet * size_of(dtype) * form.inputs;
  return s;
}
inline bool slots_fit(const RowsInSlots& s, const DeviceFacts& facts) {
  return s.threads > 0 && s.blocks * (s.stages * s.slot_bytes + 4096) <= facts.shared_bytes_per_block;
}

template <class Rows>
void launch_in_slots(const Context& ctx, const char* name, void (*kernel)(Rows, TurnPlan),
                     const RowsInSlots& split, const Rows& rows) {
  if (rows.rows == 0) return;
  LaunchShape shape{.kernel = name,
                    .grid = dim3(static_cast<unsigned>(split.cluster)),
                    .block = dim3(static_cast<unsigned>(split.threads)),
                    .shared_bytes = split.stages * split.slot_bytes,
                    .cluster = split.cluster,
                    .overlap = true};
  const int64_t resident = resident_clusters(reinterpret_cast<const void*>(kernel), shape);
  const TurnPlan plan{.turns = static_cast<int>(rows.rows),
                      .clusters = static_cast<int>(rows.rows < resident ? rows.rows : resident),
                      .stages = split.stages,
                      .counter = stream_counter(ctx, name)};
  shape.grid.x *= static_cast<unsigned>(plan.clusters);
  launch(ctx, shape, kernel, rows, plan);
}

}  // namespace octavo::cuda
