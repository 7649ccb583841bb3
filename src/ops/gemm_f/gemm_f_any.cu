// gemm_f on CUDA beside cuBLASLt: a product of any types and strides, and the bias behind a 16-bit product.
#include "cuda/launch.h"
#include "cuda/ptx/grid_dependency.cuh"
#include "cuda/tile_product.cuh"
#include "cuda/vec.cuh"
#include "ops/gemm_f/gemm_f_cuda.h"

namespace octavo {
namespace {

using Product = cuda::TileProduct<32, 32>;

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

__global__ void __launch_bounds__(cuda::kTileThreads)
    gemm_f_any_layout(const __grid_constant__ AnyProduct p) {
  cuda::ptx::grid_dependency_release();
  cuda::ptx::grid_dependency_wait();
  Product product(p.n);
  product.multiply(
      p.m, p.n, p.k, [&](int64_t row, int64_t k) { return p.x.load(row, k); },
      [&](int64_t row, int64_t k) { return p.w.load(row, k); });
#pragma unroll
  for (int i = 0; i < Product::kOfThread; ++i)
#pragma unroll
    for (int j = 0; j < Product::kOfThread; ++j) {
      const int64_t m = product.row(i), n = product.column(j);
      if (m < p.m && n < p.n) p.y.store(m, n, product.sum[i][j] + (p.bias ? p.bias[n] : 0.0f));
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
  cuda::launch(ctx,
               {.kernel = "gemm_f_any_layout",
                .grid = dim3(static_cast<unsigned>(Product::blocks(p.m, p.n))),
                .block = dim3(cuda::kTileThreads),
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
