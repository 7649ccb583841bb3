// What the portable kernel of attention_int8 works on: its call, its shared memory and the copies that fill it.
#pragma once
#include <algorithm>

#include "cuda/ptx/convert.cuh"
#include "cuda/ptx/kept.cuh"
#include "cuda/ptx/mma_s8.cuh"
#include "cuda/ptx/warpgroup.cuh"
#include "ops/attention_int8/attention_int8.h"

namespace octavo {

namespace ptx = cuda::ptx;

constexpr int kTile = int{kInt8TileKeys}, kPageKeys = int{kInt8PageKeys}, kPages = kTile / kPageKeys;

// NOTE: for sm_89 ptxas 13.0 spills 20 bytes when 256 keys of D = 128 are scored together, for the others when 128 are.
#if defined(__CUDA_ARCH__)
constexpr int kArch = __CUDA_ARCH__;
#else
constexpr int kArch = 0;
#endif

template <int kDim_, int kWarps_, int kResident_, int kKeys_, int kColumns_>
struct PortableConfig {
  static constexpr int kDim = kDim_;                                           // D, padded
  static constexpr int kWarps = kWarps_;                                       // of 16 rows
  static constexpr int kResident = kResident_;                                 // blocks a multiprocessor
  static constexpr int kKeys = kArch == 890 ? std::min(kKeys_, 128) : kKeys_;  // of a tile, scored together
  static constexpr int kColumns = kColumns_;  // of V whose sums are in registers together
  static constexpr int kRows = 16 * kWarps, kThreads = 32 * kWarps, kSteps = kDim / 32;
  static_assert(kDim % kColumns == 0 && kColumns % 16 == 0);
};

// The operands of a KV head.
struct HeadOperands {
  const int8_t *k, *v;
  const float *k_scale, *v_scale;
};
// Rows of one head.
struct BlockWork {
  int head, row, tiles;
};

template <class C>
struct PortableShared {
  alignas(128) int8_t q[C::kRows * C::kDim];  // place_in_row; so do k and v
  alignas(128) int8_t k[kTile * C::kDim];
  alignas(128) int8_t v[kTile * C::kDim];  // [page][channel][64]
  alignas(16) float k_scale[kTile];        // both as place_of_scale() has it
  alignas(16) float v_scale[C::kDim];
  const float* v_scale_from[C::kDim];  // a thread's own, of the next tile; null behind the last channel
  BlockWork work;                      // here and not in registers, of which the scores leave few
  HeadOperands operands;
};

struct PortableCall {
  const int8_t *q, *k, *v;
  const float *q_scale, *k_scale, *v_scale;
  int64_t v_scale_batch, v_scale_head, v_scale_tile, v_scale_channel;  // strides
  void* out;
  int64_t out_batch, out_head, out_row;  // strides
  DType out_dtype;
  bool aligned;  // rows of out start on 16 bytes
  int dim;
  float* lse;  // null: not asked for
  int batch_heads, heads, kv_heads, group, sq, sk, pages;
  bool causal;
  float scale;     // of scores, times log2(e)
  int row_blocks;  // of a head
  int section;     // causal: heads whose longest rows go first together
};

// Last key that a row sees; below 0: none.
__device__ __forceinline__ int last_key(const PortableCall& call, int row) {
  return call.causal ? min(row + call.sk - call.sq, call.sk - 1) : call.sk - 1;
}
// Key tiles of which some row before `end_row` sees a key.
__device__ __forceinline__ int tiles_of(const PortableCall& call, int end_row) {
  return (last_key(call, min(end_row, call.sq) - 1) + kTile) / kTile;
}
// NOTE: unsigned: signed quotients and remainders take four instructions each.
__device__ __forceinline__ uint32_t thread_index() { return static_cast<uint32_t>(ptx::thread_index()); }
// Of a block's rows.
__device__ __forceinline__ uint32_t first_row_of_warp() { return thread_index() / 32 * 16; }

// ---- places in shared memory

namespace {  // attention_int8_sm90.cuh has places of its own

// Part `part` (16 bytes) of row `row`, so that a part of eight rows in turn lies in different banks.
template <int kRowBytes>
__device__ __forceinline__ uint32_t place_in_row(uint32_t row, uint32_t part) {
  if (kRowBytes == 64) return row * 64 + (part ^ row / 2 % 4) * 16;
  return row * kRowBytes + (part ^ row % 8) * 16;
}
// What a thread needs of columns 8 j + 2 c, 8 j + 2 c + 1, and of those 8 further, in one word of 16 bytes.
__device__ __forceinline__ uint32_t place_of_scale(uint32_t column) {
  const uint32_t j = column / 8, c = column % 8 / 2;
  return (j / 2 * 4 + c) * 4 + j % 2 * 2 + column % 2;
}
// The scales of columns 8 j + 2 c + {0, 1, 8, 9}, j even.
struct FourScales {
  float of[4];
  __device__ __forceinline__ explicit FourScales(uint32_t address) {
    const uint4 v = ptx::load_shared(address);
    of[0] = __uint_as_float(v.x), of[1] = __uint_as_float(v.y), of[2] = __uint_as_float(v.z),
    of[3] = __uint_as_float(v.w);
  }
};

// Addresses in shared memory that a lane needs in every tile. They are made once: members of PortableShared, rows and pages lie at
// constants from them, and part 2 i of a row where part 0 lies but for the bits of 32 i.
template <class C>
struct Places {
  uint32_t shared;  // the structure
  uint32_t k, v;    // of the row that the lane gives to load_matrices, less the member's offset
  uint32_t scales;  // of the lane's columns, likewise

  __device__ __forceinline__ explicit Places(const PortableShared<C>& memory) {
    const uint32_t base = ptx::shared_address(&memory), lane = thread_index() % 32;
    const uint32_t row = lane % 8 + lane / 16 * 8, part = lane / 8 % 2;
    shared = ptx::kept(base);
    v = ptx::kept(base + place_in_row<kPageKeys>(row, part));
    k = C::kDim == kPageKeys ? v : ptx::kept(base + place_in_row<C::kDim>(row, part));
    scales = ptx::kept(base + lane % 4 * 16);
  }
};

// ---- copies to shared memory

// kRows rows of a head's codes from `first` on, as they lie in memory; zeros behind the last row and channel.
template <class C, int kRows>
__device__ __forceinline__ void load_rows(int8_t* to, const int8_t* from, const PortableCall& call, int first,
                                          int rows) {
  constexpr int kParts = C::kDim / 16, kStep = C::kThreads / kParts;
  static_assert(kStep % 8 == 0);
  const uint32_t thread = thread_index(), part = thread % kParts;
  const int8_t* source = from + static_cast<int64_t>(first + thread / kParts) * call.dim + part * 16;
  int8_t* place = to + place_in_row<C::kDim>(thread / kParts, part);
  int live = static_cast<int>(part * 16) < call.dim ? rows - first - static_cast<int>(thread / kParts) : 0;
#pragma unroll 1
  for (int i = 0; i < kRows / kStep; ++i) {
    ptx::copy_async(place, live > 0 ? source : from, live > 0 ? 16 : 0);
    source += kStep * call.dim, place += kStep * C::kDim, live -= kStep;
  }
}

// A tile of kTile * kDim bytes that lies in memory as in shared memory, but for the places of its parts.
template <class C, int kRowBytes>
__device__ __forceinline__ void load_whole(int8_t* to, const int8_t* from) {
  // NOTE: eight rows at once, as their places repeat then, and one eight after the other, as an address of cp.async takes a
  // constant of 12 bits.
  constexpr int kParts = kRowBytes / 16, kStep = 8 * kRowBytes, kCopiers = kStep / 16;
  constexpr int kBytes = kTile * C::kDim / (C::kThreads / kCopiers);
  const uint32_t thread = thread_index(), start = thread / kCopiers * kBytes;
  to += start + place_in_row<kRowBytes>(thread % kCopiers / kParts, thread % kParts);
  from += start + thread % kCopiers * 16;
#pragma unroll
  for (int i = 0; i < kBytes; i += kStep) ptx::copy_async(to + i, from + i, 16);
}

template <class C>
__device__ __forceinline__ void load_k(PortableShared<C>& shared, const PortableCall& call, int tile) {
  const int8_t* from = shared.operands.k;
  const int thread = thread_index(), live = call.sk - tile * kTile;
  const float* scale = shared.operands.k_scale + tile * kTile + thread;
  float* scale_place = shared.k_scale + place_of_scale(thread);
  // NOTE: with the addresses of load_rows for every tile it took 1,731 instead of 1,563 instructions (D = 64).
  if (live >= kTile && call.dim == C::kDim) {
    load_whole<C, C::kDim>(shared.k, from + int64_t{tile} * (kTile * C::kDim));
#pragma unroll
    for (int i = 0; i < kTile; i += C::kThreads) ptx::copy_word_async(scale_place + i, scale + i, true);
    return;
  }
  load_rows<C, kTile>(shared.k, from, call, tile * kTile, call.sk);
#pragma unroll
  for (int i = 0; i < kTile; i += C::kThreads) {
    const bool exists = thread + i < live;
    ptx::copy_word_async(scale_place + i, exists ? scale + i : shared.operands.k_scale, exists);
  }
}

template <class C>
__device__ __forceinline__ void load_v(PortableShared<C>& shared, const PortableCall& call, int tile) {
  constexpr int kStep = C::kThreads / 4;  // channels
  static_assert(C::kDim % kStep == 0 && kStep % 8 == 0 && C::kDim <= C::kThreads);
  const int thread = thread_index(), live = min(call.pages - tile * kPages, kPages);
  if (thread < C::kDim) {
    const float* from = shared.v_scale_from[thread];
    if (from) {
      ptx::copy_word_async(shared.v_scale + place_of_scale(thread), from, true);
      shared.v_scale_from[thread] = from + call.v_scale_tile;
    }
  }
  const int8_t* from = shared.operands.v;
  if (live == kPages && call.dim == C::kDim)
    return load_whole<C, kPageKeys>(shared.v, from + int64_t{tile} * (kTile * C::kDim));
  const int part = thread % 4, first = thread / 4;
  const int8_t* source = from + (int64_t{tile} * kPages * call.dim + first) * kPageKeys + part * 16;
  int8_t* place = shared.v + place_in_row<kPageKeys>(first, part);
#pragma unroll 1
  for (int page = 0; page < live; ++page, source += call.dim * kPageKeys, place += C::kDim * kPageKeys)
#pragma unroll
    for (int i = 0; i < C::kDim / kStep; ++i) {
      const bool exists = first + i * kStep < call.dim;
      ptx::copy_async(place + i * kStep * kPageKeys, exists ? source + i * kStep * kPageKeys : from,
                      exists ? 16 : 0);
    }
}

}  // namespace
}  // namespace octavo
