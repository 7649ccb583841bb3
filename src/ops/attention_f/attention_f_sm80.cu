// attention_f on any GPU from Ampere on: tiles of rows by four warps, keys and values in tiles of 32 or 64 through shared memory
// (cp.async), both products by mma.sync, the online softmax in registers between them. V of a tile travels while scores are
// computed, K of the next while its softmax and output are. Head dimensions are padded with zeros to 64, 128 or 256.
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

template <class T_, int kDim_, int kBlocks_, int kKeys_>
struct PortableConfig {
  using T = T_;
  static constexpr int kDim = kDim_;        // D, padded
  static constexpr int kBlocks = kBlocks_;  // of 16 rows a warp
  static constexpr int kKeys = kKeys_;      // of a tile, which lies inside a page
  static constexpr int kRows = 16 * kBlocks * kWarps, kOctets = kDim / 8;
};

// Octet o of row r lies in place o ^ (r % 8), so that the eight rows of a matrix lie in different banks.
template <class C>
struct PortableShared {
  uint4 q[C::kRows][C::kOctets], k[C::kKeys][C::kOctets], v[C::kKeys][C::kOctets];
  cuda::AttentionTile tile;
};
template <class C>
__device__ __forceinline__ uint4* place(uint4 (*rows)[C::kOctets], int row, int octet) {
  return &rows[row][octet ^ row % 8];
}

// Rows [0, kCount) of `octets` octets, row r at row_at(r) elements from `from` or, below 0, all zeros.
template <class C, int kCount, class RowAt>
__device__ __forceinline__ void load_rows(uint4 (*to)[C::kOctets], const void* from, int octets,
                                          RowAt&& row_at) {
  const int thread = ptx::thread_index(), octet = thread % C::kOctets;
#pragma unroll 1
  for (int row = thread / C::kOctets; row < kCount; row += kThreads / C::kOctets) {
    const int64_t at = row_at(row);
    const bool exists = at >= 0 && octet < octets;
    const auto* source = static_cast<const typename C::T*>(from) + (exists ? at + octet * 8 : 0);
    ptx::copy_async(place<C>(to, row, octet), source, exists ? 16 : 0);
  }
}

template <class C>
__device__ __forceinline__ void load_keys(uint4 (*to)[C::kOctets], const void* from,
                                          const cuda::RowOperands& r, const cuda::AttentionTile& tile,
                                          int page) {
  const int64_t first = r.kv.offset(tile.sequence, tile.kv_head, page * C::kKeys);
  const int live = tile.keys - page * C::kKeys;
  load_rows<C, C::kKeys>(to, from, r.head_dim / 8,
                         [&](int key) { return key < live ? first + key * r.kv.token_stride : -1; });
  ptx::copy_async_commit();
}

template <class C>
__device__ __forceinline__ void mma(float* d, const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  ptx::mma_f16(reinterpret_cast<float(&)[4]>(*d), a, b0, b1, typename C::T{});
}

// s[b] = rows 16 b .. of the warp times 64 keys.
template <class C>
__device__ __forceinline__ void scores(PortableShared<C>& shared, int warp_row,
                                       float (&s)[C::kBlocks][C::kKeys / 2]) {
  const int lane = ptx::thread_index() % 32;  // NOTE: read again, else ptxas keeps every address in registers
#pragma unroll
  for (int b = 0; b < C::kBlocks; ++b)
#pragma unroll
    for (int i = 0; i < C::kKeys / 2; ++i) s[b][i] = 0.0f;
#pragma unroll
  for (int d = 0; d < C::kOctets; d += 2) {
    uint32_t q[C::kBlocks][4];
#pragma unroll
    for (int b = 0; b < C::kBlocks; ++b)
      ptx::load_matrices(q[b], place<C>(shared.q, warp_row + 16 * b + lane % 16, d + lane / 16));
#pragma unroll
    for (int key = 0; key < C::kKeys; key += 16) {
      uint32_t k[4];  // keys 0-7: d, d + 1; keys 8-15: d, d + 1
      ptx::load_matrices(k, place<C>(shared.k, key + lane / 16 * 8 + lane % 8, d + lane / 8 % 2));
#pragma unroll
      for (int b = 0; b < C::kBlocks; ++b) {
        mma<C>(s[b] + key / 2, q[b], k[0], k[1]);
        mma<C>(s[b] + key / 2 + 4, q[b], k[2], k[3]);
      }
    }
  }
}

// o[b] += weights times 64 values.
template <class C>
__device__ __forceinline__ void add_values(PortableShared<C>& shared,
                                           const float (&s)[C::kBlocks][C::kKeys / 2],
                                           float (&o)[C::kBlocks][C::kDim / 2]) {
  const int lane = ptx::thread_index() % 32;
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
      ptx::load_matrices_transposed(v, place<C>(shared.v, key + lane % 16, d + lane / 16));
#pragma unroll
      for (int b = 0; b < C::kBlocks; ++b) {
        mma<C>(o[b] + 4 * d, p[b], v[0], v[1]);
        mma<C>(o[b] + 4 * d + 4, p[b], v[2], v[3]);
      }
    }
  }
}

// Stores 16 rows; bit i of the result: this thread's row i met Inf or NaN in V.
template <class C>
__device__ __forceinline__ unsigned store_block(const cuda::RowOperands& r, const cuda::AttentionSizes& sizes,
                                                const cuda::AttentionTile& tile, int row, float c,
                                                const float (&o)[C::kDim / 2],
                                                const cuda::OnlineSoftmax<kHeadroom>& softmax) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
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

template <class C>
__global__ void __launch_bounds__(kThreads, C::kDim <= 128 ? 2 : 1)
    attention_f_mma(const __grid_constant__ cuda::AttentionSizes sizes,
                    const __grid_constant__ cuda::RowOperands r) {
  extern __shared__ __align__(128) uint8_t memory[];
  auto& shared = *reinterpret_cast<PortableShared<C>*>(memory);
  ptx::grid_dependency_release();
  ptx::grid_dependency_wait();
  const int warp_row = static_cast<int>(threadIdx.x) / 32 * 16 * C::kBlocks,
            lane_row = static_cast<int>(threadIdx.x) % 32 / 4;
  constexpr float kLog2e = 1.44269504088896340736f;
  const float c = r.scale * kLog2e;

  cuda::AttentionWork<C::kRows> work(sizes);
  const cuda::AttentionTile& tile = shared.tile;
  for (cuda::AttentionTile next; work.next(next);) {
    __syncthreads();  // nobody reads the tile before any more
    if (threadIdx.x == 0) shared.tile = next;
    __syncthreads();
    const cuda::KeyTiles pages = cuda::key_tiles<C::kKeys>(sizes, tile, tile.row, C::kRows);
    float s[C::kBlocks][C::kKeys / 2], o[C::kBlocks][C::kDim / 2] = {};
    cuda::OnlineSoftmax<kHeadroom> softmax[C::kBlocks];
    load_rows<C, C::kRows>(shared.q, r.q, r.head_dim / 8, [&](int i) {
      const int row = tile.row + i, token = row >> sizes.pack_shift,
                head = tile.head + (row & ((1 << sizes.pack_shift) - 1));
      return token < tile.queries ? (tile.first_token + token) * r.q_token + head * r.q_head : -1;
    });
    if (pages.count() > 0) load_keys<C>(shared.k, r.kv.k, r, tile, pages.end - 1);
#pragma unroll 1
    for (int page = pages.end - 1; page >= pages.first; --page) {
      ptx::copy_async_wait<0>();
      __syncthreads();  // K is here, V of the page before is not read any more
      load_keys<C>(shared.v, r.kv.v, r, tile, page);
      scores<C>(shared, warp_row, s);
      ptx::copy_async_wait<0>();
      __syncthreads();  // V is here, K is not read any more
      if (page > pages.first) load_keys<C>(shared.k, r.kv.k, r, tile, page - 1);
#pragma unroll
      for (int b = 0; b < C::kBlocks; ++b) {
        if (pages.is_masked(page)) {
          int first[2], end[2];
#pragma unroll
          for (int i = 0; i < 2; ++i) {
            const int token = (tile.row + warp_row + 16 * b + lane_row + 8 * i) >> sizes.pack_shift;
            const cuda::KeyRange keys = cuda::keys_of_token(sizes, tile, token);
            first[i] = keys.first - page * C::kKeys, end[i] = keys.end - page * C::kKeys;
          }
          cuda::mask_scores(s[b], first, end);
        }
        float rescale[2];
        softmax[b].update(s[b], c, rescale);
        cuda::rescale_rows(o[b], rescale);
      }
      add_values<C>(shared, s, o);
    }
    unsigned repairs = 0;
#pragma unroll
    for (int b = 0; b < C::kBlocks; ++b)
      repairs |= store_block<C>(r, sizes, tile, tile.row + warp_row + 16 * b, c, o[b], softmax[b]) << (2 * b);
#pragma unroll 1
    for (int b = 0; b < C::kBlocks; ++b) {
      const bool asked[2] = {(repairs >> (2 * b) & 1) != 0, (repairs >> (2 * b + 1) & 1) != 0};
      cuda::attend_rows<C::kDim / 32>(r, sizes, tile, tile.row + warp_row + 16 * b, asked);
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
  if (d <= 64) return run_config<PortableConfig<T, 64, 2, 64>>(ctx, a);
  if (d <= 128) return run_config<PortableConfig<T, 128, 2, 32>>(ctx, a);
  run_config<PortableConfig<T, 256, 1, 64>>(ctx, a);
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
