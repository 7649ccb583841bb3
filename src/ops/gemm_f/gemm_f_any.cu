// gemm_f on CUDA beside cuBLASLt: a product of any types and strides, and the bias behind a 16-bit product.
// The product is simple: tiles of 32 x 32, fp32 products, loaded element by element. Bound by those loads.
#include "cuda/launch.h"
#include "cuda/ptx/grid_dependency.cuh"
#include "cuda/vec.cuh"
#include "ops/gemm_f/gemm_f_cuda.h"

namespace octavo {
namespace {

constexpr int kTile = 32, kSide = 16, kOfThread = kTile / kSide;  // 16 x 16 threads, 2 x 2 outputs each

struct AnyMatrix {
  void* data;
  int64_t stride;  // elements
  DType type;

  __device__ __forceinline__ float load(int64_t row, int64_t column) const {
    const int64_t at = row * stride + column;
    switch (type) {
      case DType::f16: return cuda::load_element(static_cast<const F16*>(data) + at);
      case DType::bf16: return cuda::load_element(static_cast<const BF16*>(data) + at);
      default: return static_cast<const float*>(data)[at];
    }
  }
  __device__ __forceinline__ void store(int64_t row, int64_t column, float v) const {
    const int64_t at = row * stride + column;
    switch (type) {
      case DType::f16: cuda::store_element(static_cast<F16*>(data) + at, v); break;
      case DType::bf16: cuda::store_element(static_cast<BF16*>(data) + at, v); break;
      default: static_cast<float*>(data)[at] = v;
    }
  }
};

struct AnyProduct {
  AnyMatrix x, w, y;  // [m, k], [n, k], [m, n]
  const float* bias;  // [n] or null
  int64_t m, n, k;
};

// kTile x kTile elements, zeros outside; a row has one element more, against bank conflicts.
using TileFloats = float[kTile][kTile + 1];
__device__ __forceinline__ void load_tile(TileFloats& tile, const AnyMatrix& from, int64_t first_row,
                                          int64_t rows, int64_t first_k, int64_t k) {
  for (int i = static_cast<int>(threadIdx.x); i < kTile * kTile; i += kSide * kSide) {
    const int64_t row = first_row + i / kTile, column = first_k + i % kTile;
    tile[i / kTile][i % kTile] = row < rows && column < k ? from.load(row, column) : 0.0f;
  }
}

// NOTE: tiles go along x of the grid: y and z end at 65,535.
__global__ void __launch_bounds__(kSide* kSide) gemm_f_any_layout(const __grid_constant__ AnyProduct p) {
  __shared__ TileFloats x_tile, w_tile;
  cuda::ptx::grid_dependency_release();
  cuda::ptx::grid_dependency_wait();
  const int64_t tiles_across = (p.n + kTile - 1) / kTile;
  const int64_t row = blockIdx.x / tiles_across * kTile, column = blockIdx.x % tiles_across * kTile;
  const int x_place = static_cast<int>(threadIdx.x) / kSide, w_place = static_cast<int>(threadIdx.x) % kSide;

  float acc[kOfThread][kOfThread] = {};
  for (int64_t k = 0; k < p.k; k += kTile) {
    __syncthreads();
    load_tile(x_tile, p.x, row, p.m, k, p.k);
    load_tile(w_tile, p.w, column, p.n, k, p.k);
    __syncthreads();
#pragma unroll 2
    for (int i = 0; i < kTile; ++i)
#pragma unroll
      for (int m = 0; m < kOfThread; ++m)
#pragma unroll
        for (int n = 0; n < kOfThread; ++n)
          acc[m][n] = __fmaf_rn(x_tile[x_place + m * kSide][i], w_tile[w_place + n * kSide][i], acc[m][n]);
  }
#pragma unroll
  for (int i = 0; i < kOfThread; ++i)
#pragma unroll
    for (int j = 0; j < kOfThread; ++j) {
      const int64_t m = row + x_place + i * kSide, n = column + w_place + j * kSide;
      if (m < p.m && n < p.n) p.y.store(m, n, acc[i][j] + (p.bias ? p.bias[n] : 0.0f));
    }
}

constexpr int kBiasThreads = 256;

__global__ void __launch_bounds__(kBiasThreads)
    gemm_f_add_bias_rows(const float* product, const float* bias, AnyMatrix y, int64_t m, int64_t n) {
  cuda::ptx::grid_dependency_release();
  cuda::ptx::grid_dependency_wait();
  const int64_t at = int64_t{blockIdx.x} * kBiasThreads + threadIdx.x;
  if (at < m * n) y.store(at / n, at % n, product[at] + bias[at % n]);
}

AnyMatrix matrix(const ConstTensor& t) {
  return {.data = const_cast<void*>(t.data()), .stride = t.stride(0), .type = t.dtype()};
}

const float* bias_of(const GemmFArgs& a) { return a.bias ? a.bias.as<float>() : nullptr; }

}  // namespace

void gemm_f_any(const Context& ctx, const GemmFArgs& a) {
  if (a.y.numel() == 0) return;
  const AnyProduct p{.x = matrix(a.x),
                     .w = matrix(a.w),
                     .y = matrix(a.y),
                     .bias = bias_of(a),
                     .m = a.y.dim(0),
                     .n = a.y.dim(1),
                     .k = a.x.dim(1)};
  const auto tiles = [](int64_t n) { return (n + kTile - 1) / kTile; };
  cuda::launch(ctx,
               {.kernel = "gemm_f_any_layout",
                .grid = dim3(static_cast<unsigned>(tiles(p.m) * tiles(p.n))),
                .block = dim3(kSide * kSide),
                .overlap = true},
               gemm_f_any_layout, p);
}

void gemm_f_add_bias(const Context& ctx, const float* product, const GemmFArgs& a) {
  const int64_t m = a.y.dim(0), n = a.y.dim(1);
  cuda::launch(ctx,
               {.kernel = "gemm_f_add_bias_rows",
                .grid = dim3(static_cast<unsigned>((m * n + kBiasThreads - 1) / kBiasThreads)),
                .block = dim3(kBiasThreads),
                .overlap = true},
               gemm_f_add_bias_rows, product, bias_of(a), matrix(a.y), m, n);
}

}  // namespace octavo
