// One tile of a matrix product for layouts and types that no fast kernel takes: fp32 multiply-adds with k ascending, operands
// loaded element by element through a function. Simple, and bound by those loads.
#pragma once
#include <cstdint>

namespace octavo::cuda {

inline constexpr int kTileSide = 16, kTileThreads = kTileSide * kTileSide;

// kTile x kTile outputs a block of kTileThreads; each thread has kOfThread x kOfThread of them, kTileSide apart.
template <int kTile, int kDepth>
struct TileProduct {
  static constexpr int kOfThread = kTile / kTileSide;
  // NOTE: tiles go along x of the grid: y and z end at 65,535.
  static int64_t blocks(int64_t m, int64_t n) { return tiles(m) * tiles(n); }

  float sum[kOfThread][kOfThread] = {};

  __device__ __forceinline__ explicit TileProduct(int64_t n)
      : row_(blockIdx.x / tiles(n) * kTile), column_(blockIdx.x % tiles(n) * kTile) {}
  __device__ __forceinline__ int64_t row(int i) const { return row_ + x_place() + i * kTileSide; }
  __device__ __forceinline__ int64_t column(int j) const { return column_ + w_place() + j * kTileSide; }

  // x(row, k) of [m, k] times w(column, k) of [n, k]; all threads of the block.
  template <class LoadX, class LoadW>
  __device__ __forceinline__ void multiply(int64_t m, int64_t n, int64_t depth, const LoadX& x,
                                           const LoadW& w) {
    __shared__ Floats x_tile, w_tile;
    for (int64_t k = 0; k < depth; k += kDepth) {
      __syncthreads();
      load(x_tile, row_, m, k, depth, x);
      load(w_tile, column_, n, k, depth, w);
      __syncthreads();
#pragma unroll 2
      for (int i = 0; i < kDepth; ++i)
#pragma unroll
        for (int a = 0; a < kOfThread; ++a)
#pragma unroll
          for (int b = 0; b < kOfThread; ++b)
            sum[a][b] = __fmaf_rn(x_tile[x_place() + a * kTileSide][i], w_tile[w_place() + b * kTileSide][i],
                                  sum[a][b]);
    }
  }

 private:
  using Floats = float[kTile][kDepth + 1];  // one element more in a row, against bank conflicts

  __host__ __device__ static int64_t tiles(int64_t n) { return (n + kTile - 1) / kTile; }
  __device__ __forceinline__ static int x_place() { return static_cast<int>(threadIdx.x) / kTileSide; }
  __device__ __forceinline__ static int w_place() { return static_cast<int>(threadIdx.x) % kTileSide; }
  // kTile rows x kDepth elements, zeros outside.
  template <class Load>
  __device__ __forceinline__ static void load(Floats& tile, int64_t first_row, int64_t rows, int64_t first_k,
                                              int64_t depth, const Load& element) {
    for (int i = static_cast<int>(threadIdx.x); i < kTile * kDepth; i += kTileThreads) {
      const int64_t row = first_row + i / kDepth, k = first_k + i % kDepth;
      tile[i / kDepth][i % kDepth] = row < rows && k < depth ? element(row, k) : 0.0f;
    }
  }

  int64_t row_, column_;  // of the tile's first output
};

}  // namespace octavo::cuda
