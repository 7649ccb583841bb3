// attention_f on Hopper: out = softmax(scale q k^T + mask) v, see attention_f_sm90.cuh. Warp 0 loads, warpgroups 1 and up
// multiply. Bound by the tensor cores (4,096 operations a clock and multiprocessor) and, at D = 64 as much, by 16 exponentials a clock.
#include <cmath>

#include "cuda/device.h"
#include "cuda/launch.h"
#include "cuda/tensor_map.h"
#include "ops/attention_f/attention_f_sm90.cuh"

namespace octavo {
namespace {

// Head dimensions below 64 and 128 are padded: the copy engine brings zeros.
template <class T>
using Dim64 = AttentionConfig<T, 64, 3, 1, 128, 4, 2>;
template <class T>
using Dim128 = AttentionConfig<T, 128, 2, 1, 128, 2, 2>;
// Where tiles of 192 rows would leave most multiprocessors without work: two warpgroups, and perhaps other blocks, share 64 rows.
template <class T>
using Dim64Few = AttentionConfig<T, 64, 1, 2, 64, 4, 1>;

template <class C>
__global__ void __launch_bounds__(C::kThreads, 1)
    attention_f_wgmma(const __grid_constant__ AttentionCall call) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ __align__(1024) uint8_t memory[];
  auto& shared = *reinterpret_cast<AttentionShared<C>*>(memory);
  const int group = __shfl_sync(~0u, static_cast<int>(threadIdx.x) / kGroupThreads, 0);
  if (threadIdx.x == 0) {
    ptx::prefetch_tensor_map(&call.q), ptx::prefetch_tensor_map(&call.k), ptx::prefetch_tensor_map(&call.v);
    shared.init(call.key_shift);
    ptx::mbarrier_init_fence();
  }
  __syncthreads();
  if (C::kSharesRows && call.key_shift > 0) ptx::cluster_arrive_relaxed(), ptx::cluster_wait();
  ptx::grid_dependency_release();
  ptx::grid_dependency_wait();
  if (group == 0) {
    if constexpr (C::kMovesRegisters) ptx::give_registers_back<C::kProducerRegisters>();
    const int warp = __shfl_sync(~0u, static_cast<int>(threadIdx.x) / 32, 0);
    if (warp == 0) assign_tiles<C>(shared, call);
    if (warp == 1 || warp == 2) produce_keys<C>(shared, call, warp == 1 ? kK : kV);
  } else {
    if constexpr (C::kMovesRegisters) ptx::take_registers<C::kConsumerRegisters>();
    consume<C>(shared, call, group - 1);
  }
#else
  __trap();
#endif
}

cuda::BoxedTensor query_boxes(const AttentionFArgs& a, int pack_shift) {
  const int64_t bytes = size_of(a.q.dtype());
  return {.data = a.q.data(),
          .element_bytes = 2,
          .dims = 3,
          .size = {a.q.dim(2), a.q.dim(1), a.q.dim(0)},
          .stride_bytes = {0, a.q.stride(1) * bytes, a.q.stride(0) * bytes},
          .box = {kBoxColumns, 1 << pack_shift, 64 >> pack_shift}};
}

// NOTE: a pool does not say how many pages it has; page numbers come from the table and are in range.
cuda::BoxedTensor key_boxes(const KvView& kv, const void* data, int64_t sequences, int box_keys) {
  constexpr int64_t kMostPages = INT32_MAX;
  const int64_t bytes = size_of(kv.dtype), spare = kv.token_stride * bytes;
  const bool table = kv.page_table;
  return {.data = data,
          .element_bytes = 2,
          .dims = 5,
          .size = {kv.head_dim, KvView::kPageTokens, kv.heads, table ? kMostPages : kv.pages_per_sequence,
                   table ? 1 : sequences},
          .stride_bytes = {0, kv.token_stride * bytes, kv.head_stride * bytes,
                           kv.page_stride > 0 ? kv.page_stride * bytes : spare,
                           kv.sequence_stride > 0 ? kv.sequence_stride * bytes : spare},
          .box = {kBoxColumns, box_keys, 1, 1, 1}};
}

// log2 of the blocks that share a tile of rows: as many as find keys in the cache's pages and room on the machine for all
// `tiles` at once.
template <class C>
int key_shift_of(const AttentionFArgs& a, const cuda::AttentionSizes& sizes, cuda::LaunchShape shape,
                 int64_t tiles) {
  const int64_t key_tiles = (a.kv.pages_per_sequence * kPage + C::kKeys - 1) / C::kKeys;
  const auto* kernel = reinterpret_cast<const void*>(attention_f_wgmma<C>);
  for (int shift = 0;; ++shift) {
    shape.cluster = 2 << shift;
    if (shift == kMostKeyBlockShift || C::kKeyGroups << shift >= key_tiles ||
        tiles > cuda::resident_clusters(kernel, shape))
      return shift;
  }
}

template <class C>
void run_config(const Context& ctx, const AttentionFArgs& a) {
  static_assert(sizeof(AttentionShared<C>) <= 227 * 1024);
  constexpr float kLog2e = 1.44269504088896340736f;
  const int pack_shift = pack_shift_of(a);
  const cuda::AttentionSizes sizes = attention_sizes(a, pack_shift);
  cuda::LaunchShape shape{.kernel = "attention_f_wgmma",
                          .block = dim3(C::kThreads),
                          .shared_bytes = sizeof(AttentionShared<C>),
                          .overlap = true};
  int64_t tiles = cuda::most_attention_tiles<C::kRows>(sizes);
  int key_shift = 0;
  if constexpr (C::kSharesRows) {
    // NOTE: a block finds its tile as if every sequence had as many as the longest one, and a cluster has one tile.
    const int64_t rows = static_cast<int64_t>(sizes.tokens) << pack_shift;
    const int64_t items = sizes.packs() * sizes.sequences * ((rows + C::kRows - 1) / C::kRows);
    key_shift = key_shift_of<C>(a, sizes, shape, items);
    if (key_shift > 0) shape.cluster = 1 << key_shift, tiles = items << key_shift;
  }
  const int64_t cores = ctx.facts->cores;
  shape.grid = dim3(static_cast<unsigned>(key_shift > 0 || tiles < cores ? tiles : cores));
  const AttentionCall call{.q = cuda::tensor_map_of(query_boxes(a, pack_shift)),
                           .k = cuda::tensor_map_of(key_boxes(a.kv, a.kv.k, a.kv_len.dim(0), C::kBoxKeys)),
                           .v = cuda::tensor_map_of(key_boxes(a.kv, a.kv.v, a.kv_len.dim(0), C::kBoxKeys)),
                           .sizes = sizes,
                           .rows = row_operands(a),
                           .scale_log2 = a.scale * kLog2e,
                           .key_shift = key_shift};
  cuda::launch(ctx, shape, attention_f_wgmma<C>, call);
}

template <class T>
void run_dtype(const Context& ctx, const AttentionFArgs& a) {
  const int64_t tiles = cuda::most_attention_tiles<Dim64<T>::kRows>(attention_sizes(a, pack_shift_of(a)));
  if (a.q.dim(2) > 64) return run_config<Dim128<T>>(ctx, a);
  if (tiles > ctx.facts->cores / 2) return run_config<Dim64<T>>(ctx, a);
  run_config<Dim64Few<T>>(ctx, a);
}

}  // namespace

bool attention_f_fits_sm90(const AttentionFArgs& a, const DeviceFacts& facts) {
  const bool half = a.q.dtype() == DType::f16 || a.q.dtype() == DType::bf16;
  if (facts.compute_capability != 90 || !half || a.kv.dtype != a.q.dtype() || !(a.scale > 0) ||
      !on_16_bytes(a))
    return false;
  if (a.q.dim(2) % 8 != 0 || a.q.dim(2) > 128 || a.q.dim(0) == 0 || a.q.dim(0) > INT32_MAX / 64) return false;
  // NOTE: a build without sm_90a code has kernels that trap; they need few registers.
  return cuda::tensor_map_takes(query_boxes(a, 0)) &&
         cuda::tensor_map_takes(key_boxes(a.kv, a.kv.k, a.kv_len.dim(0), kPage)) &&
         cuda::kernel_facts(reinterpret_cast<const void*>(attention_f_wgmma<Dim64<F16>>), 0).registers >= 96;
}

void attention_f_sm90(const Context& ctx, const AttentionFArgs& a) {
  if (a.q.dtype() == DType::f16) return run_dtype<F16>(ctx, a);
  run_dtype<BF16>(ctx, a);
}

}  // namespace octavo
