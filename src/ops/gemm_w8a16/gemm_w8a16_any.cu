// gemm_w8a16 on CUDA for what the fast kernels do not take: fp32 activations, rows of x off 16 bytes, any GPU. Simple:
// tiles of 64 x 64, fp32 products, loaded element by element. Bound by those loads.
#include "cuda/launch.h"
#include "cuda/ptx/grid_dependency.cuh"
#include "ops/gemm_w8a16/gemm_w8a16_cuda.h"
#include "ops/gemm_w8a16/gemm_w8a16_epilogue.cuh"

namespace octavo {
namespace {

constexpr int kTile = 64, kDepth = 32, kSide = 16,
              kOfThread = kTile / kSide;  // 16 x 16 threads, 4 x 4 outputs each

struct AnyCall {
  const void* x;               // [m, k]
  const int8_t* w;             // [n, k]
  int64_t x_stride, w_stride;  // elements
  DType x_type;
  int64_t k;
  W8A16Output out;
};

// kTile rows x kDepth elements, zeros outside; a row has one element more, against bank conflicts.
using TileFloats = float[kTile][kDepth + 1];
template <class Load>
__device__ __forceinline__ void load_tile(TileFloats& tile, int64_t first_row, int64_t rows, int64_t first_k,
                                          int64_t k, const Load& load) {
  for (int i = static_cast<int>(threadIdx.x); i < kTile * kDepth; i += kSide * kSide) {
    const int64_t row = first_row + i / kDepth, column = first_k + i % kDepth;
    tile[i / kDepth][i % kDepth] = row < rows && column < k ? load(row, column) : 0.0f;
  }
}

// NOTE: tiles go along x of the grid: y and z end at 65,535.
__global__ void __launch_bounds__(kSide* kSide) gemm_w8a16_any_layout(const __grid_constant__ AnyCall call) {
  __shared__ TileFloats x_tile, w_tile;
  cuda::ptx::grid_dependency_release();
  cuda::ptx::grid_dependency_wait();
  const W8A16Output& out = call.out;
  const int64_t tiles_across = (int64_t{out.n} + kTile - 1) / kTile;
  const int64_t row = blockIdx.x / tiles_across * kTile, column = blockIdx.x % tiles_across * kTile;
  const int x_place = static_cast<int>(threadIdx.x) / kSide, w_place = static_cast<int>(threadIdx.x) % kSide;

  float acc[kOfThread][kOfThread] = {};
  for (int64_t k = 0; k < call.k; k += kDepth) {
    __syncthreads();
    load_tile(x_tile, row, out.m, k, call.k,
              [&](int64_t r, int64_t c) { return load_any(call.x, call.x_type, r * call.x_stride + c); });
    load_tile(w_tile, column, out.n, k, call.k,
              [&](int64_t r, int64_t c) { return static_cast<float>(call.w[r * call.w_stride + c]); });
    __syncthreads();
#pragma unroll 8
    for (int i = 0; i < kDepth; ++i)
#pragma unroll
      for (int m = 0; m < kOfThread; ++m)
#pragma unroll
        for (int n = 0; n < kOfThread; ++n)
          acc[m][n] = __fmaf_rn(x_tile[x_place + m * kSide][i], w_tile[w_place + n * kSide][i], acc[m][n]);
  }
#pragma unroll
  for (int j = 0; j < kOfThread; ++j) {
    const int64_t n = column + w_place + j * kSide;
    Feature feature;
    feature.load(out, n);
#pragma unroll
    for (int i = 0; i < kOfThread; ++i) {
      const int64_t m = row + x_place + i * kSide;
      const float v = feature.of(acc[i][j]), partner = partner_of(out, v, 1);
      if (m < out.m && n < out.n) store_one(out, m, n, v, partner);
    }
  }
}

}  // namespace

void gemm_w8a16_any(const Context& ctx, const GemmW8A16Args& a) {
  if (a.y.numel() == 0) return;
  const AnyCall call{.x = a.x.data(),
                     .w = static_cast<const int8_t*>(a.w.data()),
                     .x_stride = a.x.stride(0),
                     .w_stride = a.w.stride(0),
                     .x_type = a.x.dtype(),
                     .k = a.x.dim(1),
                     .out = w8a16_output(a)};
  const auto tiles = [](int64_t n) { return (n + kTile - 1) / kTile; };
  cuda::launch(ctx,
               {.kernel = "gemm_w8a16_any_layout",
                .grid = dim3(static_cast<unsigned>(tiles(call.out.m) * tiles(call.out.n))),
                .block = dim3(kSide * kSide),
                .overlap = true},
               gemm_w8a16_any_layout, call);
}

}  // namespace octavo
