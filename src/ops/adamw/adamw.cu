// AdamW on CUDA: many tensors in one launch. A table of pointers and sizes travels as a kernel parameter; every block
// finds its tensor in it by binary search and updates one chunk of 1,024 elements.
// Bound by memory: 28 bytes a parameter in fp32. A thread has the four inputs of one quad in flight, 64 bytes, which is 2 %
// faster than two quads: with fewer registers half as many threads again fit a multiprocessor.
#include <cmath>
#include <vector>

#include "cuda/elementwise.cuh"
#include "cuda/rows.cuh"
#include "ops/adamw/adamw_cuda.h"

namespace octavo {
namespace {

using namespace cuda;

constexpr int kThreads = 256;
constexpr int kQuad = 4;  // consecutive elements of a thread
constexpr int kQuadsPerThread = 1;
constexpr int64_t kQuadsPerBlock = kThreads * kQuadsPerThread;
constexpr int kFewTensors = 16,
              kManyTensors = 640;  // capacities of the table: 0.7 and 28 KB of kernel parameters

struct AdamWNumbers {
  float lr, beta1, beta2, eps, decay;  // decay: 1 - lr * weight_decay
  float log_beta1, log_beta2;          // of the floats above, taken in fp64
  const int32_t *step, *skip;          // step: done before this call; skip: or null
  const float* grad_scale;             // or null
};

// A quad of a tensor starts at element 4 * quad - shift, so that quads are aligned although the tensor is not: with
// shift > 0 the first quad is cut short. kUnaligned: no shift aligns all four, so every element is moved alone.
constexpr int8_t kUnaligned = -1;

template <int kCapacity>
struct AdamWTable {
  void* param[kCapacity];
  const void* grad[kCapacity];
  float* exp_avg[kCapacity];
  float* exp_avg_sq[kCapacity];
  int64_t size[kCapacity];         // elements
  int32_t first_block[kCapacity];  // of the tensor
  int8_t shift[kCapacity];
  int32_t count;
};

// The last tensor whose first block is not after `block`.
template <int kCapacity>
__device__ __forceinline__ int tensor_of(const AdamWTable<kCapacity>& table, int block) {
  int low = 0, high = table.count - 1;
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (table.first_block[middle] <= block)
      low = middle;
    else
      high = middle - 1;
  }
  return low;
}

// One aligned quad in flight: 16 bytes of f32, 8 of bf16.
template <class T>
struct RawQuad;
template <>
struct RawQuad<float> {
  uint4 words;
  __device__ __forceinline__ void load(const float* p) {
    words = ptx::load_cached(reinterpret_cast<const uint4*>(p));
  }
  __device__ __forceinline__ void unpack(float (&v)[kQuad]) const {
    v[0] = __uint_as_float(words.x), v[1] = __uint_as_float(words.y);
    v[2] = __uint_as_float(words.z), v[3] = __uint_as_float(words.w);
  }
  static __device__ __forceinline__ void store(float* p, const float (&v)[kQuad]) {
    ptx::store(reinterpret_cast<uint4*>(p), make_uint4(__float_as_uint(v[0]), __float_as_uint(v[1]),
                                                       __float_as_uint(v[2]), __float_as_uint(v[3])));
  }
};
template <>
struct RawQuad<BF16> {
  uint2 words;
  __device__ __forceinline__ void load(const BF16* p) {
    words = ptx::load_cached(reinterpret_cast<const uint2*>(p));
  }
  __device__ __forceinline__ void unpack(float (&v)[kQuad]) const {
    unpack_pair(words.x, BF16{}, v), unpack_pair(words.y, BF16{}, v + 2);
  }
  static __device__ __forceinline__ void store(BF16* p, const float (&v)[kQuad]) {
    ptx::store(reinterpret_cast<uint2*>(p),
               make_uint2(pack_pair(v[0], v[1], BF16{}), pack_pair(v[2], v[3], BF16{})));
  }
};

// What is the same for all elements of a step.
struct AdamWStep {
  float beta1, beta2, one_minus_beta1, one_minus_beta2, eps, decay, grad_scale, step_size, root_correction2;

  // 1 - beta^n as -expm1(n log beta): n log beta is small for young states, where 1 - pow would cancel.
  __device__ __forceinline__ explicit AdamWStep(const AdamWNumbers& n)
      : beta1(n.beta1),
        beta2(n.beta2),
        one_minus_beta1(1.0f - n.beta1),
        one_minus_beta2(1.0f - n.beta2),
        eps(n.eps),
        decay(n.decay),
        grad_scale(n.grad_scale ? *n.grad_scale : 1.0f) {
    const float step = static_cast<float>(*n.step + 1);
    step_size = n.lr / -expm1f(step * n.log_beta1);
    root_correction2 = sqrtf(-expm1f(step * n.log_beta2));
  }
  __device__ __forceinline__ void update(float& p, float grad, float& m, float& v) const {
    const float g = grad / grad_scale;
    m = beta1 * m + one_minus_beta1 * g;
    v = beta2 * v + one_minus_beta2 * g * g;
    p = p * decay - step_size * m / (sqrtf(v) / root_correction2 + eps);
  }
};

template <class Param, class Grad, int kCapacity>
__global__ void __launch_bounds__(kThreads) adamw_chunks(const __grid_constant__ AdamWTable<kCapacity> table,
                                                         const __grid_constant__ AdamWNumbers numbers) {
  const int tensor = tensor_of(table, static_cast<int>(blockIdx.x));
  Param* param = static_cast<Param*>(table.param[tensor]);
  const Grad* grad = static_cast<const Grad*>(table.grad[tensor]);
  float *exp_avg = table.exp_avg[tensor], *exp_avg_sq = table.exp_avg_sq[tensor];
  const int64_t size = table.size[tensor];
  const int shift = table.shift[tensor];
  const int64_t first_quad =
      (static_cast<int64_t>(blockIdx.x) - table.first_block[tensor]) * kQuadsPerBlock + threadIdx.x;
  const auto start_of = [&](int i) { return (first_quad + i * kThreads) * kQuad - (shift > 0 ? shift : 0); };
  const auto is_whole = [&](int64_t start) { return shift >= 0 && start >= 0 && start + kQuad <= size; };
  ptx::grid_dependency_release();
  ptx::grid_dependency_wait();
  if (numbers.skip && *numbers.skip != 0) return;

  RawQuad<Param> raw_param[kQuadsPerThread];
  RawQuad<Grad> raw_grad[kQuadsPerThread];
  RawQuad<float> raw_m[kQuadsPerThread], raw_v[kQuadsPerThread];
#pragma unroll
  for (int i = 0; i < kQuadsPerThread; ++i) {
    const int64_t start = start_of(i);
    if (!is_whole(start)) continue;
    raw_param[i].load(param + start), raw_grad[i].load(grad + start);
    raw_m[i].load(exp_avg + start), raw_v[i].load(exp_avg_sq + start);
  }
  const AdamWStep step(numbers);
#pragma unroll
  for (int i = 0; i < kQuadsPerThread; ++i) {
    const int64_t start = start_of(i);
    if (is_whole(start)) {
      float p[kQuad], g[kQuad], m[kQuad], v[kQuad];
      raw_param[i].unpack(p), raw_grad[i].unpack(g), raw_m[i].unpack(m), raw_v[i].unpack(v);
#pragma unroll
      for (int e = 0; e < kQuad; ++e) step.update(p[e], g[e], m[e], v[e]);
      RawQuad<Param>::store(param + start, p);
      RawQuad<float>::store(exp_avg + start, m), RawQuad<float>::store(exp_avg_sq + start, v);
    } else {
#pragma unroll 1
      for (int64_t at = start < 0 ? 0 : start; at < start + kQuad && at < size; ++at) {
        float p = load_element(param + at), m = exp_avg[at], v = exp_avg_sq[at];
        step.update(p, load_element(grad + at), m, v);
        store_element(param + at, p), exp_avg[at] = m, exp_avg_sq[at] = v;
      }
    }
  }
}

// Apart from the update: its blocks have all read the old count before this one writes.
__global__ void adamw_count_step(int32_t* step, const int32_t* skip) {
  ptx::grid_dependency_release();
  ptx::grid_dependency_wait();
  if (!skip || *skip == 0) *step += 1;
}

int8_t shift_of(const AdamWTensor& t) {
  const auto elements_past = [](const ConstTensor& x) {  // an aligned quad
    return static_cast<int>(reinterpret_cast<uintptr_t>(x.data()) /
                            static_cast<uintptr_t>(size_of(x.dtype())) % kQuad);
  };
  const int shift = elements_past(t.param);
  const bool same = elements_past(t.grad) == shift && elements_past(t.exp_avg) == shift &&
                    elements_past(t.exp_avg_sq) == shift;
  return same ? static_cast<int8_t>(shift) : kUnaligned;
}

template <class Param, class Grad, int kCapacity>
void launch_table(const Context& ctx, const AdamWTable<kCapacity>& table, int64_t blocks,
                  const AdamWNumbers& numbers) {
  if (blocks == 0) return;
  const LaunchShape shape{.kernel = "adamw_chunks",
                          .grid = dim3(static_cast<unsigned>(blocks)),
                          .block = dim3(kThreads),
                          .overlap = true};
  launch(ctx, shape, adamw_chunks<Param, Grad, kCapacity>, table, numbers);
}

// All tensors of these two types, as many to a launch as the table holds.
template <class Param, class Grad, int kCapacity>
void launch_types(const Context& ctx, const std::vector<const AdamWTensor*>& tensors,
                  const AdamWNumbers& numbers) {
  AdamWTable<kCapacity> table;
  int64_t blocks = 0;
  table.count = 0;
  const auto flush = [&] {
    launch_table<Param, Grad>(ctx, table, blocks, numbers);
    table.count = 0, blocks = 0;
  };
  for (const AdamWTensor* t : tensors) {
    const int64_t size = t->param.numel();
    const int8_t shift = shift_of(*t);
    const int64_t quads = (size + (shift > 0 ? shift : 0) + kQuad - 1) / kQuad;
    const int64_t own_blocks = (quads + kQuadsPerBlock - 1) / kQuadsPerBlock;
    if (table.count == kCapacity || blocks + own_blocks > INT32_MAX) flush();
    const int i = table.count++;
    table.param[i] = t->param.data(), table.grad[i] = t->grad.data();
    table.exp_avg[i] = static_cast<float*>(t->exp_avg.data()),
    table.exp_avg_sq[i] = static_cast<float*>(t->exp_avg_sq.data());
    table.size[i] = size, table.shift[i] = shift, table.first_block[i] = static_cast<int32_t>(blocks);
    blocks += own_blocks;
  }
  flush();
}

template <class Param, class Grad>
void launch_types(const Context& ctx, const AdamWArgs& args, const AdamWNumbers& numbers) {
  std::vector<const AdamWTensor*> tensors;
  for (const auto& t : args.tensors)
    if (t.param.dtype() == DTypeOf<Param>::value && t.grad.dtype() == DTypeOf<Grad>::value &&
        t.param.numel() > 0)
      tensors.push_back(&t);
  if (tensors.size() <= kFewTensors)
    launch_types<Param, Grad, kFewTensors>(ctx, tensors, numbers);
  else
    launch_types<Param, Grad, kManyTensors>(ctx, tensors, numbers);
}

}  // namespace

void adamw_multi_tensor(const Context& ctx, const AdamWArgs& a) {
  const AdamWNumbers numbers{.lr = a.lr,
                             .beta1 = a.beta1,
                             .beta2 = a.beta2,
                             .eps = a.eps,
                             .decay = static_cast<float>(1.0 - static_cast<double>(a.lr) * a.weight_decay),
                             .log_beta1 = static_cast<float>(std::log(static_cast<double>(a.beta1))),
                             .log_beta2 = static_cast<float>(std::log(static_cast<double>(a.beta2))),
                             .step = static_cast<const int32_t*>(a.step.data()),
                             .skip = static_cast<const int32_t*>(a.skip.data()),
                             .grad_scale = static_cast<const float*>(a.grad_scale.data())};
  launch_types<float, float>(ctx, a, numbers);
  launch_types<float, BF16>(ctx, a, numbers);
  launch_types<BF16, float>(ctx, a, numbers);
  launch_types<BF16, BF16>(ctx, a, numbers);
  const LaunchShape one{.kernel = "adamw_count_step", .grid = dim3(1), .block = dim3(1), .overlap = true};
  launch(ctx, one, adamw_count_step, static_cast<int32_t*>(a.step.data()),
         static_cast<const int32_t*>(a.skip.data()));
}

}  // namespace octavo
