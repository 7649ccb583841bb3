// attention_f on any GPU from Ampere on: tiles of rows by four warps, keys and values in tiles of 32 or 64 through shared memory
// (cp.async, two buffers: one tile travels while the one before is computed), both products by mma.sync, the online softmax in
// registers between them. Head dimensions are padded with zeros to 64, 128 or 256.
#include <type_traits>

#include "cuda/attention_output.cuh"
#include "cuda/attention_softmax.cuh"
#include "cuda/device.h"
#include "cuda/launch.h"
#include "cuda/ptx/grid_dependency.cuh"
#include "cuda/ptx/mma_f16.cuh"
#include "cuda/ptx/mma_s8.cuh"
#include "cuda/ptx/warpgroup.cuh"
#include "ops/attention_f/attention_f_call.cuh"

namespace octavo {
namespace {

namespace ptx = cuda::ptx;

constexpr int kWarps = 4, kThreads = 32 * kWarps, kHeadroom = 8;

template <class T_, int kDim_, int kBlocks_, int kKeys_, int kResident_>
struct PortableConfig {
  using T = T_;
  static constexpr int kDim = kDim_;            // D, padded
  static constexpr int kBlocks = kBlocks_;      // of 16 rows a warp
  static constexpr int kKeys = kKeys_;          // of a tile, which lies inside a page
  static constexpr int kResident = kResident_;  // blocks a multiprocessor
  static constexpr int kRows = 16 * kBlocks * kWarps, kOctets = kDim / 8;
  static constexpr int kRowBytes = 2 * kDim;
  static_assert(KvView::kPageTokens % kKeys == 0);
  using Scores = float[kBlocks][kKeys / 2];
  using Output = float[kBlocks][kDim / 2];
};

// Octet o of row r lies in place o ^ (r % 8), so that the eight rows of a matrix lie in different banks.
template <class C>
struct PortableShared {
  uint4 q[C::kRows][C::kOctets], k[2][C::kKeys][C::kOctets], v[2][C::kKeys][C::kOctets];
  cuda::AttentionTile tile;  // sequence -1: the end
  cuda::KeyTiles tiles;      // of keys that its rows see
  cuda::AttentionWork<C::kRows> work;
};

// Rows [0, kCount) of `octets` octets, row r at row_at(r) elements from `from` or, below 0, all zeros.
template <class C, int kCount, class RowAt>
__device__ __forceinline__ void load_rows(uint4 (*to)[C::kOctets], const void* from, int octets,
                                          RowAt&& row_at) {
  const int thread = static_cast<int>(threadIdx.x), octet = thread % C::kOctets;
#pragma unroll 1
  for (int row = thread / C::kOctets; row < kCount; row += kThreads / C::kOctets) {
    const int64_t at = row_at(row);
    const bool exists = at >= 0 && octet < octets;
    const auto* source = static_cast<const typename C::T*>(from) + (exists ? at + octet * 8 : 0);
    ptx::copy_async(&to[row][octet ^ row % 8], source, exists ? 16 : 0);
  }
}

// The last tile of keys or values, those from tile.keys on as zeros.
template <class C>
__device__ __forceinline__ void load_last_keys(uint4 (*to)[C::kOctets], const void* from,
                                               const cuda::RowOperands& r, const cuda::AttentionTile& tile,
                                               int64_t first, int number) {
  const int live = tile.keys - number * C::kKeys;
  load_rows<C, C::kKeys>(to, from, r.head_dim / 8,
                         [&](int key) { return key < live ? first + key * r.kv.token_stride : -1; });
}

// A thread's part of every other tile: nothing to compute but its addresses.
template <class C>
struct KeyLoader {
  static constexpr int kStep = kThreads / C::kOctets;  // rows between its copies
  int64_t from, step;                                  // bytes
  uint32_t to;
  bool exists;

  __device__ __forceinline__ explicit KeyLoader(const cuda::RowOperands& r) {
    const int thread = static_cast<int>(threadIdx.x), octet = thread % C::kOctets, row = thread / C::kOctets;
    exists = octet < r.head_dim / 8;
    step = 2 * kStep * r.kv.token_stride;
    from = 2 * row * r.kv.token_stride + (exists ? 16 * octet : 0);
    to = static_cast<uint32_t>(row * C::kRowBytes + 16 * (octet ^ row % 8));
  }
  __device__ __forceinline__ void load(void* tile, const void* rows, int64_t first) const {
    const auto* source = static_cast<const uint8_t*>(rows) + 2 * first + from;
#pragma unroll
    for (int i = 0; i < C::kKeys / kStep; ++i, source += step)
      ptx::copy_async(static_cast<uint8_t*>(tile) + (to ^ i * kStep % 8 * 16) + i * kStep * C::kRowBytes,
                      source, exists ? 16 : 0);
  }
};

template <class C>
__device__ __forceinline__ void mma(float* d, const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  ptx::mma_f16(reinterpret_cast<float(&)[4]>(*d), a, b0, b1, typename C::T{});
}

// NOTE: at D > 64 read again at every call: what is computed from it would be kept in registers that there are none of.
template <class C>
__device__ __forceinline__ int thread_of_block() {
  return C::kDim <= 64 ? static_cast<int>(threadIdx.x) : ptx::thread_index();
}

// Of this warp, within the block.
template <class C>
__device__ __forceinline__ int first_row() {
  return thread_of_block<C>() / 32 * 16 * C::kBlocks;
}

// Where this lane's rows of matrices begin, in bytes; the octet is xor-ed in.
template <class C>
struct LanePlaces {
  uint32_t q, k, v;

  __device__ __forceinline__ LanePlaces() {
    const int lane = thread_of_block<C>() % 32;
    v = static_cast<uint32_t>(lane % 16 * C::kRowBytes + 16 * (lane / 16 ^ lane % 8));
    q = v + static_cast<uint32_t>(first_row<C>() * C::kRowBytes);
    k = static_cast<uint32_t>((lane / 16 * 8 + lane % 8) * C::kRowBytes + 16 * (lane / 8 % 2 ^ lane % 8));
  }
};

// s[b] = rows 16 b .. of the warp times the tile's keys.
template <class C>
__device__ __forceinline__ void scores(const void* queries, const void* keys, typename C::Scores& s) {
  const LanePlaces<C> at;
  const auto* q_bytes = static_cast<const uint8_t*>(queries);
  const auto* k_bytes = static_cast<const uint8_t*>(keys);
#pragma unroll
  for (int b = 0; b < C::kBlocks; ++b)
#pragma unroll
    for (int i = 0; i < C::kKeys / 2; ++i) s[b][i] = 0.0f;
#pragma unroll
  for (int d = 0; d < C::kOctets; d += 2) {
    uint32_t q[C::kBlocks][4];
#pragma unroll
    for (int b = 0; b < C::kBlocks; ++b)
      ptx::load_matrices(q[b], q_bytes + (at.q ^ 16 * d) + 16 * b * C::kRowBytes);
#pragma unroll
    for (int key = 0; key < C::kKeys; key += 16) {
      uint32_t k[4];  // keys 0-7: d, d + 1; keys 8-15: d, d + 1
      ptx::load_matrices(k, k_bytes + (at.k ^ 16 * d) + key * C::kRowBytes);
#pragma unroll
      for (int b = 0; b < C::kBlocks; ++b) {
        mma<C>(s[b] + key / 2, q[b], k[0], k[1]);
        mma<C>(s[b] + key / 2 + 4, q[b], k[2], k[3]);
      }
    }
  }
}

// o[b] += weights times the tile's values.
template <class C>
__device__ __forceinline__ void add_values(const void* values, const typename C::Scores& s,
                                           typename C::Output& o) {
  const LanePlaces<C> at;
  const auto* bytes = static_cast<const uint8_t*>(values);
#pragma unroll
  for (int key = 0; key < C::kKeys; key += 16) {
    uint32_t p[C::kBlocks][4];
#pragma unroll
    for (int b = 0; b < C::kBlocks; ++b)
#pragma unroll
      for (int i = 0; i < 4; ++i)
        p[b][i] = cuda::pack_pair(s[b][key / 2 + 2 * i], s[b][key / 2 + 2 * i + 1], typename C::T{});
#pragma unroll
    for (int d = 0; d < C::kOctets; d += 2) {
      uint32_t v[4];  // columns d: keys 0-7, 8-15; columns d + 1: the same
      ptx::load_matrices_transposed(v, bytes + (at.v ^ 16 * d) + key * C::kRowBytes);
#pragma unroll
      for (int b = 0; b < C::kBlocks; ++b) {
        mma<C>(o[b] + 4 * d, p[b], v[0], v[1]);
        mma<C>(o[b] + 4 * d + 4, p[b], v[2], v[3]);
      }
    }
  }
}

// Keys of tile `number` that a row does not see.
template <class C>
__device__ __forceinline__ void mask_tile(const cuda::AttentionSizes& sizes, const cuda::AttentionTile& tile,
                                          int number, typename C::Scores& s) {
#pragma unroll
  for (int b = 0; b < C::kBlocks; ++b) {
    int first[2], end[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int row = tile.row + first_row<C>() + 16 * b + ptx::thread_index() % 32 / 4 + 8 * i;
      const cuda::KeyRange keys = cuda::keys_of_token(sizes, tile, row >> sizes.pack_shift);
      first[i] = keys.first - number * C::kKeys, end[i] = keys.end - number * C::kKeys;
    }
    cuda::mask_scores(s[b], first, end);
  }
}

// Stores 16 rows; bit i of the result: this thread's row i met Inf or NaN in V.
template <class C>
__device__ __forceinline__ unsigned store_block(const cuda::RowOperands& r, const cuda::AttentionSizes& sizes,
                                                const cuda::AttentionTile& tile, int row, float c,
                                                const float (&o)[C::kDim / 2],
                                                const cuda::OnlineSoftmax<kHeadroom>& softmax) {
  const int lane = ptx::thread_index() % 32;
  typename C::T* out[2];
  float factor[2];
  unsigned repair = 0;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const float total = softmax.total(i);
    factor[i] = softmax.is_empty(total) ? 0.0f : ptx::reciprocal_fast(total);
    const int own = row + lane / 4 + 8 * i, token = own >> sizes.pack_shift;
    const int64_t at = tile.first_token + token, head = tile.head + (own & ((1 << sizes.pack_shift) - 1));
    const bool exists = token < tile.queries;
    out[i] = exists ? static_cast<typename C::T*>(r.out) + at * r.out_token + head * r.out_head : nullptr;
    if (exists && r.lse && lane % 4 == 0)
      r.lse[at * r.lse_token + head * r.lse_head] = softmax.log_sum(i, total, c);
    repair |= exists && total == total && cuda::row_is_not_finite(o, i) ? 1u << i : 0;
  }
  cuda::store_rows(o, factor, out, r.head_dim);
  return repair;
}

// What the block works on next, to shared memory; false at the end.
template <class C>
__device__ __forceinline__ bool assign_tile(PortableShared<C>& shared, const cuda::AttentionSizes& sizes) {
  __syncthreads();  // nobody reads the tile before any more
  if (ptx::thread_index() < 32) {
    cuda::AttentionWork<C::kRows> work = shared.work;
    cuda::AttentionTile next = shared.tile;  // of an item's second tile only the row is new
    if (!work.next(sizes, next)) next.sequence = -1;
    __syncwarp();
    if (threadIdx.x == 0) {
      shared.work = work, shared.tile = next;
      shared.tiles = cuda::key_tiles<C::kKeys>(sizes, next, next.row, C::kRows);
    }
  }
  __syncthreads();
  return shared.tile.sequence >= 0;
}

template <class C>
__device__ __forceinline__ void load_queries(PortableShared<C>& shared, const cuda::AttentionSizes& sizes,
                                             const cuda::RowOperands& r) {
  const cuda::AttentionTile& tile = shared.tile;
  load_rows<C, C::kRows>(shared.q, r.q, r.head_dim / 8, [&](int i) {
    const int row = tile.row + i, token = row >> sizes.pack_shift,
              head = tile.head + (row & ((1 << sizes.pack_shift) - 1));
    return token < tile.queries ? (tile.first_token + token) * r.q_token + head * r.q_head : -1;
  });
}

// Key tiles from the last to the first, tile n in buffer n % 2.
template <class C>
__device__ __forceinline__ void attend_keys(PortableShared<C>& shared, const cuda::AttentionSizes& sizes,
                                            const cuda::RowOperands& r, float c, typename C::Output& o,
                                            cuda::OnlineSoftmax<kHeadroom> (&softmax)[C::kBlocks]) {
  const cuda::AttentionTile& tile = shared.tile;
  using Tiles = std::conditional_t<C::kDim <= 64, const cuda::KeyTiles, const cuda::KeyTiles&>;
  Tiles tiles = shared.tiles;  // in registers where there are some left
  const auto place_of = [&](int n) { return r.kv.offset(tile.sequence, tile.kv_head, max(n, 0) * C::kKeys); };
  typename C::Scores s;
  int n = tiles.end - 1;
  const int first = tiles.first;
  const int64_t last = place_of(n);
  int64_t place = place_of(n - 1);  // asked for a tile ahead of its use: it reads the page table
  load_last_keys<C>(shared.k[n & 1], r.kv.k, r, tile, last, n);
  load_last_keys<C>(shared.v[n & 1], r.kv.v, r, tile, last, n);
  ptx::copy_async_commit();
#pragma unroll 1
  for (; n >= first; --n) {
    ptx::copy_async_wait<0>();
    __syncthreads();  // this tile is here, the one before is not read any more
    if (n > first) {
      KeyLoader<C>(r).load(shared.k[n - 1 & 1], r.kv.k, place);
      KeyLoader<C>(r).load(shared.v[n - 1 & 1], r.kv.v, place);
      ptx::copy_async_commit();
      place = place_of(n - 2);
    }
    scores<C>(shared.q, shared.k[n & 1], s);
    if (tiles.is_masked(n)) mask_tile<C>(sizes, tile, n, s);
    // NOTE: the exponentials come after the branch of rescale_rows, so that they run under the products that follow.
    float rescale[C::kBlocks][2], shift[C::kBlocks][2];
#pragma unroll
    for (int b = 0; b < C::kBlocks; ++b) softmax[b].raise(s[b], c, rescale[b], shift[b]);
#pragma unroll
    for (int b = 0; b < C::kBlocks; ++b) cuda::rescale_rows(o[b], rescale[b]);
#pragma unroll
    for (int b = 0; b < C::kBlocks; ++b) softmax[b].weigh(s[b], c, rescale[b], shift[b]);
    add_values<C>(shared.v[n & 1], s, o);
  }
}

template <class C>
__global__ void __launch_bounds__(kThreads, C::kResident)
    attention_f_mma(const __grid_constant__ cuda::AttentionSizes sizes,
                    const __grid_constant__ cuda::RowOperands r) {
  extern __shared__ __align__(128) uint8_t memory[];
  auto& shared = *reinterpret_cast<PortableShared<C>*>(memory);
  ptx::grid_dependency_release();
  ptx::grid_dependency_wait();
  constexpr float kLog2e = 1.44269504088896340736f;
  const float c = r.scale * kLog2e;
  if (threadIdx.x < 32) {  // the last tiles first: of a causal call they are the longest
    const cuda::AttentionWork<C::kRows> work(sizes, static_cast<int>(gridDim.x - 1 - blockIdx.x));
    if (threadIdx.x == 0) shared.work = work, shared.tile = {};
  }
  while (assign_tile<C>(shared, sizes)) {
    typename C::Output o = {};
    cuda::OnlineSoftmax<kHeadroom> softmax[C::kBlocks];
    if (shared.tiles.count() > 0) {
      load_queries<C>(shared, sizes, r);
      attend_keys<C>(shared, sizes, r, c, o, softmax);
    }
    const int row = shared.tile.row + first_row<C>();
    unsigned repairs = 0;
#pragma unroll
    for (int b = 0; b < C::kBlocks; ++b)
      repairs |= store_block<C>(r, sizes, shared.tile, row + 16 * b, c, o[b], softmax[b]) << (2 * b);
#pragma unroll 1
    for (int b = 0; b < C::kBlocks; ++b) {
      const bool asked[2] = {(repairs >> (2 * b) & 1) != 0, (repairs >> (2 * b + 1) & 1) != 0};
      cuda::attend_rows<C::kDim / 32>(r, sizes, shared.tile, row + 16 * b, asked);
    }
  }
}

template <class C>
void run_config(const Context& ctx, const AttentionFArgs& a) {
  const cuda::AttentionSizes sizes = attention_sizes(a, pack_shift_of(a));
  const cuda::LaunchShape shape{
      .kernel = "attention_f_mma",
      .grid = dim3(static_cast<unsigned>(cuda::most_attention_tiles<C::kRows>(sizes))),
      .block = dim3(kThreads),
      .shared_bytes = sizeof(PortableShared<C>),
      .overlap = true};
  cuda::launch(ctx, shape, attention_f_mma<C>, sizes, row_operands(a));
}

template <class T>
void run_dtype(const Context& ctx, const AttentionFArgs& a) {
  const int64_t d = a.q.dim(2);
  if (d <= 64) return run_config<PortableConfig<T, 64, 2, 64, 2>>(ctx, a);
  if (d <= 128) return run_config<PortableConfig<T, 128, 2, 32, 2>>(ctx, a);
  run_config<PortableConfig<T, 256, 1, 32, 1>>(ctx, a);
}

}  // namespace

bool attention_f_fits_sm80(const AttentionFArgs& a, const DeviceFacts& facts) {
  return facts.compute_capability >= 80 && is_half_attention(a) && a.scale > 0 && a.q.dim(2) % 8 == 0 &&
         a.q.dim(2) <= 256 && on_16_bytes(a);
}

void attention_f_sm80(const Context& ctx, const AttentionFArgs& a) {
  if (a.q.dim(0) == 0) return;
  if (a.q.dtype() == DType::f16) return run_dtype<F16>(ctx, a);
  run_dtype<BF16>(ctx, a);
}

}  // namespace octavo
