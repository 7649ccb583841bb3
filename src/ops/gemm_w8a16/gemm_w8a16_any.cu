// gemm_w8a16 on CUDA for what the fast kernels do not take: fp32 activations, rows of x off 16 bytes, any GPU.
#include "cuda/launch.h"
#include "cuda/ptx/grid_dependency.cuh"
#include "cuda/tile_product.cuh"
#include "ops/gemm_w8a16/gemm_w8a16_cuda.h"
#include "ops/gemm_w8a16/gemm_w8a16_epilogue.cuh"

namespace octavo {
namespace {

using Product = cuda::TileProduct<64, 32>;

struct AnyCall {
  const void* x;               // [m, k]
  const int8_t* w;             // [n, k]
  int64_t x_stride, w_stride;  // elements
  DType x_type;
  int64_t k;
  W8A16Output out;
};

__global__ void __launch_bounds__(cuda::kTileThreads)
    gemm_w8a16_any_layout(const __grid_constant__ AnyCall call) {
  cuda::ptx::grid_dependency_release();
  cuda::ptx::grid_dependency_wait();
  const W8A16Output& out = call.out;
  Product product(out.n);
  product.multiply(
      out.m, out.n, call.k,
      [&](int64_t row, int64_t k) { return load_any(call.x, call.x_type, row * call.x_stride + k); },
      [&](int64_t row, int64_t k) { return static_cast<float>(call.w[row * call.w_stride + k]); });
#pragma unroll
  for (int j = 0; j < Product::kOfThread; ++j) {
    const int64_t n = product.column(j);
    Feature feature;
    feature.load(out, n);
#pragma unroll
    for (int i = 0; i < Product::kOfThread; ++i) {
      const int64_t m = product.row(i);
      const float v = feature.of(product.sum[i][j]), partner = partner_of(out, v, 1);
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
  cuda::launch(ctx,
               {.kernel = "gemm_w8a16_any_layout",
                .grid = dim3(static_cast<unsigned>(Product::blocks(call.out.m, call.out.n))),
                .block = dim3(cuda::kTileThreads),
                .overlap = true},
               gemm_w8a16_any_layout, call);
}

}  // namespace octavo
