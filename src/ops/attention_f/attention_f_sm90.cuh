// The Hopper mainloop of attention_f. One producer warp fills rings of K and V tiles by TMA; each consumer warpgroup owns 64
// rows of the tile: scores S = Q K^T (wgmma, both operands in shared memory), online softmax in registers, O += P V (wgmma, P
// in registers). Within a warpgroup the next scores are computed while the last product runs; the warpgroups take turns at
// the tensor cores, so that one's softmax runs under the others' products. Where there are too few rows for the machine, the
// warpgroups of a block, or of a cluster of blocks, share 64 rows instead: the key tiles go round among them, and the first
// one adds up what they have.
#pragma once
#include <cuda.h>

#include "cuda/attention_output.cuh"
#include "cuda/attention_softmax.cuh"
#include "cuda/ptx/bulk_copy.cuh"
#include "cuda/ptx/cluster.cuh"
#include "cuda/ptx/grid_dependency.cuh"
#include "cuda/ptx/tensor_copy.cuh"
#include "cuda/ptx/warpgroup.cuh"
#include "cuda/ptx/wgmma_f16.cuh"
#include "ops/attention_f/attention_f_call.cuh"

namespace octavo {

namespace ptx = cuda::ptx;

inline constexpr int kGroupThreads = 128;
inline constexpr int kPage = KvView::kPageTokens, kBoxColumns = 64,
                     kGroupBytes = 64 * 128;  // of a warpgroup's queries
inline constexpr int kMostKeyBlockShift = 2;  // 4 blocks of a cluster share a tile of rows at most

struct AttentionCall {
  CUtensorMap q;     // boxes of 64 rows x 64 columns: (column, head, token)
  CUtensorMap k, v;  // boxes of kBoxKeys keys x 64 columns: (column, key in page, head, page, sequence)
  cuda::AttentionSizes sizes;
  cuda::RowOperands rows;
  float scale_log2;  // scale * log2(e)
  int key_shift;  // 1 << key_shift blocks of a cluster share its one tile of rows; 0: no clusters, blocks are persistent
};

// Consumer warpgroups (kRowGroups with 64 rows each, or kKeyGroups that share the same 64), keys of a tile, tiles of K and V
// and of queries that shared memory holds.
template <class T_, int kHeadDim_, int kRowGroups_, int kKeyGroups_, int kKeys_, int kStages_,
          int kQueryStages_>
struct AttentionConfig {
  using T = T_;
  static constexpr int kHeadDim = kHeadDim_, kRowGroups = kRowGroups_, kKeyGroups = kKeyGroups_;
  static constexpr int kGroups = kRowGroups * kKeyGroups, kKeys = kKeys_, kStages = kStages_;
  static constexpr int kQueryStages = kQueryStages_;
  static_assert(kRowGroups == 1 || kKeyGroups == 1);
  static_assert((kKeyGroups & (kKeyGroups - 1)) == 0);
  using Softmax = cuda::OnlineSoftmax<8>;
  static constexpr bool kTurns = kRowGroups > 1, kSharesRows = kKeyGroups > 1;
  static constexpr int kRows = 64 * kRowGroups, kThreads = (kGroups + 1) * kGroupThreads;
  static constexpr int kParts = kHeadDim / kBoxColumns;  // of 64 columns
  // Of a thread, moved between warpgroups (not with two of them: there everyone has enough).
  // NOTE: they share what the block got at the start, kGroups == 3 ? 4 * 128 : 3 * 168; asking for more hangs.
  static constexpr bool kMovesRegisters = kGroups > 1;
  static constexpr int kProducerRegisters = kGroups == 3 ? 32 : kKeys > 128 ? 24 : 40;
  static constexpr int kConsumerRegisters = kGroups == 3 ? 160 : kKeys > 128 ? 240 : 232;
  static_assert(kProducerRegisters + kGroups * kConsumerRegisters <= (kGroups == 3 ? 512 : 504));
  static constexpr int kKeyBytes = kKeys * 128, kQueryBytes = kRows * 128;           // of one part
  static constexpr int kBoxKeys = kKeys % 64 == 0 ? 64 : kKeys % 32 == 0 ? 32 : 16;  // boxes lie inside pages
  static constexpr int kBoxBytes = kBoxKeys * 128;
  static_assert(kHeadDim % kBoxColumns == 0 && kKeys % kBoxKeys == 0);
};

enum Operand { kK, kV };

// What a thread has summed up over some of the keys: its part of O, tops and sums of its two rows.
template <class C>
struct PartialSums {
  static constexpr int kWords = C::kHeadDim / 8 + 1;
  int4 word[C::kSharesRows ? kWords : 1]
           [C::kSharesRows ? kGroupThreads : 1];  // as good as nothing where none is needed
};

template <class C>
struct AttentionShared {
  // What the block works on, for all roles. An epilogue reads a record while the next queries arrive, hence one more.
  static constexpr int kRecords = C::kQueryStages + 1;
  alignas(1024) uint8_t q[C::kQueryStages][C::kParts][C::kQueryBytes];
  alignas(1024) uint8_t keys[2][C::kStages][C::kParts][C::kKeyBytes];  // of K, of V
  uint64_t q_full[C::kQueryStages], q_empty[C::kQueryStages];
  uint64_t full[2][C::kStages], empty[2][C::kStages];
  uint64_t known[kRecords];             // the record is written
  cuda::AttentionTile tiles[kRecords];  // sequence -1: the end
  // Where rows are shared: what the other groups have, then the other blocks. The latter have all arrived.
  PartialSums<C> partial[C::kSharesRows ? C::kKeyGroups - 1 + (1 << kMostKeyBlockShift) - 1 : 1];
  uint64_t peers_full;

  __device__ __forceinline__ void init(int key_shift) {
    constexpr int kReaders = 4 * C::kGroups;  // warps
    for (int i = 0; i < C::kQueryStages; ++i)
      ptx::mbarrier_init(&q_full[i], 1), ptx::mbarrier_init(&q_empty[i], kReaders);
    for (int i = 0; i < kRecords; ++i) ptx::mbarrier_init(&known[i], 1);
    for (int i = 0; i < 2 * C::kStages; ++i)
      ptx::mbarrier_init(&full[0][i], 1), ptx::mbarrier_init(&empty[0][i], 4 * C::kRowGroups);
    if (C::kSharesRows) {
      ptx::mbarrier_init(&peers_full, 1);
      ptx::mbarrier_arrive_expect(&peers_full, ((1 << key_shift) - 1) * sizeof(PartialSums<C>));
    }
  }
};

// A place in a ring and the parity of its current use; kStep places from one use to the next.
template <int kStages, int kStep>
struct RingSlot {
  static_assert(kStep <= kStages);
  int stage = 0;
  uint32_t phase = 0;

  __device__ __forceinline__ static RingSlot of_load(uint32_t n) {
    return {static_cast<int>(n % kStages), n / kStages & 1};
  }
  __device__ __forceinline__ void next() {
    stage += kStep;
    if (stage >= kStages) stage -= kStages, phase ^= 1;
  }
  __device__ __forceinline__ RingSlot previous() const {
    return stage < kStep ? RingSlot{stage + kStages - kStep, phase ^ 1} : RingSlot{stage - kStep, phase};
  }
};

// Where the n-th tile of a block lies: its queries and its record.
template <class C>
struct TileSlot {
  uint32_t n = 0;

  __device__ __forceinline__ uint32_t stage() const { return n % C::kQueryStages; }
  __device__ __forceinline__ uint32_t phase() const { return n / C::kQueryStages & 1; }
  __device__ __forceinline__ uint32_t record() const { return n % (C::kQueryStages + 1); }
  __device__ __forceinline__ uint32_t record_phase() const { return n / (C::kQueryStages + 1) & 1; }
};

// Every thread that reads a record says when it is through, so that the next one may take its place. Barrier 8 + record.
// NOTE: not an mbarrier: 32 arrivals a warp cost 11 % at D = 64, one arrival a warp is what racecheck takes for a race.
template <class C>
struct RecordsRead {
  static constexpr int kThreads =
      32 * (4 * C::kGroups + 2 + 1);  // consumers, producers, and the warp that assigns
  __device__ __forceinline__ static void arrive(const TileSlot<C>& at) {
    ptx::named_barrier_arrive(8 + at.record(), kThreads);
  }
  __device__ __forceinline__ static void wait(const TileSlot<C>& at) {
    if (at.n >= AttentionShared<C>::kRecords) ptx::named_barrier_sync(8 + at.record(), kThreads);
  }
};

__device__ __forceinline__ void release(uint64_t* empty) {
  if (threadIdx.x % 32 == 0) ptx::mbarrier_arrive(empty);
}
// The key tiles of a block among all of a tile of rows, where rows are shared: kKeyGroups in a row for each block in turn.
template <class C>
struct KeyRound {
  int first,
      step;  // of this block's first warpgroup, counted from the last key tile; from one of its tiles to the next

  __device__ __forceinline__ explicit KeyRound(const AttentionCall& call)
      : first(C::kSharesRows ? (static_cast<int>(blockIdx.x) & ((1 << call.key_shift) - 1)) * C::kKeyGroups
                             : 0),
        step(C::kSharesRows ? C::kKeyGroups << call.key_shift : 1) {}
  __device__ __forceinline__ bool has(int tile) const {
    return !C::kSharesRows ||
           static_cast<unsigned>((tile & (step - 1)) - first) < static_cast<unsigned>(C::kKeyGroups);
  }
};

// ---- producers: three warps

// Keys [first_key, first_key + kBoxKeys) of K or V to kParts boxes. Keys from tile.keys on are not read. A box that holds the
// last key inside arrives through registers, zeros behind it: 0 * NaN is NaN, so V must hold no garbage. Of a box without
// keys, V is all zeros and K keeps what was there (its scores are masked). Returns the bytes that the copy engine will bring.
template <class C>
__device__ __forceinline__ uint32_t load_box_of_keys(uint8_t* to, const AttentionCall& call, Operand which,
                                                     const cuda::AttentionTile& tile, int first_key,
                                                     uint64_t* full) {
  const int lane = static_cast<int>(threadIdx.x) % 32, live = tile.keys - first_key;
  const KvView& kv = call.rows.kv;
  if (live >= C::kBoxKeys) {
    if (lane == 0) {
      const bool table = kv.page_table;
      const int page = first_key / kPage;
      const int entry = table ? kv.page_table[tile.sequence * kv.pages_per_sequence + page] : page;
#pragma unroll
      for (int part = 0; part < C::kParts; ++part)
        ptx::load_box(to + part * C::kKeyBytes, which == kV ? &call.v : &call.k, part * kBoxColumns,
                      first_key % kPage, tile.kv_head, entry, table ? 0 : tile.sequence, full);
    }
    return C::kParts * C::kBoxBytes;
  }
  if (which == kK && live <= 0) return 0;
  const auto* from = static_cast<const typename C::T*>(which == kV ? kv.v : kv.k) +
                     (live > 0 ? kv.offset(tile.sequence, tile.kv_head, first_key) : 0);
  const int octet = lane % 8;
#pragma unroll 1
  for (int i = lane / 8; i < C::kBoxKeys * C::kParts; i += 4) {
    const int part = i / C::kBoxKeys, key = i % C::kBoxKeys;
    uint4 bits{};
    if (key < live && part * kBoxColumns + octet * 8 < kv.head_dim)
      bits = ptx::load_cached(
          reinterpret_cast<const uint4*>(from + key * kv.token_stride + part * kBoxColumns + octet * 8));
    *reinterpret_cast<uint4*>(to + part * C::kKeyBytes + key * 128 + (octet ^ key % 8) * 16) = bits;
  }
  ptx::shared_before_bulk();
  return 0;
}

// One warp: what the block works on, tile after tile, and its queries.
template <class C>
__device__ __forceinline__ void assign_tiles(AttentionShared<C>& shared, const AttentionCall& call) {
  cuda::AttentionWork<C::kRows> work(call.sizes, static_cast<int>(blockIdx.x) >> call.key_shift);
  TileSlot<C> at;
  cuda::AttentionTile tile;
  bool more = true;
  for (; more; ++at.n) {
    more = work.next(call.sizes, tile);
    if (!more) tile.sequence = -1;
    ptx::mbarrier_wait(&shared.q_empty[at.stage()], at.phase() ^ 1);
    RecordsRead<C>::wait(at);
    if (threadIdx.x % 32 == 0) {
      uint64_t* full = &shared.q_full[at.stage()];
      shared.tiles[at.record()] = tile;
      ptx::mbarrier_arrive(&shared.known[at.record()]);
      ptx::mbarrier_arrive_expect(full, more ? C::kParts * C::kQueryBytes : 0);
#pragma unroll 1
      for (int i = 0; i < C::kParts * C::kRowGroups && more; ++i)
        ptx::load_box(
            shared.q[at.stage()][0] + i * kGroupBytes, &call.q,
            make_int3(i / C::kRowGroups * kBoxColumns, tile.head,
                      tile.first_token + ((tile.row + i % C::kRowGroups * 64) >> call.sizes.pack_shift)),
            full);
    }
    __syncwarp();
  }
}

// One warp: K or V of every tile, from the last key tile to the first.
template <class C>
__device__ __forceinline__ void produce_keys(AttentionShared<C>& shared, const AttentionCall& call,
                                             Operand which) {
  uint32_t load = 0;
  const KeyRound<C> round(call);
  for (TileSlot<C> at;; ++at.n) {
    ptx::mbarrier_wait(&shared.known[at.record()], at.record_phase());
    const cuda::AttentionTile& tile = shared.tiles[at.record()];
    if (tile.sequence < 0) return;
    const cuda::KeyTiles all = cuda::key_tiles<C::kKeys>(call.sizes, tile, tile.row, C::kRows);
#pragma unroll 1
    for (int n = all.end - 1; n >= all.first; --n) {
      if (!round.has(all.end - 1 - n)) continue;
      const uint32_t stage = load % C::kStages;
      uint64_t* full = &shared.full[which][stage];
      ptx::mbarrier_wait(&shared.empty[which][stage], load / C::kStages & 1 ^ 1);
      ++load;
      uint32_t bytes = 0;
#pragma unroll 1
      for (int i = 0; i < C::kKeys / C::kBoxKeys; ++i)
        bytes += load_box_of_keys<C>(shared.keys[which][stage][0] + i * C::kBoxBytes, call, which, tile,
                                     n * C::kKeys + i * C::kBoxKeys, full);
      __syncwarp();
      // NOTE: the bytes may arrive before this announces them; the phase cannot end without its one arrival.
      if (threadIdx.x % 32 == 0) ptx::mbarrier_arrive_expect(full, bytes);
    }
    RecordsRead<C>::arrive(at);
  }
}

// ---- consumers

// Warpgroups issue their products one after the other, in rounds. Barrier 1 + group.
template <class C>
struct Turns {
  int group;

  __device__ __forceinline__ void start() const {
    if (C::kTurns && group == C::kGroups - 1) pass();
  }
  __device__ __forceinline__ void wait() const {
    if (C::kTurns) ptx::named_barrier_sync(1 + group, 2 * kGroupThreads);
  }
  __device__ __forceinline__ void pass() const {
    if (C::kTurns)
      ptx::named_barrier_arrive(1 + (group + 1 == C::kGroups ? 0 : group + 1), 2 * kGroupThreads);
  }
};

template <class C>
__device__ __forceinline__ void issue_scores(AttentionShared<C>& shared, uint32_t& q, int stage,
                                             float (&s)[C::kKeys / 2]) {
  const uint32_t right = ptx::tile_word(ptx::shared_address(shared.keys[kK][stage][0]));
  ptx::keep(q);  // not the sums below
  ptx::wgmma_begin();
#pragma unroll
  for (int part = 0; part < C::kParts; ++part)
#pragma unroll
    for (int k = 0; k < 128; k += 32)
      ptx::wgmma_f16<typename C::T>(s, ptx::advance_word(q, part * C::kQueryBytes + k),
                                    ptx::advance_word(right, part * C::kKeyBytes + k), part | k);
  ptx::wgmma_commit();
}

template <class C>
__device__ __forceinline__ void issue_output(AttentionShared<C>& shared, const uint32_t (&p)[C::kKeys / 4],
                                             int stage, float (&o)[C::kHeadDim / 2]) {
  const uint32_t right = ptx::row_word(ptx::shared_address(shared.keys[kV][stage][0]), C::kKeyBytes);
  ptx::wgmma_begin();
#pragma unroll
  for (int k = 0; k < C::kKeys / 16; ++k)
    ptx::wgmma_f16_registers<typename C::T>(o, p + 4 * k, ptx::advance_word(right, k * 16 * 128), 1);
  ptx::wgmma_commit();
}

template <class C>
__device__ __forceinline__ void pack_weights(const float (&s)[C::kKeys / 2], uint32_t (&p)[C::kKeys / 4]) {
#pragma unroll
  for (int i = 0; i < C::kKeys / 4; ++i) p[i] = cuda::pack_pair(s[2 * i], s[2 * i + 1], typename C::T{});
}

// Rows of a thread within the sequence: this one and the one 8 further.
template <class C>
__device__ __forceinline__ int first_row_of_thread(const cuda::AttentionTile& tile) {
  const int thread =
      C::kRowGroups == 1 ? ptx::thread_index() % kGroupThreads : ptx::thread_index() - kGroupThreads;
  return tile.row + thread / 32 * 16 + thread % 32 / 4;
}

template <class C>
__device__ __forceinline__ void mask_keys(const AttentionCall& call, const cuda::AttentionTile& tile,
                                          int first_key, float (&s)[C::kKeys / 2]) {
  const int row = first_row_of_thread<C>(tile);
  int first[2], end[2];
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const cuda::KeyRange keys = cuda::keys_of_token(call.sizes, tile, (row + 8 * i) >> call.sizes.pack_shift);
    first[i] = keys.first - first_key, end[i] = keys.end - first_key;
  }
  cuda::mask_scores(s, first, end);
}

// Writes the rows; those that met Inf or NaN in V are computed again key by key, since 0 * NaN in a masked place is NaN.
template <class C>
__device__ __forceinline__ void store_output(const AttentionCall& call, const cuda::AttentionTile& tile,
                                             const float (&o)[C::kHeadDim / 2],
                                             const typename C::Softmax& softmax) {
  using T = typename C::T;
  const int shift = call.sizes.pack_shift, in_pack = (1 << shift) - 1,
            first_row = first_row_of_thread<C>(tile);
  T* out[2];
  float factor[2];
  bool repair[2];
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const float total = softmax.total(i);
    factor[i] = softmax.is_empty(total) ? 0.0f : ptx::reciprocal_fast(total);
    const int row = first_row + 8 * i;
    const int64_t token = tile.first_token + (row >> shift), head = tile.head + (row & in_pack);
    const bool exists = row >> shift < tile.queries;
    out[i] = exists ? static_cast<T*>(call.rows.out) + token * call.rows.out_token + head * call.rows.out_head
                    : nullptr;
    if (exists && call.rows.lse && ptx::thread_index() % 4 == 0)
      call.rows.lse[token * call.rows.lse_token + head * call.rows.lse_head] =
          softmax.log_sum(i, total, call.scale_log2);
    repair[i] = exists && total == total && cuda::row_is_not_finite(o, i);
  }
  cuda::store_rows(o, factor, out, call.rows.head_dim);
  cuda::attend_rows<C::kHeadDim / 32>(call.rows, call.sizes, tile, first_row - ptx::thread_index() % 32 / 4,
                                      repair);
}

template <class C, class Store>
__device__ __forceinline__ void give_sums(const typename C::Softmax& softmax,
                                          const float (&o)[C::kHeadDim / 2], const Store& store) {
#pragma unroll
  for (int i = 0; i < C::kHeadDim / 8; ++i) {
    const float* part = o + 4 * i;
    store(i, make_int4(__float_as_int(part[0]), __float_as_int(part[1]), __float_as_int(part[2]),
                       __float_as_int(part[3])));
  }
  store(C::kHeadDim / 8, make_int4(__float_as_int(softmax.top[0]), __float_as_int(softmax.top[1]),
                                   __float_as_int(softmax.sum[0]), __float_as_int(softmax.sum[1])));
}

template <class C>
__device__ __forceinline__ void add_sums(const PartialSums<C>& from, int thread, float c,
                                         typename C::Softmax& softmax, float (&o)[C::kHeadDim / 2]) {
  float own[2], theirs[2];
  const int4 rows = from.word[C::kHeadDim / 8][thread];
  softmax.join(0, __int_as_float(rows.x), __int_as_float(rows.z), c, own[0], theirs[0]);
  softmax.join(1, __int_as_float(rows.y), __int_as_float(rows.w), c, own[1], theirs[1]);
#pragma unroll
  for (int i = 0; i < C::kHeadDim / 8; ++i) {  // two columns of each row
    const int4 part = from.word[i][thread];
    o[4 * i] = fmaf(__int_as_float(part.x), theirs[0], o[4 * i] * own[0]);
    o[4 * i + 1] = fmaf(__int_as_float(part.y), theirs[0], o[4 * i + 1] * own[0]);
    o[4 * i + 2] = fmaf(__int_as_float(part.z), theirs[1], o[4 * i + 2] * own[1]);
    o[4 * i + 3] = fmaf(__int_as_float(part.w), theirs[1], o[4 * i + 3] * own[1]);
  }
}

// What all that share the rows have becomes one softmax and one O, added in their order, in group 0 of the cluster's first
// block: true there. All groups call.
template <class C>
__device__ __forceinline__ bool merge_shared_rows(AttentionShared<C>& shared, const AttentionCall& call,
                                                  int group, typename C::Softmax& softmax,
                                                  float (&o)[C::kHeadDim / 2]) {
  constexpr int kThere = 4, kTaken = 5, kOthers = C::kKeyGroups - 1;  // barriers; other groups of this block
  const int thread = ptx::thread_index() % kGroupThreads;
  if (group > 0)
    give_sums<C>(softmax, o, [&](int i, int4 v) { shared.partial[group - 1].word[i][thread] = v; });
  ptx::named_barrier_sync(kThere, C::kGroups * kGroupThreads);
  for (int other = 0; other < kOthers && group == 0; ++other)
    add_sums<C>(shared.partial[other], thread, call.scale_log2, softmax, o);
  ptx::named_barrier_sync(kTaken, C::kGroups * kGroupThreads);
  if (group > 0 || call.key_shift == 0) return group == 0;
  if (const int rank = static_cast<int>(ptx::cluster_rank()); rank > 0) {
    give_sums<C>(softmax, o, [&](int i, int4 v) {
      ptx::store_to_peer(&shared.partial[kOthers + rank - 1].word[i][thread], &shared.peers_full, 0, v);
    });
    return false;
  }
  ptx::mbarrier_wait(&shared.peers_full, 0);
  for (int peer = 0; peer < (1 << call.key_shift) - 1; ++peer)
    add_sums<C>(shared.partial[kOthers + peer], thread, call.scale_log2, softmax, o);
  return true;
}

template <class C>
__device__ __forceinline__ void consume(AttentionShared<C>& shared, const AttentionCall& call, int group) {
  const Turns<C> turns{group};
  const float c = call.scale_log2;
  TileSlot<C> at;
  RingSlot<C::kStages, C::kKeyGroups> slot;
  const KeyRound<C> round(call);
  uint32_t loads = 0;
  turns.start();
  while (true) {
    ptx::mbarrier_wait(&shared.q_full[at.stage()], at.phase());
    const cuda::AttentionTile& tile = shared.tiles[at.record()];
    if (tile.sequence < 0) return;
    const cuda::KeyTiles all = cuda::key_tiles<C::kKeys>(call.sizes, tile, tile.row, C::kRows);
    cuda::KeyTiles mine = all;
    if constexpr (C::kSharesRows) {
      slot = RingSlot<C::kStages, C::kKeyGroups>::of_load(loads + group);
      loads += all.count();  // of a block without a cluster; others have one tile
      mine.end = all.end - round.first - group;
    } else {
      mine = cuda::key_tiles<C::kKeys>(call.sizes, tile, tile.row + 64 * group, 64);
      if (mine.count() == 0) mine.first = mine.end = all.first;
    }
    const int row_group = C::kSharesRows ? 0 : group;
    uint32_t q = ptx::tile_word(ptx::shared_address(shared.q[at.stage()][0] + row_group * kGroupBytes));
    float s[C::kKeys / 2], o[C::kHeadDim / 2] = {}, rescale[2];
    uint32_t p[C::kKeys / 4];
    typename C::Softmax softmax;
    const auto skip = [&] {  // keys that only the other warpgroups' rows see
      turns.wait(), turns.pass();
      for (int which = 0; which < 2; ++which) {
        ptx::mbarrier_wait(&shared.full[which][slot.stage], slot.phase);
        release(&shared.empty[which][slot.stage]);
      }
      slot.next();
    };

    for (int n = all.end - 1; n >= mine.end && !C::kSharesRows; --n) skip();
    if (mine.count() > 0) {
      int n = mine.end - 1;
      ptx::mbarrier_wait(&shared.full[kK][slot.stage], slot.phase);
      turns.wait();
      issue_scores<C>(shared, q, slot.stage, s);
      turns.pass();
      ptx::wgmma_wait<0>();
      ptx::keep(s);
      release(&shared.empty[kK][slot.stage]);
      if (mine.is_masked(n)) mask_keys<C>(call, tile, n * C::kKeys, s);
      softmax.update(s, c, rescale);
      pack_weights<C>(s, p);
      ptx::mbarrier_wait(&shared.full[kV][slot.stage], slot.phase);
      slot.next();

#pragma unroll 1
      for (n -= round.step; n >= mine.first; n -= round.step) {
        ptx::mbarrier_wait(&shared.full[kK][slot.stage], slot.phase);
        turns.wait();
        issue_scores<C>(shared, q, slot.stage, s);
        const auto previous = slot.previous();
        issue_output<C>(shared, p, previous.stage, o);
        turns.pass();
        ptx::wgmma_wait<1>();
        ptx::keep(s);
        release(&shared.empty[kK][slot.stage]);
        if (mine.is_masked(n)) mask_keys<C>(call, tile, n * C::kKeys, s);
        softmax.update(s, c, rescale);
        ptx::finish_before(softmax.sum[0] + softmax.sum[1]);
        ptx::mbarrier_wait(&shared.full[kV][slot.stage], slot.phase);
        ptx::wgmma_wait<0>();
        ptx::keep(o);
        release(&shared.empty[kV][previous.stage]);
        cuda::rescale_rows(o, rescale);
        pack_weights<C>(s, p);
        slot.next();
      }
      release(&shared.q_empty[at.stage()]);
      const auto previous = slot.previous();
      issue_output<C>(shared, p, previous.stage, o);
      ptx::wgmma_wait<0>();
      ptx::keep(o);
      release(&shared.empty[kV][previous.stage]);
    } else {
      release(&shared.q_empty[at.stage()]);
    }
    for (int n = mine.first - 1; n >= all.first && !C::kSharesRows; --n) skip();
    if (!C::kSharesRows || merge_shared_rows<C>(shared, call, group, softmax, o))
      store_output<C>(call, tile, o, softmax);
    RecordsRead<C>::arrive(at);
    ++at.n;
  }
}

}  // namespace octavo
