// gemm_w8a8 on Ampere and everything newer: tiles of 128 x 128, k in blocks of 64 through a ring of four stages (cp.async),
// eight warps of 32 x 64 outputs each (ldmatrix, mma.sync m16n8k32). Bound by the tensor cores; few tokens by the weights.
#include "cuda/launch.h"
#include "cuda/ptx/grid_dependency.cuh"
#include "cuda/ptx/mma_s8.cuh"
#include "ops/gemm_w8a8/gemm_w8a8_cuda.h"
#include "ops/gemm_w8a8/gemm_w8a8_epilogue.cuh"

namespace octavo {
namespace {

namespace ptx = cuda::ptx;

constexpr int kTile = 128, kDepth = 64, kStages = 4, kThreads = 256;
constexpr int kWarpRows = 32, kWarpColumns = 64, kWarpsAcross = kTile / kWarpColumns;

struct Sm80Call {
  const int8_t *x, *w;         // [m, k], [n, k]; rows on 16 bytes
  int64_t x_stride, w_stride;  // elements
  int k;
  TileGrid grid;
  Int8Output out;
};

using Operand = int8_t[kTile * kDepth];  // rows of 64 bytes, parts of 16 permuted: place_in_rows_of_64

struct Sm80Shared {
  alignas(128) Operand x[kStages], w[kStages];
  alignas(16) float2 columns[kTile];  // (scale, bias)
};
// The epilogue's staging memory takes the place of the stages.
static_assert(sizeof(uint4) * 128 * kThreads / 32 <= sizeof(Operand) * kStages);

// kTile rows of an operand from first_row on, bytes [k, k + kDepth), zeros outside.
// NOTE: a row's last part goes byte by byte where it is not whole: a copy of fewer than 16 bytes touches all 16 (memcheck), and
// behind the last row there may be nothing.
__device__ __forceinline__ void load_operand(Operand& stage, const int8_t* from, int64_t stride,
                                             int first_row, int rows, int k, int depth) {
#pragma unroll
  for (int i = 0; i < kTile * kDepth / 16 / kThreads; ++i) {
    const int at = static_cast<int>(threadIdx.x) + i * kThreads, row = at / 4, part = at % 4;
    const int column = k + part * 16, left = first_row + row < rows ? min(16, max(0, depth - column)) : 0;
    const int8_t* source = left ? from + (first_row + row) * stride + column : from;
    int8_t* to = stage + place_in_rows_of_64(row, part);
    if (left == 0 || left == 16) {
      ptx::copy_async(to, source, left);
    } else {
      for (int e = 0; e < 16; ++e) to[e] = e < left ? source[e] : int8_t{};
    }
  }
}

// The products of one stage.
__device__ __forceinline__ void multiply(const Operand& x, const Operand& w, int first_row, int first_column,
                                         int32_t (&acc)[2][kWarpColumns / 2]) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int part = 0; part < kDepth / 16; part += 2) {
    uint32_t a[2][4];
#pragma unroll
    for (int i = 0; i < 2; ++i)
      ptx::load_matrices(a[i], x + place_in_rows_of_64(first_row + 16 * i + lane % 16, part + lane / 16));
#pragma unroll
    for (int j = 0; j < kWarpColumns / 16; ++j) {
      uint32_t b[4];  // columns 0-7: k 0-15, k 16-31; columns 8-15: the same
      ptx::load_matrices(
          b, w + place_in_rows_of_64(first_column + 16 * j + lane % 8 + lane / 16 * 8, part + lane / 8 % 2));
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        ptx::mma_s8(acc[i] + 8 * j, a[i], b[0], b[1]);
        ptx::mma_s8(acc[i] + 8 * j + 4, a[i], b[2], b[3]);
      }
    }
  }
}

// From (row, column) on: any policy, element by element.
__device__ __forceinline__ void store_pairs(const Int8Output& out, int row, int column,
                                            const int32_t (&acc)[2][kWarpColumns / 2]) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int i = 0; i < 2; ++i)
#pragma unroll
    for (int j = 0; j < kWarpColumns / 8; ++j)
#pragma unroll
      for (int half = 0; half < 2; ++half)
        store_pair(out, row + 16 * i + 8 * half + lane / 4, column + 8 * j + lane % 4 * 2,
                   acc[i][4 * j + 2 * half], acc[i][4 * j + 2 * half + 1]);
}

template <class Y>
__device__ __forceinline__ void store_rows(Sm80Shared& shared, const Int8Output& out, int first_row,
                                           int tile_column, int warp_column,
                                           const int32_t (&acc)[2][kWarpColumns / 2]) {
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const ColumnScales<kTile, kThreads> columns(out, tile_column, static_cast<int>(threadIdx.x));
  columns.publish(shared.columns, 1);
  uint4* staging = reinterpret_cast<uint4*>(shared.x) + warp * 128;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int row = first_row + 16 * i;
    float x_scale[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int r = row + lane / 4 + 8 * half;
      x_scale[half] = out.x_scale && r < out.m ? out.x_scale[r] : 0.0f;
    }
    store_sums<Y, Int8Policy::scales>(out, row, tile_column + warp_column, acc[i], x_scale,
                                      shared.columns + warp_column, staging);
  }
}

// Y: y's type for a plain epilogue, void for any.
template <class Y>
__global__ void __launch_bounds__(kThreads, 2) gemm_w8a8_mma(const __grid_constant__ Sm80Call call) {
  extern __shared__ __align__(128) uint8_t memory[];
  auto& shared = *reinterpret_cast<Sm80Shared*>(memory);
  ptx::grid_dependency_release();
  ptx::grid_dependency_wait();
  const Int8Output& out = call.out;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const TilePlace tile = place_of(call.grid, static_cast<int>(blockIdx.x));
  const int tile_row = tile.row * kTile, tile_column = tile.column * kTile;
  const int warp_row = warp / kWarpsAcross * kWarpRows, warp_column = warp % kWarpsAcross * kWarpColumns;
  const int blocks = (call.k + kDepth - 1) / kDepth;
  const auto load = [&](int block) {
    const int stage = block % kStages;
    if (block < blocks) {
      load_operand(shared.x[stage], call.x, call.x_stride, tile_row, out.m, block * kDepth, call.k);
      load_operand(shared.w[stage], call.w, call.w_stride, tile_column, out.n, block * kDepth, call.k);
    }
    ptx::copy_async_commit();  // empty ones too, so that the count of pending groups stays right
  };

  int32_t acc[2][kWarpColumns / 2] = {};
  for (int block = 0; block < kStages - 1; ++block) load(block);
  for (int block = 0; block < blocks; ++block) {
    ptx::copy_async_wait<kStages - 2>();
    __syncthreads();  // the stage is there for all, and the one before it is free
    load(block + kStages - 1);
    multiply(shared.x[block % kStages], shared.w[block % kStages], warp_row, warp_column, acc);
  }
  ptx::copy_async_wait<0>();

  if constexpr (std::is_void_v<Y>)
    store_pairs(out, tile_row + warp_row, tile_column + warp_column, acc);
  else
    store_rows<Y>(shared, out, tile_row + warp_row, tile_column, warp_column, acc);
}

template <class Y>
void run(const Context& ctx, const GemmW8A8Args& a) {
  const auto tiles = [](int64_t n) { return static_cast<int>((n + kTile - 1) / kTile); };
  const Sm80Call call{.x = static_cast<const int8_t*>(a.x.data()),
                      .w = static_cast<const int8_t*>(a.w.data()),
                      .x_stride = a.x.stride(0),
                      .w_stride = a.w.stride(0),
                      .k = static_cast<int>(a.x.dim(1)),
                      .grid = {tiles(a.x.dim(0)), tiles(a.w.dim(0)), 8},
                      .out = int8_output(a)};
  cuda::launch(ctx,
               {.kernel = "gemm_w8a8_mma",
                .grid = dim3(static_cast<unsigned>(call.grid.count())),
                .block = dim3(kThreads),
                .shared_bytes = sizeof(Sm80Shared),
                .overlap = true},
               gemm_w8a8_mma<Y>, call);
}

bool rows_on_16_bytes(const ConstTensor& t) {
  return reinterpret_cast<uintptr_t>(t.data()) % 16 == 0 && (t.dim(0) <= 1 || t.stride(0) % 16 == 0);
}

}  // namespace

bool gemm_w8a8_fits_sm80(const GemmW8A8Args& a, const DeviceFacts& facts) {
  return facts.compute_capability >= 80 && a.x.dim(0) < INT32_MAX / 2 && a.w.dim(0) < INT32_MAX / 2 &&
         rows_on_16_bytes(a.x) && rows_on_16_bytes(a.w);
}

void gemm_w8a8_sm80(const Context& ctx, const GemmW8A8Args& a) {
  if (a.y.numel() == 0) return;
  if (a.activation != GemmActivation::none || a.residual || a.y_amax) return run<void>(ctx, a);
  switch (a.y.dtype()) {
    case DType::f32: return run<float>(ctx, a);
    case DType::f16: return run<F16>(ctx, a);
    case DType::bf16: return run<BF16>(ctx, a);
    default: return run<void>(ctx, a);
  }
}

}  // namespace octavo
