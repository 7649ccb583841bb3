// gemm_w8a8 on Ampere and everything newer: tiles of 128 x 128, k in blocks of 64 through a ring of stages (cp.async), warps of
// 64 x 64 outputs each (ldmatrix, mma.sync m16n8k32). Bound by the tensor cores; few tokens by the weights.
#include "cuda/launch.h"
#include "cuda/ptx/grid_dependency.cuh"
#include "cuda/ptx/mma_s8.cuh"
#include "ops/gemm_w8a8/gemm_w8a8_cuda.h"
#include "ops/gemm_w8a8/gemm_w8a8_epilogue.cuh"

namespace octavo {
namespace {

namespace ptx = cuda::ptx;

constexpr int kTile = 128, kDepth = 64, kStages = 3;
constexpr int kWarpTile = 64, kWarpsAcross = kTile / kWarpTile, kThreads = 32 * kWarpsAcross * kWarpsAcross;

struct Sm80Call {
  const int8_t *x, *w;         // [m, k], [n, k]; rows on 16 bytes
  int64_t x_stride, w_stride;  // elements
  int k;
  TileGrid grid;
  Int8Output out;
};

// Of an operand: rows of 64 bytes, parts of 16 permuted (place_in_rows_of_64).
using Stage = int8_t[kTile * kDepth];

struct Sm80Shared {
  alignas(128) Stage x[kStages], w[kStages];
};
// What the epilogue needs takes the place of the stages: 2 KB a warp of x, (scale, bias) of the columns of w.
static_assert(2048 * kThreads / 32 <= sizeof(Sm80Shared::x));
static_assert(sizeof(float2) * kTile <= sizeof(Sm80Shared::w));

// A thread's part of kTile rows of an operand, from first_row on: 16 bytes of every kStep-th row.
// Rows beyond the last read that one again; what comes of them is not stored.
class Loader {
 public:
  __device__ __forceinline__ Loader(const int8_t* from, int64_t stride, int first_row, int rows) {
    const int row = static_cast<int>(threadIdx.x) / 4, part = static_cast<int>(threadIdx.x) % 4;
    column_ = part * 16, to_ = place_in_rows_of_64(row, part);
#pragma unroll
    for (int i = 0; i < kParts; ++i)
      from_[i] = from + min(first_row + row + i * kStep, rows - 1) * stride + column_;
  }

  // Bytes [k, k + kDepth) of the rows, zeros beyond `depth`.
  // NOTE: a row's last part goes byte by byte where it is not whole: a copy of fewer than 16 bytes touches all 16 (memcheck),
  // and behind the last row there may be nothing.
  __device__ __forceinline__ void load(Stage& stage, int k, int depth) const {
    const int left = depth - (k + column_);
    if (left >= 16) {
#pragma unroll
      for (int i = 0; i < kParts; ++i) ptx::copy_async(stage + to_ + i * kStep * kDepth, from_[i] + k, 16);
      return;
    }
#pragma unroll
    for (int i = 0; i < kParts; ++i)
#pragma unroll 1
      for (int e = 0; e < 16; ++e)
        stage[to_ + i * kStep * kDepth + e] = e < left ? from_[i][k + e] : int8_t{};
  }

 private:
  static constexpr int kStep = kThreads / 4, kParts = kTile / kStep;
  const int8_t* from_[kParts];
  int column_, to_;
};

using Sums = int32_t[kWarpTile / 16][kWarpTile / 2];  // of 16 rows each

struct Operands {
  uint32_t x[kWarpTile / 16][4], w[kWarpTile / 16][4];

  // Of 32 k: parts `part` and part + 1 (of 16) of a stage, from where the lane's part 0 of the warp's first rows lies.
  __device__ __forceinline__ void load(uint32_t from_x, uint32_t from_w, int part) {
#pragma unroll
    for (int i = 0; i < kWarpTile / 16; ++i)
      ptx::load_matrices(x[i], (from_x ^ static_cast<uint32_t>(part * 16)) + 16 * i * kDepth);
#pragma unroll
    for (int j = 0; j < kWarpTile / 16; ++j)
      ptx::load_matrices(w[j], (from_w ^ static_cast<uint32_t>(part * 16)) + 16 * j * kDepth);
  }
  __device__ __forceinline__ void multiply(Sums& acc) const {
#pragma unroll
    for (int j = 0; j < kWarpTile / 16; ++j)
#pragma unroll
      for (int i = 0; i < kWarpTile / 16; ++i) {
        ptx::mma_s8(acc[i] + 8 * j, x[i], w[j][0], w[j][1]);
        ptx::mma_s8(acc[i] + 8 * j + 4, x[i], w[j][2], w[j][3]);
      }
  }
};

// From (row, column) on: any policy, element by element.
__device__ __forceinline__ void store_pairs(const Int8Output& out, int row, int column, const Sums& acc) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int i = 0; i < kWarpTile / 16; ++i)
#pragma unroll
    for (int j = 0; j < kWarpTile / 8; ++j)
#pragma unroll
      for (int half = 0; half < 2; ++half)
        store_pair(out, row + 16 * i + 8 * half + lane / 4, column + 8 * j + lane % 4 * 2,
                   acc[i][4 * j + 2 * half], acc[i][4 * j + 2 * half + 1]);
}

template <class Y>
__device__ __forceinline__ void store_rows(Sm80Shared& shared, const Int8Output& out, int first_row,
                                           int tile_column, int warp_column, const Sums& acc) {
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  auto* scales = reinterpret_cast<float2*>(shared.w);
  uint4* staging = reinterpret_cast<uint4*>(shared.x) + warp * 128;
  const ColumnScales<kTile, kThreads> columns(out, tile_column, static_cast<int>(threadIdx.x));
  columns.publish(scales, 1);
#pragma unroll
  for (int i = 0; i < kWarpTile / 16; ++i) {
    const int row = first_row + 16 * i;
    float x_scale[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int r = row + lane / 4 + 8 * half;
      x_scale[half] = out.x_scale && r < out.m ? out.x_scale[r] : 0.0f;
    }
    store_sums<Y, Int8Policy::scales>(out, row, tile_column + warp_column, acc[i], x_scale,
                                      scales + warp_column, staging);
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
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const TilePlace tile = place_of(call.grid, static_cast<int>(blockIdx.x));
  const int tile_row = tile.row * kTile, tile_column = tile.column * kTile;
  const int warp_row = warp / kWarpsAcross * kWarpTile, warp_column = warp % kWarpsAcross * kWarpTile;
  const Loader x(call.x, call.x_stride, tile_row, out.m);
  const Loader w(call.w, call.w_stride, tile_column, out.n);
  const int blocks = (call.k + kDepth - 1) / kDepth;
  int filled = 0, slot = 0;
  const auto fill_next = [&](int block) {
    if (block < blocks)
      x.load(shared.x[filled], block * kDepth, call.k), w.load(shared.w[filled], block * kDepth, call.k);
    filled = filled + 1 == kStages ? 0 : filled + 1;
    ptx::copy_async_commit();  // empty ones too, so that the count of pending groups stays right
  };
  // Matrices of x: rows 0-7 and 8-15 of 16 k, then of the next 16; of w: 8 columns' 16 k, then the next 16, then 8 columns more.
  const uint32_t first_x = ptx::shared_address(shared.x) +
                           static_cast<uint32_t>(place_in_rows_of_64(warp_row + lane % 16, lane / 16)),
                 first_w = ptx::shared_address(shared.w) +
                           static_cast<uint32_t>(
                               place_in_rows_of_64(warp_column + lane % 8 + lane / 16 * 8, lane / 8 % 2));

  Sums acc = {};
  for (int block = 0; block < kStages - 1; ++block) fill_next(block);
#pragma unroll 1
  for (int block = 0; block < blocks; ++block) {
    ptx::copy_async_wait<kStages - 2>();
    __syncthreads();  // the stage is there for all, and the one before it is free
    const uint32_t from_x = first_x + static_cast<uint32_t>(slot * sizeof shared.x[0]),
                   from_w = first_w + static_cast<uint32_t>(slot * sizeof shared.w[0]);
    Operands even, odd;
    even.load(from_x, from_w, 0);
    fill_next(block + kStages - 1);
    odd.load(from_x, from_w, 2);
    even.multiply(acc);
    odd.multiply(acc);
    slot = slot + 1 == kStages ? 0 : slot + 1;
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
