// gemm_w8a16 on Ampere and everything newer, any number of tokens: tiles of 128 features x 128 tokens, k in blocks of 64
// through a ring of four stages (cp.async), eight warps of 32 x 64 outputs each (mma.sync m16n8k16, weights as the left
// operand). Lane (g, c) reads 16 codes of a feature and 16 activations of a token at k = 16 c of a block; product j of the
// four takes k = 16 c + 4 j + (0..3) of both, so that nothing is exchanged between lanes. Bound by the tensor cores.
#include <algorithm>

#include "cuda/launch.h"
#include "cuda/ptx/grid_dependency.cuh"
#include "cuda/ptx/mma_f16.cuh"
#include "cuda/ptx/mma_s8.cuh"
#include "ops/gemm_w8a16/gemm_w8a16_codes.cuh"
#include "ops/gemm_w8a16/gemm_w8a16_cuda.h"
#include "ops/gemm_w8a16/gemm_w8a16_epilogue.cuh"

namespace octavo {
namespace {

namespace ptx = cuda::ptx;

constexpr int kTile = 128, kDepth = 64, kStages = 4, kThreads = 256;
constexpr int kWarpFeatures = 32, kWarpTokens = 64, kWarpsAcross = kTile / kWarpTokens;

struct Sm80Call {
  const void* x;  // [m, k] of T; rows on 16 bytes
  const int8_t* w;
  int64_t x_stride, w_stride;  // elements
  int k;
  TileGrid grid;  // rows: tiles of tokens, columns: tiles of features
  W8A16Output out;
};

struct Sm80Shared {
  alignas(128) int8_t x[kStages][kTile * kDepth * 2];  // rows of 128 bytes, parts of 16 permuted: place_of_x
  alignas(128) int8_t w[kStages][kTile * kDepth];      // rows of 64 bytes
};

// Two rows' parts 0, 2, 4, 6 lie in different banks, and so do their parts 1, 3, 5, 7.
__device__ __forceinline__ int place_of_x(int row, int part) { return row * 128 + (part ^ (row % 8)) * 16; }

// kTile rows of an operand from first_row on, kDepth elements from k on, zeros outside. place(row, part of 16 bytes).
// NOTE: a row's last part goes element by element where it is not whole: a copy of fewer than 16 bytes touches all 16
// (memcheck), and behind the last row there may be nothing.
template <class T, class Place>
__device__ __forceinline__ void load_operand(int8_t* stage, const T* from, int64_t stride, int first_row,
                                             int rows, int k, int depth, const Place& place) {
  constexpr int kElements = 16 / sizeof(T), kParts = kDepth / kElements;
#pragma unroll
  for (int i = 0; i < kTile * kParts / kThreads; ++i) {
    const int at = static_cast<int>(threadIdx.x) + i * kThreads, row = at / kParts, part = at % kParts;
    const int column = k + part * kElements;
    const int left = first_row + row < rows ? min(kElements, max(0, depth - column)) : 0;
    const T* source = left ? from + (first_row + row) * stride + column : from;
    int8_t* to = stage + place(row, part);
    if (left == 0 || left == kElements) {
      ptx::copy_async(to, source, left * static_cast<int>(sizeof(T)));
    } else {
      for (int e = 0; e < kElements; ++e) reinterpret_cast<T*>(to)[e] = e < left ? source[e] : T{};
    }
  }
}

__device__ __forceinline__ uint32_t word_of(const uint4& v, int j) {
  return j == 0 ? v.x : j == 1 ? v.y : j == 2 ? v.z : v.w;
}

// The products of one stage: acc[features / 16][tokens / 8].
template <class T>
__device__ __forceinline__ void multiply(const int8_t* x, const int8_t* w, int first_feature, int first_token,
                                         float (&acc)[kWarpFeatures / 16][kWarpTokens / 8][4]) {
  const int lane = static_cast<int>(threadIdx.x) % 32, g = lane / 4, c = lane % 4;
  uint4 codes[kWarpFeatures / 8];
#pragma unroll
  for (int i = 0; i < kWarpFeatures / 8; ++i)
    codes[i] = *reinterpret_cast<const uint4*>(w + (first_feature + i * 8 + g) * kDepth + c * 16);
#pragma unroll
  for (int half = 0; half < 2; ++half) {  // products 0 and 1, then 2 and 3
    uint32_t a[2][kWarpFeatures / 16][4];
#pragma unroll
    for (int j = 0; j < 2; ++j)
#pragma unroll
      for (int i = 0; i < kWarpFeatures / 16; ++i) {
        const CodePairs upper = code_pairs(word_of(codes[2 * i], 2 * half + j), T{}),
                        lower = code_pairs(word_of(codes[2 * i + 1], 2 * half + j), T{});
        a[j][i][0] = upper.low, a[j][i][1] = lower.low, a[j][i][2] = upper.high, a[j][i][3] = lower.high;
      }
#pragma unroll
    for (int t = 0; t < kWarpTokens / 8; ++t) {
      const uint4 b = *reinterpret_cast<const uint4*>(x + place_of_x(first_token + t * 8 + g, 2 * c + half));
#pragma unroll
      for (int j = 0; j < 2; ++j)
#pragma unroll
        for (int i = 0; i < kWarpFeatures / 16; ++i)
          ptx::mma_f16(acc[i][t], a[j][i], word_of(b, 2 * j), word_of(b, 2 * j + 1), T{});
    }
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads, 1) gemm_w8a16_mma(const __grid_constant__ Sm80Call call) {
  extern __shared__ __align__(128) uint8_t memory[];
  auto& shared = *reinterpret_cast<Sm80Shared*>(memory);
  ptx::grid_dependency_release();
  ptx::grid_dependency_wait();
  const W8A16Output& out = call.out;
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const TilePlace tile = place_of(call.grid, static_cast<int>(blockIdx.x));
  const int token = tile.row * kTile, feature = tile.column * kTile;
  const int warp_feature = warp / kWarpsAcross * kWarpFeatures,
            warp_token = warp % kWarpsAcross * kWarpTokens;
  const int blocks = (call.k + kDepth - 1) / kDepth;
  const auto load = [&](int block) {
    const int stage = block % kStages, k = block * kDepth;
    if (block < blocks) {
      load_operand(shared.x[stage], static_cast<const T*>(call.x), call.x_stride, token, out.m, k, call.k,
                   place_of_x);
      load_operand(shared.w[stage], call.w, call.w_stride, feature, out.n, k, call.k,
                   [](int row, int part) { return row * kDepth + part * 16; });
    }
    ptx::copy_async_commit();  // empty ones too, so that the count of pending groups stays right
  };

  float acc[kWarpFeatures / 16][kWarpTokens / 8][4] = {};
  for (int block = 0; block < kStages - 1; ++block) load(block);
  for (int block = 0; block < blocks; ++block) {
    ptx::copy_async_wait<kStages - 2>();
    __syncthreads();  // the stage is there for all, and the one before it is free
    load(block + kStages - 1);
    // NOTE: mma.sync's fp32 sums are cut off, not rounded: those of a block are added up apart, or an fp32 y shows it.
    float of_block[kWarpFeatures / 16][kWarpTokens / 8][4] = {};
    multiply<T>(shared.x[block % kStages], shared.w[block % kStages], warp_feature, warp_token, of_block);
#pragma unroll
    for (int i = 0; i < kWarpFeatures / 16; ++i)
#pragma unroll
      for (int t = 0; t < kWarpTokens / 8; ++t)
#pragma unroll
        for (int e = 0; e < 4; ++e) acc[i][t][e] += of_block[i][t][e];
  }
  ptx::copy_async_wait<0>();

#pragma unroll
  for (int i = 0; i < kWarpFeatures / 8; ++i) {
    const int n = feature + warp_feature + i * 8 + lane / 4;
    Feature f;
    f.load(out, n);
#pragma unroll
    for (int t = 0; t < kWarpTokens / 8; ++t)
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        const int m = token + warp_token + t * 8 + lane % 4 * 2 + j;
        const float v = f.of(acc[i / 2][t][i % 2 * 2 + j]), partner = partner_of(out, v, 4);
        if (m < out.m && n < out.n) store_one(out, m, n, v, partner);
      }
  }
}

template <class T>
void run(const Context& ctx, const GemmW8A16Args& a) {
  const auto tiles = [](int64_t n) { return static_cast<int>((n + kTile - 1) / kTile); };
  const Sm80Call call{.x = a.x.data(),
                      .w = static_cast<const int8_t*>(a.w.data()),
                      .x_stride = a.x.stride(0),
                      .w_stride = a.w.stride(0),
                      .k = static_cast<int>(a.x.dim(1)),
                      .grid = {tiles(a.x.dim(0)), tiles(a.w.dim(0)), 8},
                      .out = w8a16_output(a)};
  cuda::launch(ctx,
               {.kernel = "gemm_w8a16_mma",
                .grid = dim3(static_cast<unsigned>(call.grid.count())),
                .block = dim3(kThreads),
                .shared_bytes = sizeof(Sm80Shared),
                .overlap = true},
               gemm_w8a16_mma<T>, call);
}

bool rows_on_16_bytes(const ConstTensor& t) {
  return reinterpret_cast<uintptr_t>(t.data()) % 16 == 0 &&
         (t.dim(0) <= 1 || t.stride(0) * size_of(t.dtype()) % 16 == 0);
}

}  // namespace

bool gemm_w8a16_fits_sm80(const GemmW8A16Args& a, const DeviceFacts& facts) {
  return facts.compute_capability >= 80 && a.x.dtype() != DType::f32 && a.x.dim(0) < INT32_MAX / 2 &&
         a.w.dim(0) < INT32_MAX / 2 && a.x.dim(1) < INT32_MAX / 2 && rows_on_16_bytes(a.x) &&
         rows_on_16_bytes(a.w);
}

void gemm_w8a16_sm80(const Context& ctx, const GemmW8A16Args& a) {
  if (a.y.numel() == 0) return;
  if (a.x.dtype() == DType::f16)
    run<F16>(ctx, a);
  else
    run<BF16>(ctx, a);
}

}  // namespace octavo
