// Rotary embedding on CUDA:  (a, b) -> (a cos - b sin, b cos + a sin) * factor, angle = position * inv_freq in fp32.
// Bound by memory: x once in, once out. All heads of a token share their angles, so a block computes the sines of its
// tokens once into shared memory and then turns octets: half_split pairs two octets, interleaved the neighbours in one.
#include "cuda/elementwise.cuh"
#include "cuda/rows.cuh"
#include "ops/rope/rope_cuda.h"

namespace octavo {
namespace {

using namespace cuda;

inline constexpr int kTableBytes = 16 * 1024;  // of sines a block

template <class T>
struct RopeTokens {
  const T* x;                                                                  // [tokens, heads, dim]
  T* out;                                                                      // [tokens, heads, dim]
  const int32_t* positions;                                                    // [tokens]
  const float* inv_freq;                                                       // [pairs]
  int64_t x_token, x_head, out_token, out_head, position_stride, freq_stride;  // elements
  int64_t tokens;
  int heads, dim, pairs;  // 2 * pairs elements of a head turn, the others are copied
  int tokens_per_block;
  float factor;
};

// Sine and cosine within 1e-7 for |angle| < 10^7: angle - k pi/2 by three fused steps (the first is exact), then
// polynomials. NOTE: not sincosf, whose path for large angles keeps an array in local memory.
__device__ __forceinline__ float2 cos_sin(float angle) {
  const float k = rintf(angle * 0.636619772f);
  float r = fmaf(k, -1.57079601f, angle);
  r = fmaf(k, -3.13916473e-7f, r);
  r = fmaf(k, -5.39030253e-15f, r);
  const float s = r * r;
  const float sine = fmaf(fmaf(fmaf(-1.9515295891e-4f, s, 8.3321608736e-3f), s, -1.6666654611e-1f) * s, r, r);
  const float cosine =
      fmaf(fmaf(fmaf(2.443315711809948e-5f, s, -1.388731625493765e-3f), s, 4.166664568298827e-2f), s * s,
           fmaf(s, -0.5f, 1.0f));
  const int quadrant = static_cast<int>(k) & 3;
  const float c = quadrant & 1 ? sine : cosine, d = quadrant & 1 ? cosine : sine;
  return make_float2(quadrant == 1 || quadrant == 2 ? -c : c, quadrant & 2 ? -d : d);
}

__device__ __forceinline__ void turn(float& a, float& b, float2 cs, float factor) {
  const float x = a, y = b;
  a = (x * cs.x - y * cs.y) * factor;
  b = (y * cs.x + x * cs.y) * factor;
}

// Work items of a token and head: pairs of octets (half_split) or octets (interleaved) that turn, then octets to copy.
template <class T, RopeStyle kStyle>
__device__ __forceinline__ void turn_item(const T* x, T* out, const float2* table, int item, int pairs,
                                          float factor) {
  float a[kOctet], b[kOctet];
  if constexpr (kStyle == RopeStyle::half_split) {
    const int i = item * kOctet;
    const RawOctet<T> raw_a = load_octet(x + i), raw_b = load_octet(x + pairs + i);
    unpack(raw_a, a), unpack(raw_b, b);
#pragma unroll
    for (int e = 0; e < kOctet; ++e) turn(a[e], b[e], table[i + e], factor);
    store_octet(out + i, pack<T>(a)), store_octet(out + pairs + i, pack<T>(b));
  } else {
    unpack(load_octet(x + item * kOctet), a);
#pragma unroll
    for (int e = 0; e < kOctet / 2; ++e) turn(a[2 * e], a[2 * e + 1], table[item * (kOctet / 2) + e], factor);
    store_octet(out + item * kOctet, pack<T>(a));
  }
}

template <class T, RopeStyle kStyle>
__global__ void __launch_bounds__(kElementwiseThreads)
    rope_by_octets(const __grid_constant__ RopeTokens<T> p) {
  extern __shared__ float2 table[];  // [tokens_per_block][pairs]
  ptx::grid_dependency_release();
  ptx::grid_dependency_wait();
  const int64_t first = static_cast<int64_t>(blockIdx.x) * p.tokens_per_block;
  const int tokens = static_cast<int>(min(static_cast<int64_t>(p.tokens_per_block), p.tokens - first));
  for (int i = threadIdx.x; i < tokens * p.pairs; i += blockDim.x) {
    const int token = i / p.pairs, pair = i - token * p.pairs;
    const float position = static_cast<float>(p.positions[(first + token) * p.position_stride]);
    table[i] = cos_sin(position * p.inv_freq[pair * p.freq_stride]);
  }
  __syncthreads();

  const int turning = p.pairs / (kStyle == RopeStyle::half_split ? kOctet : kOctet / 2);
  const int copied = p.x == p.out ? 0 : (p.dim - 2 * p.pairs) / kOctet;
  const int items = turning + copied;
  for (int i = threadIdx.x; i < tokens * p.heads * items; i += blockDim.x) {
    const int head_of_block = i / items, item = i - head_of_block * items;
    const int token = head_of_block / p.heads, head = head_of_block - token * p.heads;
    const T* x = p.x + (first + token) * p.x_token + head * p.x_head;
    T* out = p.out + (first + token) * p.out_token + head * p.out_head;
    if (item < turning) {
      turn_item<T, kStyle>(x, out, table + token * p.pairs, item, p.pairs, p.factor);
    } else {
      const int column = 2 * p.pairs + (item - turning) * kOctet;
      store_octet(out + column, load_octet(x + column));
    }
  }
}

// Any strides and sizes: a thread has one pair, or one element beyond them.
template <class T>
__global__ void __launch_bounds__(kElementwiseThreads)
    rope_by_pairs(const __grid_constant__ RopeTokens<T> p, bool half_split) {
  ptx::grid_dependency_release();
  ptx::grid_dependency_wait();
  const int items = p.dim - p.pairs;
  for (int64_t i = first_element(); i < p.tokens * p.heads * items; i += element_step()) {
    const int64_t token_head = i / items, token = token_head / p.heads, head = token_head - token * p.heads;
    const int item = static_cast<int>(i - token_head * items);
    const T* x = p.x + token * p.x_token + head * p.x_head;
    T* out = p.out + token * p.out_token + head * p.out_head;
    if (item >= p.pairs) {
      out[p.pairs + item] = x[p.pairs + item];
      continue;
    }
    const int at_a = half_split ? item : 2 * item, at_b = half_split ? item + p.pairs : 2 * item + 1;
    float a = load_element(x + at_a), b = load_element(x + at_b);
    const float position = static_cast<float>(p.positions[token * p.position_stride]);
    turn(a, b, cos_sin(position * p.inv_freq[item * p.freq_stride]), p.factor);
    store_element(out + at_a, a), store_element(out + at_b, b);
  }
}

template <class T>
RopeTokens<T> tokens_of(const RopeArgs& a) {
  const int64_t pairs = a.inv_freq.dim(0);
  const int64_t fitting = pairs > 0 ? kTableBytes / (pairs * static_cast<int64_t>(sizeof(float2))) : 1;
  return {.x = static_cast<const T*>(a.x.data()),
          .out = static_cast<T*>(a.out.data()),
          .positions = static_cast<const int32_t*>(a.positions.data()),
          .inv_freq = static_cast<const float*>(a.inv_freq.data()),
          .x_token = a.x.stride(0),
          .x_head = a.x.stride(1),
          .out_token = a.out.stride(0),
          .out_head = a.out.stride(1),
          .position_stride = a.positions.stride(0),
          .freq_stride = a.inv_freq.stride(0),
          .tokens = a.x.dim(0),
          .heads = static_cast<int>(a.x.dim(1)),
          .dim = static_cast<int>(a.x.dim(2)),
          .pairs = static_cast<int>(pairs),
          .tokens_per_block = static_cast<int>(fitting < 1   ? 1
                                               : fitting > 4 ? 4
                                                             : fitting),
          .factor = a.attention_factor};
}

bool octets_fit(const ConstTensor& t) {
  const int64_t size = size_of(t.dtype());
  return t.dim(2) % kOctet == 0 && (t.dim(0) <= 1 || t.stride(0) * size % 16 == 0) &&
         (t.dim(1) <= 1 || t.stride(1) * size % 16 == 0) && reinterpret_cast<uintptr_t>(t.data()) % 16 == 0;
}

}  // namespace

bool rope_fits_octets(const RopeArgs& a, const DeviceFacts&) {
  const int64_t pairs = a.inv_freq.dim(0);
  return octets_fit(a.x) && octets_fit(a.out) &&
         pairs * static_cast<int64_t>(sizeof(float2)) <= kTableBytes &&
         pairs % (a.style == RopeStyle::half_split ? kOctet : kOctet / 2) == 0;
}

void rope_octets(const Context& ctx, const RopeArgs& a) {
  if (a.x.numel() == 0) return;
  with_float_type(a.x.dtype(), [&]<class T>(T) {
    const RopeTokens<T> p = tokens_of<T>(a);
    const LaunchShape shape{
        .kernel = "rope_by_octets",
        .grid = dim3(static_cast<unsigned>((p.tokens + p.tokens_per_block - 1) / p.tokens_per_block)),
        .block = dim3(kElementwiseThreads),
        .shared_bytes = static_cast<int64_t>(p.tokens_per_block * p.pairs * sizeof(float2)),
        .overlap = true};
    if (a.style == RopeStyle::half_split)
      launch(ctx, shape, rope_by_octets<T, RopeStyle::half_split>, p);
    else
      launch(ctx, shape, rope_by_octets<T, RopeStyle::interleaved>, p);
  });
}

void rope_pairs(const Context& ctx, const RopeArgs& a) {
  if (a.x.numel() == 0) return;
  const int64_t items = a.x.dim(0) * a.x.dim(1) * (a.x.dim(2) - a.inv_freq.dim(0));
  with_float_type(a.x.dtype(), [&]<class T>(T) {
    launch(ctx, shape_of_elements("rope_by_pairs", items), rope_by_pairs<T>, tokens_of<T>(a),
           a.style == RopeStyle::half_split);
  });
}

}  // namespace octavo
