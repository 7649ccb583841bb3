// gemm_w8a8 on CUDA for what the fast kernels do not take: rows off 16 bytes, any stride, K = 0, any GPU. Simple: tiles of
// 64 x 64, four bytes at a time (dp4a), loaded byte by byte. Bound by those loads.
#include "cuda/launch.h"
#include "cuda/ptx/grid_dependency.cuh"
#include "ops/gemm_w8a8/gemm_w8a8_cuda.h"
#include "ops/gemm_w8a8/gemm_w8a8_epilogue.cuh"

namespace octavo {
namespace {

constexpr int kTile = 64, kDepth = 32, kSide = 16,
              kOfThread = kTile / kSide;  // 16 x 16 threads, 4 x 4 outputs each

struct AnyCall {
  const int8_t *x, *w;         // [m, k], [n, k]
  int64_t x_stride, w_stride;  // elements
  int k;
  Int8Output out;
};

// Columns of a thread: pairs, 2 kSide apart.
__device__ constexpr int column_of(int j) { return j % 2 + j / 2 * 2 * kSide; }

// kTile rows x kDepth codes, zeros outside, as words of four; a row has one word more, against bank conflicts.
using TileWords = int[kTile][kDepth / 4 + 1];
__device__ __forceinline__ void load_tile(TileWords& tile, const int8_t* from, int64_t stride,
                                          int64_t first_row, int rows, int first_k, int k) {
  for (int i = static_cast<int>(threadIdx.x); i < kTile * kDepth / 4; i += kSide * kSide) {
    const int r = i / (kDepth / 4), word = i % (kDepth / 4);
    uint32_t value = 0;
#pragma unroll
    for (int b = 0; b < 4; ++b) {
      const int column = first_k + 4 * word + b;
      if (first_row + r < rows && column < k)
        value |= static_cast<uint32_t>(static_cast<uint8_t>(from[(first_row + r) * stride + column]))
                 << (8 * b);
    }
    tile[r][word] = static_cast<int>(value);
  }
}

// NOTE: tiles go along x of the grid: y and z end at 65,535.
__global__ void __launch_bounds__(kSide* kSide) gemm_w8a8_any_layout(const __grid_constant__ AnyCall call) {
  __shared__ TileWords x_tile, w_tile;
  cuda::ptx::grid_dependency_release();
  cuda::ptx::grid_dependency_wait();
  const Int8Output& out = call.out;
  const int64_t tiles_across = (int64_t{out.n} + kTile - 1) / kTile;
  const int64_t row = blockIdx.x / tiles_across * kTile, column = blockIdx.x % tiles_across * kTile;
  const int x_place = static_cast<int>(threadIdx.x) / kSide, w_place = static_cast<int>(threadIdx.x) % kSide;

  int acc[kOfThread][kOfThread] = {};
  for (int k = 0; k < call.k; k += kDepth) {
    __syncthreads();
    load_tile(x_tile, call.x, call.x_stride, row, out.m, k, call.k);
    load_tile(w_tile, call.w, call.w_stride, column, out.n, k, call.k);
    __syncthreads();
#pragma unroll
    for (int word = 0; word < kDepth / 4; ++word)
#pragma unroll
      for (int i = 0; i < kOfThread; ++i)
#pragma unroll
        for (int j = 0; j < kOfThread; ++j)
          acc[i][j] =
              __dp4a(x_tile[x_place + i * kSide][word], w_tile[w_place * 2 + column_of(j)][word], acc[i][j]);
  }
#pragma unroll
  for (int i = 0; i < kOfThread; ++i)
#pragma unroll
    for (int j = 0; j < kOfThread; j += 2)
      store_pair(out, row + x_place + i * kSide, column + w_place * 2 + column_of(j), acc[i][j],
                 acc[i][j + 1]);
}

}  // namespace

void gemm_w8a8_any(const Context& ctx, const GemmW8A8Args& a) {
  if (a.y.numel() == 0) return;
  const AnyCall call{.x = static_cast<const int8_t*>(a.x.data()),
                     .w = static_cast<const int8_t*>(a.w.data()),
                     .x_stride = a.x.stride(0),
                     .w_stride = a.w.stride(0),
                     .k = static_cast<int>(a.x.dim(1)),
                     .out = int8_output(a)};
  const auto tiles = [](int64_t n) { return (n + kTile - 1) / kTile; };
  cuda::launch(ctx,
               {.kernel = "gemm_w8a8_any_layout",
                .grid = dim3(static_cast<unsigned>(tiles(call.out.m) * tiles(call.out.n))),
                .block = dim3(kSide * kSide),
                .overlap = true},
               gemm_w8a8_any_layout, call);
}

}  // namespace octavo
