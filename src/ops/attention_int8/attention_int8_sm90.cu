// attention_int8 on Hopper. A block is one producer warpgroup (warp 0: copies by TMA, the others: scales) and kGroups consumers of
// 64 query rows each; K and V tiles pass through rings of kStages. Persistent; the copies of the next tile of rows start early.
// attention_int8_sm90.cuh has the work of a consumer on a key tile.
// No unit is above half of its rate: two warps a scheduler, each issuing in order (attention_int8.md, session 6).
#include "ops/attention_int8/attention_int8_sm90.cuh"

#include <algorithm>

#include "cuda/attention_output.cuh"
#include "cuda/device.h"
#include "cuda/launch.h"
#include "cuda/ptx/grid_dependency.cuh"
#include "cuda/ptx/kept.cuh"
#include "cuda/ptx/warpgroup.cuh"
#include "cuda/tensor_map.h"
#include "ops/attention_int8/attention_int8_cuda.h"

namespace octavo {
namespace {

// A block of rows of a head, and how many key tiles its rows need.
struct Work {
  int head, row, tiles;
};

__device__ __forceinline__ int last_key(const Call& call, int row) {
  return call.causal ? min(row + call.sk - call.sq, call.sk - 1) : call.sk - 1;
}
[[maybe_unused]] __device__ __forceinline__ int tiles_of(const Call& call, int tile_keys, int row, int rows) {
  if (row >= call.sq) return 0;
  const int last = last_key(call, min(row + rows, call.sq) - 1);
  return last < 0 ? 0 : last / tile_keys + 1;
}

// Blocks take work in rounds, every second round in reverse order, so that long and short rows of causal calls even out.
template <class C>
__device__ __forceinline__ bool find_work(const Call& call, int round, Work& work) {
  const int blocks = static_cast<int>(gridDim.x), block = static_cast<int>(blockIdx.x);
  const int index = round * blocks + (round % 2 ? blocks - 1 - block : block);
  if (round * blocks >= call.total) return false;
  if (index >= call.total) {
    work = {0, 0, -1};
    return true;
  }
  if (call.causal) {
    const int first = index / (call.section * call.row_blocks) * call.section;
    const int heads = min(call.section, call.batch_heads - first), rest = index - first * call.row_blocks;
    work = {first + rest % heads, (call.row_blocks - 1 - rest / heads) * C::kRows, 0};
  } else {
    work = {index / call.row_blocks, index % call.row_blocks * C::kRows, 0};
  }
  work.tiles = tiles_of(call, C::kTile, work.row, C::kRows);
  return true;
}

// ---- producer

// One thread: q, k and v of all work of this block.
template <class C>
__device__ __forceinline__ void load_codes(Shared<C>& shared, const Call& call) {
  Slot<C::kStages> k_slot, v_slot;
  uint32_t q_phase = 1;
  Work work;
  const auto load_k = [&](int head, int t) {
    uint64_t* full = &shared.k_full[k_slot.stage];
    ptx::mbarrier_wait_asleep(&shared.k_empty[k_slot.stage], k_slot.phase ^ 1);
    ptx::mbarrier_arrive_expect(full, C::kTile * C::kDim);
    for (int i = 0; i < C::kTile; i += C::kKeysOfBox)
      ptx::load_box(shared.k[k_slot.stage] + i * C::kDim, &call.k, 0, head * call.sk + t * C::kTile + i,
                    full);
    k_slot.next();
  };
  for (int round = 0; find_work<C>(call, round, work); ++round) {
    if (work.tiles <= 0) continue;
    const int head = work.head / call.group;
    for (int g = 0; g < C::kGroups; ++g) {
      ptx::mbarrier_wait_asleep(&shared.q_empty[g], q_phase);
      ptx::mbarrier_arrive_expect(&shared.q_full[g], 64 * C::kDim);
      ptx::load_box(shared.q[g], &call.q, 0, work.head * call.sq + work.row + 64 * g, &shared.q_full[g]);
    }
    q_phase ^= 1;
    load_k(head, 0);
#pragma unroll 1
    for (int t = 0; t < work.tiles; ++t) {
      if (t + 1 < work.tiles) load_k(head, t + 1);
      uint64_t* full = &shared.v_full[v_slot.stage];
      ptx::mbarrier_wait_asleep(&shared.v_empty[v_slot.stage], v_slot.phase ^ 1);
      ptx::mbarrier_arrive_expect(full, C::kTile * C::kDim);
      const int page = head * call.pages + t * (C::kTile / kPageKeys);
      for (int i = 0; i < C::kTile / kPageKeys; ++i)
        ptx::load_box(shared.v[v_slot.stage] + i * kPageKeys * C::kDim, &call.v, 0, (page + i) * call.dim,
                      full);
      v_slot.next();
    }
  }
}

// The scales of a tile that a thread of warps 1 to 3 brings; a scale beyond the last key is 0.
template <class C>
struct ScalesOfThread {
  static constexpr int kThreads = kScaleThreads, kOfK = (C::kTile + kThreads - 1) / kThreads,
                       kOfV = (C::kDim + kThreads - 1) / kThreads;
  float k[kOfK], v[kOfV];

  __device__ __forceinline__ void load(const Call& call, const float* k_scale, const float* v_scale, int tile,
                                       int thread) {
#pragma unroll
    for (int i = 0; i < kOfK; ++i) {
      const int in_tile = thread + i * kThreads, key = tile * C::kTile + in_tile;
      k[i] = in_tile < C::kTile && key < call.sk ? k_scale[key] : 0.0f;
    }
#pragma unroll
    for (int i = 0; i < kOfV; ++i) {
      const int d = thread + i * kThreads;
      v[i] = d < call.dim ? v_scale[tile * call.v_scale_tile + d * call.v_scale_channel] : 0.0f;
    }
  }
  __device__ __forceinline__ void store(Shared<C>& shared, int stage, int thread) const {
#pragma unroll
    for (int i = 0; i < kOfK; ++i)
      if (thread + i * kThreads < C::kTile)
        shared.k_scale[stage][place_of_scale(thread + i * kThreads)] = k[i];
#pragma unroll
    for (int i = 0; i < kOfV; ++i)
      if (thread + i * kThreads < C::kDim)
        shared.v_scale[stage][place_of_scale(thread + i * kThreads)] = v[i];
  }
};

// NOTE: the loads of the next tile are on their way while this one waits for its place; one tile's loads after the other's
// bounded the kernel (H200, 4x32x16384x64: 338 instead of 421 TFLOP/s).
template <class C>
__device__ __forceinline__ void load_scales(Shared<C>& shared, const Call& call, int thread) {
  Slot<C::kStages> slot;
  Work work;
  ScalesOfThread<C> scales;
  for (int round = 0; find_work<C>(call, round, work); ++round) {
    if (work.tiles <= 0) continue;
    const int head = work.head / call.group;
    const float* v_scale =
        call.v_scale + head / call.kv_heads * call.v_scale_batch + head % call.kv_heads * call.v_scale_head;
    const float* k_scale = call.k_scale + static_cast<int64_t>(head) * call.sk;
    scales.load(call, k_scale, v_scale, 0, thread);
#pragma unroll 1
    for (int t = 0; t < work.tiles; ++t, slot.next()) {
      ptx::mbarrier_wait_asleep(&shared.v_empty[slot.stage], slot.phase ^ 1);
      scales.store(shared, slot.stage, thread);
      ptx::mbarrier_arrive(&shared.scales_full[slot.stage]);
      if (t + 1 < work.tiles) scales.load(call, k_scale, v_scale, t + 1, thread);
    }
  }
}

template <class T>
__device__ __forceinline__ void store_element(T* to, float value) {
  if constexpr (sizeof(T) == 2)
    to->bits = static_cast<uint16_t>(cuda::pack_pair(value, 0.0f, T{}));
  else
    *to = value;
}

// out = o / sum. `sum` is that of the whole row.
template <class C, class T>
__device__ __forceinline__ void store_output(const Call& call, int head, int first_row, const float (&sum)[2],
                                             const float (&o)[C::kDim / 2]) {
  const int c = static_cast<int>(threadIdx.x) % 4, batch = head / call.heads;
  T* out = static_cast<T*>(call.out) + batch * call.out_batch + (head - batch * call.heads) * call.out_head;
  float inverse[2];
  T* rows[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    inverse[r] = sum[r] == 0.0f ? 0.0f : __frcp_rn(sum[r]);
    rows[r] = first_row + 8 * r < call.sq ? out + (first_row + 8 * r) * call.out_row : nullptr;
  }
  if constexpr (sizeof(T) == 2)
    if (call.aligned) return cuda::store_rows<T>(o, inverse, rows, call.dim);
#pragma unroll
  for (int i = 0; i < C::kDim / 2; ++i) {
    const int d = i / 4 * 8 + 2 * c + i % 2, r = i / 2 % 2;
    if (rows[r] && d < call.dim) store_element(rows[r] + d, o[i] * inverse[r]);
  }
}

// A consumer warpgroup: 64 rows of every block of rows of this block.
template <class C>
__device__ __forceinline__ void attend(Shared<C>& shared, const Call& call, int group) {
  const int thread = static_cast<int>(threadIdx.x) % kWarpgroup, lane = thread % 32, warp = thread / 32;
  Slot<C::kStages> k_slot, v_slot;
  uint32_t q_phase = 0;
  const Places places{place_of(shared.q[group]), place_of(shared.k[0]), place_of(shared.v[0])};
  Work work;
  if (group == C::kGroups - 1) pass_turn<C>(group);  // the first has the first turn
  for (int round = 0; find_work<C>(call, round, work); ++round) {
    if (work.tiles < 0) break;
    const int first = work.row + 64 * group, row = first + warp * 16 + lane / 4;
    const int tiles = tiles_of(call, C::kTile, first, 64);
    const int unmasked = max(0, min(last_key(call, first) + 1, call.sk)) / C::kTile;
    Rows rows;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int at = min(row + 8 * r, call.sq - 1);
      rows.scale[r] = call.q_scale[static_cast<int64_t>(work.head) * call.sq + at] * call.scale;
      rows.last[r] = last_key(call, at);
      rows.top[r] = -kInfinity, rows.sum[r] = 0.0f;
    }
    Output<C> o;
    o.clear(shared, group);

    if (tiles > 0) {
      ptx::mbarrier_wait(&shared.q_full[group], q_phase);
#pragma unroll 1
      for (int t = 0; t < tiles; ++t)
        attend_tile<C>(shared, group, t, o, rows, places, k_slot, v_slot, t >= unmasked, call.zero);
    }
    if (work.tiles > 0) {
      if (tiles == 0) ptx::mbarrier_wait(&shared.q_full[group], q_phase);
      if (lane == 0) ptx::mbarrier_arrive(&shared.q_empty[group]);
      q_phase ^= 1;
    }
#pragma unroll 1
    for (int t = tiles; t < work.tiles; ++t) {  // tiles that only other consumers' rows see
      ptx::mbarrier_wait(&shared.k_full[k_slot.stage], k_slot.phase);
      ptx::mbarrier_wait(&shared.v_full[v_slot.stage], v_slot.phase);
      ptx::mbarrier_wait(&shared.scales_full[v_slot.stage], v_slot.phase);
      if (lane == 0) ptx::mbarrier_arrive(&shared.k_empty[k_slot.stage]);
      if (lane == 0) ptx::mbarrier_arrive(&shared.v_empty[v_slot.stage]);
      k_slot.next(), v_slot.next();
      wait_for_turn<C>(group), pass_turn<C>(group);
    }
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      rows.sum[r] = sum_of_quad(rows.sum[r]);
      if (call.lse && lane % 4 == 0 && row + 8 * r < call.sq)
        call.lse[static_cast<int64_t>(work.head) * call.sq + row + 8 * r] =
            rows.top[r] * kLn2 + logf(rows.sum[r] / 255.0f);
    }
    float result[C::kDim / 2];
#pragma unroll
    for (int i = 0; i < C::kOutputWords; ++i) {
      const float4 word = o.word(shared, group, i);
      result[4 * i] = word.x, result[4 * i + 1] = word.y, result[4 * i + 2] = word.z,
                 result[4 * i + 3] = word.w;
    }
    switch (call.out_dtype) {
      case DType::f16: store_output<C, F16>(call, work.head, row, rows.sum, result); break;
      case DType::bf16: store_output<C, BF16>(call, work.head, row, rows.sum, result); break;
      default: store_output<C, float>(call, work.head, row, rows.sum, result);
    }
  }
  if (group == 0) wait_for_turn<C>(group);  // the last consumer's last pass
}

template <class C>
__global__ void __launch_bounds__(C::kThreads, 1) attention_int8_rows(const __grid_constant__ Call call) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ __align__(1024) uint8_t memory[];
  // NOTE: kept: left alone the address is worked out anew in every tile, from a special register that takes 20 clocks to read.
  auto& shared = *static_cast<Shared<C>*>(__cvta_shared_to_generic(ptx::kept(ptx::shared_address(memory))));
  const int group = __shfl_sync(~0u, static_cast<int>(threadIdx.x) / kWarpgroup, 0);
  if (threadIdx.x == 0) {
    ptx::prefetch_tensor_map(&call.q), ptx::prefetch_tensor_map(&call.k), ptx::prefetch_tensor_map(&call.v);
    shared.init();
    ptx::mbarrier_init_fence();
  }
  __syncthreads();
  ptx::grid_dependency_release();
  ptx::grid_dependency_wait();
  if (group == 0) {
    ptx::give_registers_back<C::kProducerRegisters>();
    const int warp = __shfl_sync(~0u, static_cast<int>(threadIdx.x) / 32, 0);
    if (warp == 0 && threadIdx.x == 0) load_codes(shared, call);
    if (warp > 0) load_scales(shared, call, static_cast<int>(threadIdx.x) - 32);
  } else {
    ptx::take_registers<C::kConsumerRegisters>();
    attend(shared, call, group - 1);
  }
#else
  __trap();
#endif
}

// ---- launch

int ceil_div(int64_t a, int64_t b) { return static_cast<int>((a + b - 1) / b); }

template <class C>
void run(const Context& ctx, const AttentionInt8Args& a) {
  static_assert(sizeof(Shared<C>) <= 227 * 1024);
  const int64_t batch = a.q.dim(0), heads = a.q.dim(1), sq = a.q.dim(2), dim = a.q.dim(3),
                kv_heads = a.k.dim(1), sk = a.k.dim(2), pages = a.v.dim(2);
  const auto rows_of = [](const ConstTensor& t, int64_t rows, int64_t width, int box) {
    const cuda::ByteMatrix m{t.data(), rows, width, width};
    return cuda::tensor_map_of(m, box, C::kDim);
  };
  const int row_blocks = ceil_div(sq, C::kRows);
  const auto on_16_bytes = [&](int64_t elements) { return elements * size_of(a.out.dtype()) % 16 == 0; };
  const int64_t bytes_of_head = 2 * sk * dim;
  const auto q_map = rows_of(a.q, batch * heads * sq, dim, 64);
  const Call call{
      .q = q_map,  // without keys there is nothing to describe, and nothing is loaded
      .k = sk == 0 ? q_map : rows_of(a.k, batch * kv_heads * sk, dim, C::kKeysOfBox),
      .v = sk == 0 ? q_map
                   : cuda::tensor_map_of({a.v.data(), batch * kv_heads * pages * dim, 64, 64}, C::kDim,
                                         cuda::kNarrowBoxBytes),
      .q_scale = a.q_scale.as<float>(),
      .k_scale = a.k_scale.as<float>(),
      .v_scale = a.v_scale.as<float>(),
      .v_scale_batch = a.v_scale.stride(0),
      .v_scale_head = a.v_scale.stride(1),
      .v_scale_tile = a.v_scale.stride(2),
      .v_scale_channel = a.v_scale.stride(3),
      .out = a.out.data(),
      .out_batch = a.out.stride(0),
      .out_head = a.out.stride(1),
      .out_row = a.out.stride(2),
      .out_dtype = a.out.dtype(),
      .aligned = reinterpret_cast<uintptr_t>(a.out.data()) % 16 == 0 && on_16_bytes(a.out.stride(0)) &&
                 on_16_bytes(a.out.stride(1)) && on_16_bytes(a.out.stride(2)),
      .dim = static_cast<int>(dim),
      .lse = a.lse ? a.lse.as<float>() : nullptr,
      .batch_heads = static_cast<int>(batch * heads),
      .heads = static_cast<int>(heads),
      .kv_heads = static_cast<int>(kv_heads),
      .group = static_cast<int>(heads / kv_heads),
      .sq = static_cast<int>(sq),
      .sk = static_cast<int>(sk),
      .pages = static_cast<int>(pages),
      .causal = a.causal,
      .scale = a.scale * kLog2OfE,
      .row_blocks = row_blocks,
      .total = static_cast<int>(batch * heads) * row_blocks,
      // Heads whose codes of K and V fill half of the second-level cache.
      .section = static_cast<int>(std::max<int64_t>(1, kSectionBytes / std::max<int64_t>(1, bytes_of_head))),
      .zero = 0};
  const int cores = cuda::device_facts(cuda::current_device()).cores;
  cuda::launch(ctx,
               {.kernel = "attention_int8",
                .grid = dim3(static_cast<unsigned>(std::min(call.total, cores))),
                .block = dim3(C::kThreads),
                .shared_bytes = sizeof(Shared<C>),
                .overlap = true},
               attention_int8_rows<C>, call);
}

// NOTE: a quarter of the exponentials by polynomial at D = 64, as many in each of a thread's rows (H200, 4x32x16384x64: 539 instead of
// 526 TFLOP/s; six of sixteen 524, eight 516). At D = 128 a quarter costs (746 instead of 758).
using Narrow = Config<64, 2, 3, false, 0x4242>;
using Wide = Config<128, 2, 2, true, 0>;

}  // namespace

bool attention_int8_fits_sm90(const AttentionInt8Args& a, const DeviceFacts& facts) {
  const int64_t dim = a.q.dim(3), row_limit = INT32_MAX / 2;
  if (facts.compute_capability != 90 || dim > 128 || a.q.dim(0) * a.q.dim(1) * a.q.dim(2) >= row_limit ||
      a.k.dim(0) * a.k.dim(1) * a.v.dim(2) * dim >= row_limit)
    return false;
  // NOTE: a build without sm_90a code has kernels that trap; they need no registers.
  return cuda::kernel_facts(reinterpret_cast<const void*>(attention_int8_rows<Narrow>), 0).registers >= 64;
}

void attention_int8_sm90(const Context& ctx, const AttentionInt8Args& a) {
  if (a.q.dim(3) <= 64)
    run<Narrow>(ctx, a);
  else
    run<Wide>(ctx, a);
}

}  // namespace octavo
