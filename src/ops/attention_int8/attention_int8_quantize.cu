// Floats to the codes and scales of attention_int8, any architecture. Bound by memory: each element read once, a byte written.
// A block has 256 threads and kOctets eight-channel pieces a thread, all of one head. Blocks [0, v_blocks) take a key tile of V
// each, the others rows of K, then of Q.
//   rows   kLanes threads hold a row, reduce its amax with shuffles and write its codes
//   V      threads hold words of four slots (int8_key_slot) x 8 channels; amax of a channel meets in shared memory, codes turn
//          round there: [channel][slot / 4]
#include "core/quantizer.h"
#include "cuda/launch.h"
#include "cuda/ptx/convert.cuh"
#include "cuda/ptx/grid_dependency.cuh"
#include "cuda/vec.cuh"
#include "ops/attention_int8/attention_int8_cuda.h"

namespace octavo {
namespace {

namespace ptx = cuda::ptx;
using cuda::kOctet, cuda::RawOctet;

constexpr int kThreads = 256, kOctets = 8, kWidestV = 16;  // lanes across V: 128 channels

struct FloatRows {  // [B, H, S, D]
  const void* data;
  int64_t batch, head, row;  // strides
  int heads, rows;           // H, S
  bool aligned;              // octets lie on 16 bytes
};
struct QuantizeCall {
  FloatRows q, k, v;
  int8_t *q_codes, *k_codes, *v_codes;
  float *q_scale, *k_scale, *v_scale;
  int dim, tiles, pages;
  int v_blocks, k_blocks;  // of all heads
  int k_blocks_of_head, q_blocks_of_head;
};

// The first element of a head.
template <class T>
__device__ __forceinline__ const T* head_of(const FloatRows& from, int head) {
  const int batch = head / from.heads;
  return static_cast<const T*>(from.data) + batch * from.batch + (head - batch * from.heads) * from.head;
}

// Channels [first, first + 8) of a row, as stored; 0 from `dim` on.
template <class T>
__device__ __forceinline__ RawOctet<T> load_octet_of(const T* row, int first, int dim, bool aligned) {
  if (aligned && first + kOctet <= dim) return cuda::load_octet(row + first);
  float values[kOctet];
#pragma unroll
  for (int i = 0; i < kOctet; ++i) values[i] = first + i < dim ? to_float(row[first + i]) : 0.0f;
  return cuda::pack<T>(values);
}
template <class T>
__device__ __forceinline__ RawOctet<T> zero_octet() {
  constexpr float kZeros[kOctet] = {};
  return cuda::pack<T>(kZeros);
}

__device__ __forceinline__ uint32_t code_word(float a, float b, float c, float d, float inverse) {
  return inverse == 0.0f ? 0u
                         : ptx::pack_codes(__fmul_rn(a, inverse), __fmul_rn(b, inverse),
                                           __fmul_rn(c, inverse), __fmul_rn(d, inverse));
}

// kLanes threads a row; kOctets rows a thread, of which lane i of a row's threads works out the coding of the i-th.
template <class T, int kLanes>
__device__ __forceinline__ void quantize_rows(const FloatRows& from, int8_t* codes, float* scales, int dim,
                                              int block, int blocks_of_head) {
  constexpr int kRowsAtOnce = kThreads / kLanes;
  static_assert(kLanes >= kOctets);
  const int lane = static_cast<int>(threadIdx.x) % kLanes, first = lane * kOctet;
  const int head = block / blocks_of_head;
  const int begin =
      (block - head * blocks_of_head) * kRowsAtOnce * kOctets + static_cast<int>(threadIdx.x) / kLanes;
  const T* rows = head_of<T>(from, head);
  codes += static_cast<int64_t>(head) * from.rows * dim, scales += static_cast<int64_t>(head) * from.rows;
  RawOctet<T> raw[kOctets];
#pragma unroll
  for (int i = 0; i < kOctets; ++i) {
    const int r = begin + i * kRowsAtOnce;
    raw[i] = r < from.rows && first < dim ? load_octet_of(rows + r * from.row, first, dim, from.aligned)
                                          : zero_octet<T>();
  }
  float amax_of_mine = 0.0f;
#pragma unroll
  for (int i = 0; i < kOctets; ++i) {
    float values[kOctet], amax = 0.0f;
    cuda::unpack(raw[i], values);
#pragma unroll
    for (int c = 0; c < kOctet; ++c) amax = ptx::largest_magnitude(amax, values[c]);
#pragma unroll
    for (int step = 1; step < kLanes; step *= 2) amax = ptx::larger(amax, __shfl_xor_sync(~0u, amax, step));
    if (lane == i) amax_of_mine = amax;
  }
  const RowCoding coding = row_coding(amax_of_mine);
  if (lane < kOctets && begin + lane * kRowsAtOnce < from.rows)
    scales[begin + lane * kRowsAtOnce] = coding.scale;
#pragma unroll
  for (int i = 0; i < kOctets; ++i) {
    const float inverse = __shfl_sync(~0u, coding.inverse, i, kLanes);
    const int r = begin + i * kRowsAtOnce;
    float v[kOctet];
    cuda::unpack(raw[i], v);
    if (r < from.rows && first < dim)
      *reinterpret_cast<uint2*>(codes + int64_t{r} * dim + first) =
          make_uint2(code_word(v[0], v[1], v[2], v[3], inverse), code_word(v[4], v[5], v[6], v[7], inverse));
  }
}

// A key tile of V, or 128 of its channels: kLanes threads across them, kDown down the words of slots.
template <class T, int kLanes>
__device__ __forceinline__ void quantize_v_tile(const QuantizeCall& call, int block) {
  constexpr int kDim = kLanes * kOctet, kTile = int{kInt8TileKeys};
  constexpr int kDown = kThreads / kLanes, kWords = kTile / 4, kMine = kWords / kDown, kWarps = kThreads / 32;
  constexpr int kPitch = kWords + 1;  // of words of a channel
  static_assert(kMine >= 1 && kDim <= kThreads);
  __shared__ float most[kWarps][kDim], inverses[kDim];
  __shared__ uint32_t turned[kDim * kPitch];
  const int thread = static_cast<int>(threadIdx.x), lane = thread % kLanes, down = thread / kLanes,
            first = lane * kOctet;
  const int of_tile = (call.dim + kDim - 1) / kDim, head = block / of_tile / call.tiles,
            tile = block / of_tile - head * call.tiles, start = block % of_tile * kDim,
            width = min(kDim, call.dim - start);
  const T* rows = head_of<T>(call.v, head);

  RawOctet<T> raw[kMine][4];
#pragma unroll
  for (int w = 0; w < kMine; ++w)
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int word = down + w * kDown;  // keys 2 c, 2 c + 1, 8 + 2 c, 9 + 2 c of 16, c = word % 4
      const int key = tile * kTile + word / 4 * 16 + word % 4 * 2 + i / 2 * 8 + i % 2;
      raw[w][i] = key < call.v.rows && first < width
                      ? load_octet_of(rows + key * call.v.row + start, first, width, call.v.aligned)
                      : zero_octet<T>();
    }
  float amax[kOctet] = {};
#pragma unroll
  for (int w = 0; w < kMine; ++w)
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      float values[kOctet];
      cuda::unpack(raw[w][i], values);
#pragma unroll
      for (int c = 0; c < kOctet; ++c) amax[c] = ptx::largest_magnitude(amax[c], values[c]);
    }
#pragma unroll
  for (int c = 0; c < kOctet; ++c) {
#pragma unroll
    for (int step = kLanes; step < 32; step *= 2)
      amax[c] = ptx::larger(amax[c], __shfl_xor_sync(~0u, amax[c], step));
    most[thread / 32][first + c] = amax[c];
  }
  __syncthreads();
  if (thread < kDim) {
    float channel = 0.0f;
#pragma unroll
    for (int warp = 0; warp < kWarps; ++warp) channel = ptx::larger(channel, most[warp][thread]);
    const RowCoding coding = row_coding(channel);
    inverses[thread] = coding.inverse;
    if (thread < width)
      call.v_scale[(int64_t{head} * call.tiles + tile) * call.dim + start + thread] = coding.scale;
  }
  __syncthreads();
#pragma unroll
  for (int w = 0; w < kMine; ++w) {
    float v[4][kOctet];
#pragma unroll
    for (int i = 0; i < 4; ++i) cuda::unpack(raw[w][i], v[i]);
#pragma unroll
    for (int c = 0; c < kOctet; ++c)
      turned[(first + c) * kPitch + down + w * kDown] =
          code_word(v[0][c], v[1][c], v[2][c], v[3][c], inverses[first + c]);
  }
  __syncthreads();
  const int first_page = tile * (kTile / 64), pages = min(kTile / 64, call.pages - first_page);
  uint4* out =
      reinterpret_cast<uint4*>(call.v_codes + (int64_t{head} * call.pages + first_page) * call.dim * 64);
  for (int i = thread; i < pages * width * 4; i += kThreads) {  // 16 slots each: [page][channel][4]
    const int page = i / (width * 4), channel = i / 4 % width;
    const uint32_t* words = turned + channel * kPitch + page * 16 + i % 4 * 4;
    out[(page * call.dim + start + channel) * 4 + i % 4] = make_uint4(words[0], words[1], words[2], words[3]);
  }
}

template <class T, int kLanes>
__global__ void __launch_bounds__(kThreads) attention_int8_quantize_codes(const QuantizeCall call) {
  ptx::grid_dependency_release();
  ptx::grid_dependency_wait();
  const int block = static_cast<int>(blockIdx.x);
  if (block < call.v_blocks)
    quantize_v_tile < T, kLanes<kWidestV ? kLanes : kWidestV>(call, block);
  else if (block < call.v_blocks + call.k_blocks)
    quantize_rows<T, kLanes>(call.k, call.k_codes, call.k_scale, call.dim, block - call.v_blocks,
                             call.k_blocks_of_head);
  else
    quantize_rows<T, kLanes>(call.q, call.q_codes, call.q_scale, call.dim,
                             block - call.v_blocks - call.k_blocks, call.q_blocks_of_head);
}

FloatRows rows_of(const ConstTensor& t) {
  const int64_t octet_bytes = 16;
  const auto on_octet = [&](int64_t elements) { return elements * size_of(t.dtype()) % octet_bytes == 0; };
  return {.data = t.data(),
          .batch = t.stride(0),
          .head = t.stride(1),
          .row = t.stride(2),
          .heads = static_cast<int>(t.dim(1)),
          .rows = static_cast<int>(t.dim(2)),
          .aligned = reinterpret_cast<uintptr_t>(t.data()) % 16 == 0 && on_octet(t.stride(0)) &&
                     on_octet(t.stride(1)) && on_octet(t.stride(2))};
}

template <class T, int kLanes>
void run(const Context& ctx, const AttentionInt8QuantizeArgs& a) {
  constexpr int64_t kRows = kThreads / kLanes * kOctets;  // of a block
  const auto blocks_of = [&](int64_t rows) { return (rows + kRows - 1) / kRows; };
  const int64_t tiles = a.v_scale.dim(2), v_parts = (a.q.dim(3) + 8 * kWidestV - 1) / (8 * kWidestV);
  const int64_t v_blocks = a.v.dim(0) * a.v.dim(1) * tiles * v_parts;
  const int64_t of_k = blocks_of(a.k.dim(2)), of_q = blocks_of(a.q.dim(2));
  const int64_t k_blocks = a.k.dim(0) * a.k.dim(1) * of_k, q_blocks = a.q.dim(0) * a.q.dim(1) * of_q;
  const QuantizeCall call{.q = rows_of(a.q),
                          .k = rows_of(a.k),
                          .v = rows_of(a.v),
                          .q_codes = a.q_codes.as<int8_t>(),
                          .k_codes = a.k_codes.as<int8_t>(),
                          .v_codes = a.v_codes.as<int8_t>(),
                          .q_scale = a.q_scale.as<float>(),
                          .k_scale = a.k_scale.as<float>(),
                          .v_scale = a.v_scale.as<float>(),
                          .dim = static_cast<int>(a.q.dim(3)),
                          .tiles = static_cast<int>(tiles),
                          .pages = static_cast<int>(a.v_codes.dim(2)),
                          .v_blocks = static_cast<int>(v_blocks),
                          .k_blocks = static_cast<int>(k_blocks),
                          .k_blocks_of_head = static_cast<int>(of_k),
                          .q_blocks_of_head = static_cast<int>(of_q)};
  const int64_t grid = v_blocks + k_blocks + q_blocks;
  if (grid == 0) return;
  cuda::launch(ctx,
               {.kernel = "attention_int8_quantize",
                .grid = dim3(static_cast<unsigned>(grid)),
                .block = dim3(kThreads),
                .overlap = true},
               attention_int8_quantize_codes<T, kLanes>, call);
}

template <class T>
void run_dim(const Context& ctx, const AttentionInt8QuantizeArgs& a) {
  const int64_t dim = a.q.dim(3);
  if (dim <= 64) return run<T, 8>(ctx, a);
  if (dim <= 128) return run<T, 16>(ctx, a);
  run<T, 32>(ctx, a);
}

}  // namespace

void attention_int8_quantize_cuda(const Context& ctx, const AttentionInt8QuantizeArgs& a) {
  switch (a.q.dtype()) {
    case DType::f16: return run_dim<F16>(ctx, a);
    case DType::bf16: return run_dim<BF16>(ctx, a);
    default: return run_dim<float>(ctx, a);
  }
}

}  // namespace octavo
