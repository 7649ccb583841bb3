// gemm_w8a16 for up to eight tokens anywhere (gemm_w8a16_stream.cu is Hopper's): reads w once, as fast as memory gives it.
//   y[m][n] = (sum_k x[m][k] w[n][k]) w_scale[n] + bias[n]
// A tile is 32 features x 8 tokens: mma.sync m16n8k16 with the weights as the left operand, so the cost does not depend on the
// number of tokens. Every warp has a ring of boxes (the tile's features x 128 k) of its own and takes every 8th box of its
// tile; the warps' sums of a tile meet in shared memory in a fixed order. Lane (g, c) = (lane / 4, lane % 4) reads 16 codes of
// features g, g + 8, .. at k = 64 step + 16 c; word j of them is one product's operand, so its k are 16 c + 4 j + (0..3), and
// x, which lies in shared memory, is read at the same k.
#include <algorithm>

#include "cuda/device.h"
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

struct FewCall {
  const int8_t* w;
  int64_t w_stride;
  const void* x;  // [m, k] of T, rows on 16 bytes
  int64_t x_stride;
  W8A16Output out;
  int k, boxes, tiles;
};

constexpr int kThreads = 32 * kFewWarps, kBoxBytes = kFewFeatures * kBoxDepth;
constexpr int kOutputs = kFewFeatures * kFewTokens;  // of a tile
constexpr int kParts = kFewFeatures / 8;

// Places in a warp's sequence of boxes: its share of each tile, tile after tile.
struct Cursor {
  int tile, box;

  __device__ __forceinline__ void next(int boxes, int warp) {
    box += kFewWarps;
    if (box >= boxes) box = warp, tile += static_cast<int>(gridDim.x);
  }
};

// A lane's codes of a box, 16 each: [step of k][features g + 8 part].
using LaneCodes = uint4[2][kParts];

// 16 codes of a row from k on, any alignment; zeros beyond the end.
__device__ __forceinline__ uint4 codes_of_row(const int8_t* row, int k, int end) {
  uint32_t words[5] = {};
  const int8_t* p = row + k;
  const int off = static_cast<int>(reinterpret_cast<uintptr_t>(p) % 4);
  if (k + 20 <= end) {
    const auto* aligned = reinterpret_cast<const uint32_t*>(p - off);
#pragma unroll
    for (int i = 0; i < 5; ++i) words[i] = aligned[i];
#pragma unroll
    for (int i = 0; i < 4; ++i) words[i] = __funnelshift_r(words[i], words[i + 1], 8 * off);
  } else {
#pragma unroll
    for (int i = 0; i < 16; ++i)
      if (k + i < end) words[i / 4] |= static_cast<uint32_t>(static_cast<uint8_t>(p[i])) << (i % 4 * 8);
  }
  return make_uint4(words[0], words[1], words[2], words[3]);
}

// A warp's ring of boxes, filled by the lanes, each with what it reads itself: cp.async, or through registers where w lies
// anyhow.
template <bool kAligned>
struct Ring {
  int8_t* boxes;  // [slots][step][part][lane][16]
  int slot = 0;

  __device__ __forceinline__ void ask(const FewCall& call, int to, const Cursor& at, int lane) {
#pragma unroll
    for (int i = 0; i < 2 * kParts; ++i) {
      const int n = at.tile * kFewFeatures + feature_of_row(lane / 4) + i % kParts * 8;
      const int k = at.box * kBoxDepth + i / kParts * 64 + lane % 4 * 16;
      const bool exists = n < call.out.n && k < call.k;
      const int8_t* row = call.w + (exists ? n * call.w_stride : 0);
      int8_t* place = boxes + to * kBoxBytes + i * 512 + lane * 16;
      if (kAligned && (!exists || k + 16 <= call.k))
        ptx::copy_async(place, exists ? row + k : row, exists ? 16 : 0);
      else
        *reinterpret_cast<uint4*>(place) = exists ? codes_of_row(row, k, call.k) : uint4{};
    }
  }
  __device__ __forceinline__ void read(LaneCodes& codes, int lane) const {
#pragma unroll
    for (int i = 0; i < 2 * kParts; ++i)
      codes[i / kParts][i % kParts] =
          *reinterpret_cast<const uint4*>(boxes + slot * kBoxBytes + i * 512 + lane * 16);
  }
  __device__ __forceinline__ void next() {
    if (++slot == kFewSlots) slot = 0;
  }
};

// All tokens to shared memory, zeros up to the end of the last box.
// NOTE: the last octet of a row goes element by element where it is not whole: a copy of fewer than 16 bytes still touches all
// 16 (memcheck), and behind the last row there may be nothing.
template <class T>
__device__ __forceinline__ void load_x(const FewCall& call, int8_t* x_shared, int pitch) {
  const int octets = call.boxes * kBoxDepth / 8;
  for (int token = 0; token < call.out.m; ++token) {
    const T* row = static_cast<const T*>(call.x) + token * call.x_stride;
    for (int octet = static_cast<int>(threadIdx.x); octet < octets; octet += kThreads) {
      const int k = octet * 8;
      int8_t* place = x_shared + token * pitch + octet * 16;
      if (k + 8 <= call.k || k >= call.k) {
        ptx::copy_async(place, k < call.k ? row + k : row, k < call.k ? 16 : 0);
      } else {
        for (int i = 0; i < 8; ++i)
          reinterpret_cast<uint16_t*>(place)[i] = k + i < call.k ? row[k + i].bits : uint16_t{0};
      }
    }
  }
  ptx::copy_async_commit();
}

__device__ __forceinline__ uint32_t word_of(const uint4& v, int j) {
  return j == 0 ? v.x : j == 1 ? v.y : j == 2 ? v.z : v.w;
}

// sums[features / 16] += a box of weights times x: `x` is the lane's token at k = 16 c of the box.
template <class T, int kPairs>
__device__ __forceinline__ void multiply(float (&sums)[kPairs][4], const uint4 (&codes)[2][2 * kPairs],
                                         const int8_t* x) {
#pragma unroll
  for (int step = 0; step < 2; ++step) {
    const auto* words_of_x = reinterpret_cast<const uint4*>(x + step * 128);
    const uint4 b[2] = {words_of_x[0], words_of_x[1]};
    const auto& c = codes[step];
#pragma unroll
    for (int j = 0; j < 4; ++j)
#pragma unroll
      for (int i = 0; i < kPairs; ++i) {
        const CodePairs upper = code_pairs(word_of(c[2 * i], j), T{}),
                        lower = code_pairs(word_of(c[2 * i + 1], j), T{});
        ptx::mma_f16(sums[i], {upper.low, lower.low, upper.high, lower.high}, word_of(b[j / 2], j % 2 * 2),
                     word_of(b[j / 2], j % 2 * 2 + 1), T{});
      }
  }
}

// Where mma.sync leaves output o, token o / kFewFeatures and feature o % kFewFeatures, in a warp's sums.
__device__ __forceinline__ int place_of_output(int o) {
  const int feature = o % kFewFeatures, token = o / kFewFeatures;
  const int lane = row_of_feature(feature % 8) * 4 + token / 2;
  return feature / 16 * 128 + lane * 4 + feature / 8 % 2 * 2 + token % 2;
}

template <class T, bool kAligned>
__global__ void __launch_bounds__(kThreads, 2) gemm_w8a16_few_tokens(const __grid_constant__ FewCall call) {
  extern __shared__ __align__(1024) int8_t memory[];
  auto& sums_of_warps = *reinterpret_cast<float(*)[kFewWarps][kOutputs]>(memory);
  static_assert(sizeof sums_of_warps == kFewHeadBytes && kOutputs == kThreads);
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32;
  const int warp = __shfl_sync(~0u, thread / 32, 0);
  const int pitch = few_x_pitch(call.boxes);
  int8_t* x_shared = memory + kFewHeadBytes + kFewWarps * kFewSlots * kBoxBytes;
  ptx::grid_dependency_release();
  ptx::grid_dependency_wait();

  Ring<kAligned> ring{memory + kFewHeadBytes + warp * kFewSlots * kBoxBytes};
  Cursor ahead{static_cast<int>(blockIdx.x), warp};
  if (warp >= call.boxes) ahead.tile = call.tiles;
  const auto ask = [&](int slot) {
    if (ahead.tile < call.tiles) ring.ask(call, slot, ahead, lane), ahead.next(call.boxes, warp);
    ptx::copy_async_commit();
  };
  load_x<T>(call, x_shared, pitch);
  for (int i = 0; i < kFewSlots; ++i) ask(i);
  ptx::copy_async_wait<kFewSlots>();
  __syncthreads();

  const int token_of_lane = min(lane / 4, call.out.m - 1);
  const int8_t* x_of_lane = x_shared + token_of_lane * pitch + lane % 4 * 32;
  const int token = thread / kFewFeatures, feature_of_tile = thread % kFewFeatures;
  for (int tile = static_cast<int>(blockIdx.x); tile < call.tiles; tile += static_cast<int>(gridDim.x)) {
    const int n = tile * kFewFeatures + feature_of_tile;
    Feature feature;
    feature.load(call.out, n);  // before the product, which hides the latency
    float sums[kFewFeatures / 16][4] = {};
    for (int box = warp; box < call.boxes; box += kFewWarps) {
      LaneCodes codes;
      ptx::copy_async_wait<kFewSlots - 1>();
      ring.read(codes, lane);
      ask(ring.slot);
      ring.next();
      multiply<T>(sums, codes, x_of_lane + box * (kBoxDepth * 2));
    }
#pragma unroll
    for (int i = 0; i < kFewFeatures / 16; ++i)
      reinterpret_cast<float4*>(sums_of_warps[warp])[i * 32 + lane] =
          make_float4(sums[i][0], sums[i][1], sums[i][2], sums[i][3]);
    __syncthreads();
    float sum = 0;
#pragma unroll
    for (int i = 0; i < kFewWarps; ++i) sum += sums_of_warps[i][place_of_output(thread)];
    const float v = feature.of(sum), partner = partner_of(call.out, v, 1);
    if (token < call.out.m && n < call.out.n) store_one(call.out, token, n, v, partner);
    __syncthreads();
  }
}

int ceil_div(int64_t a, int64_t b) { return static_cast<int>((a + b - 1) / b); }

bool rows_on_16_bytes(const ConstTensor& t) {
  return reinterpret_cast<uintptr_t>(t.data()) % 16 == 0 &&
         (t.dim(0) <= 1 || t.stride(0) * size_of(t.dtype()) % 16 == 0);
}

template <class T, bool kAligned>
void run(const Context& ctx, const GemmW8A16Args& a) {
  const FewCall call{.w = static_cast<const int8_t*>(a.w.data()),
                     .w_stride = a.w.stride(0),
                     .x = a.x.data(),
                     .x_stride = a.x.stride(0),
                     .out = w8a16_output(a),
                     .k = static_cast<int>(a.x.dim(1)),
                     .boxes = ceil_div(a.x.dim(1), kBoxDepth),
                     .tiles = ceil_div(a.w.dim(0), kFewFeatures)};
  const int cores = cuda::device_facts(cuda::current_device()).cores;
  const cuda::LaunchShape shape{.kernel = "gemm_w8a16_few_tokens",
                                .grid = dim3(static_cast<unsigned>(std::min(cores, call.tiles))),
                                .block = dim3(kThreads),
                                .shared_bytes = few_shared_bytes(a.x.dim(0), a.x.dim(1)),
                                .shared_percent = 100,
                                .overlap = true};
  cuda::launch(ctx, shape, gemm_w8a16_few_tokens<T, kAligned>, call);
}

}  // namespace

bool gemm_w8a16_fits_few(const GemmW8A16Args& a, const DeviceFacts& facts) {
  return facts.compute_capability >= 80 && a.x.dtype() != DType::f32 && a.x.dim(0) <= kFewTokens &&
         a.x.dim(1) > 0 && a.x.dim(1) < INT32_MAX / 2 && a.w.dim(0) < INT32_MAX / 2 &&
         rows_on_16_bytes(a.x) && few_shared_bytes(a.x.dim(0), a.x.dim(1)) <= facts.shared_bytes_per_block;
}

void gemm_w8a16_few(const Context& ctx, const GemmW8A16Args& a) {
  if (a.y.numel() == 0) return;
  const bool is_aligned = rows_on_16_bytes(a.w);
  if (a.x.dtype() == DType::f16)
    is_aligned ? run<F16, true>(ctx, a) : run<F16, false>(ctx, a);
  else
    is_aligned ? run<BF16, true>(ctx, a) : run<BF16, false>(ctx, a);
}

}  // namespace octavo
