// gemm_w8a16 on Hopper for many tokens:  y[m][n] = (sum_k x[m][k] w[n][k]) w_scale[n] + bias[n]
// The operands change sides: w is the left one, so that its codes become 16-bit floats in registers, where wgmma takes a left
// operand, and x is the right one in shared memory, as TMA brings it. A tile is 128 features x kTokens; a cluster of two
// blocks has two tiles of features and shares the tokens by multicast. Threads: warp 0 loads, warpgroups 1 and 2 have 64
// features each. The codes of one step of k (64) are converted while the products of the step before run.
// Bound by the tensor cores (4,096 operations a clock and multiprocessor), sustained by the power limit; the conversion takes
// about a fifth of the issue slots.
#include <algorithm>
#include <type_traits>

#include "core/buffer.h"
#include "cuda/device.h"
#include "cuda/launch.h"
#include "cuda/ptx/cluster.cuh"
#include "cuda/ptx/grid_dependency.cuh"
#include "cuda/ptx/mma_f16.cuh"
#include "cuda/ptx/tensor_copy.cuh"
#include "cuda/ptx/warpgroup.cuh"
#include "cuda/ptx/wgmma_f16_registers.cuh"
#include "cuda/tensor_map.h"
#include "ops/gemm_w8a16/gemm_w8a16_codes.cuh"
#include "ops/gemm_w8a16/gemm_w8a16_cuda.h"
#include "ops/gemm_w8a16/gemm_w8a16_epilogue.cuh"

namespace octavo {
namespace {

namespace ptx = cuda::ptx;

constexpr int kGroupThreads = 128, kThreads = 3 * kGroupThreads;
[[maybe_unused]] constexpr int kProducerRegisters = 40, kConsumerRegisters = 232;
constexpr int kFeatures = 128;                     // of a tile
constexpr int kStep = 64;                          // k of a step: a row of 128 bytes of x
constexpr int kCodeBytes = kFeatures * 2 * kStep;  // codes of two steps, a row of 128 bytes a feature
constexpr int kRowBytes = 128;
[[maybe_unused]] constexpr int kReaders = 8;      // consumer warps of a block
[[maybe_unused]] constexpr int kBothBarrier = 3;  // named barriers: 1 and 2 of the consumers, 3 of both

template <int kTokens_, int kXSlots_, int kWSlots_, int kSharers_>
struct ManyConfig {
  static constexpr int kTokens = kTokens_, kXSlots = kXSlots_, kWSlots = kWSlots_;
  static constexpr int kSharers = kSharers_;  // blocks of a cluster, which share the tokens
  static constexpr int kXBytes = kTokens * kRowBytes;
};

template <class C>
struct ManyShared {
  alignas(1024) int8_t x[C::kXSlots][C::kXBytes];
  alignas(1024) int8_t w[C::kWSlots][kCodeBytes];
  alignas(1024) int8_t staging[2][64 * kRowBytes];  // 64 tokens x 64 features of 16 bits, a consumer each
  uint64_t x_full[C::kXSlots], x_empty[C::kXSlots], w_full[C::kWSlots], w_empty[C::kWSlots];
};

struct ManyCall {
  CUtensorMap x, w;
  W8A16Output out;
  TileGrid grid;  // rows: tiles of tokens, columns: tiles of features of a cluster
  int blocks;     // of k, two steps each
  int lead;  // steps by which the first consumer runs ahead, so that the two do not store at the same time
  bool aligned, residual_aligned;  // every row of y, of residual, starts on 16 bytes
};

// A place in a ring and the parity of its current use.
template <int kSlots>
struct Slot {
  int at = 0;
  uint32_t phase = 0;

  __device__ __forceinline__ void next() {
    if (++at == kSlots) at = 0, phase ^= 1;
  }
};

// First token and first feature of this block's part of a cluster's tile.
template <class C>
__device__ __forceinline__ TilePlace place_of_block(const ManyCall& call, int tile, int rank) {
  const TilePlace at = place_of(call.grid, tile);
  return {at.row * C::kTokens, (at.column * C::kSharers + rank) * kFeatures};
}

template <class C>
__device__ __forceinline__ void load_tokens(ManyShared<C>& shared, const ManyCall& call, int slot, int k,
                                            int token, int rank) {
  uint64_t* full = &shared.x_full[slot];
  ptx::mbarrier_arrive_expect(full, C::kXBytes);
  if constexpr (C::kSharers == 1) {
    ptx::load_box(shared.x[slot], &call.x, k * 2, token, full);
  } else {
    constexpr int kPart = C::kTokens / C::kSharers;
    ptx::load_box_to_ranks(shared.x[slot] + rank * kPart * kRowBytes, &call.x, k * 2, token + rank * kPart,
                           full, (1 << C::kSharers) - 1);
  }
}

// One thread: all tiles of this block into the rings.
template <class C>
__device__ __forceinline__ void produce(ManyShared<C>& shared, const ManyCall& call, int rank) {
  Slot<C::kXSlots> x;
  Slot<C::kWSlots> w;
  const int clusters = static_cast<int>(ptx::cluster_count());
  for (int tile = static_cast<int>(ptx::cluster_index()); tile < call.grid.count(); tile += clusters) {
    const TilePlace at = place_of_block<C>(call, tile, rank);
    for (int block = 0; block < call.blocks; ++block, w.next()) {
      const int k = block * 2 * kStep;
      ptx::mbarrier_wait(&shared.w_empty[w.at], w.phase ^ 1);
      ptx::mbarrier_arrive_expect(&shared.w_full[w.at], kCodeBytes);
      ptx::load_box(shared.w[w.at], &call.w, k, at.column, &shared.w_full[w.at]);
#pragma unroll
      for (int step = 0; step < 2; ++step, x.next()) {
        ptx::mbarrier_wait(&shared.x_empty[x.at], x.phase ^ 1);
        load_tokens(shared, call, x.at, k + step * kStep, at.row, rank);
      }
    }
  }
}

// wgmma's left operand for 16 features x 64 k of a warp: words of products of 16 k each. `row` is the lane's feature in the
// slot. A lane needs codes 2c, 2c + 1 and 8 further of each 16: halves of two words, which a byte permutation picks.
template <class T>
__device__ __forceinline__ void convert(uint32_t (&a)[4][4], const int8_t* codes, int row, int step,
                                        int lane) {
  const int word = lane % 4 / 2 * 4;
  const uint32_t half = lane % 2 ? 0x4342 : 0x4140;
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    const int8_t* part = codes + row * kRowBytes + ((4 * step + j) ^ (row % 8)) * 16 + word;
#pragma unroll
    for (int i = 0; i < 4; ++i)  // rows g and g + 8; then the same, 8 further in k
      a[j][i] =
          code_pair(*reinterpret_cast<const uint32_t*>(part + i % 2 * 8 * kRowBytes + i / 2 * 8), half, T{});
  }
}

template <int kSharers>
__device__ __forceinline__ void release_x(uint64_t* empty) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  if constexpr (kSharers == 1) {
    if (lane == 0) ptx::mbarrier_arrive(empty);
  } else {
    if (lane < kSharers) ptx::mbarrier_arrive_at(empty, static_cast<uint32_t>(lane));
  }
}

// A consumer's rows of 128 bytes in shared memory, a token each: parts of 16 bytes permuted against bank conflicts.
[[maybe_unused]] __device__ __forceinline__ int8_t* place_in_rows(int8_t* staging, int row, int part) {
  return staging + row * kRowBytes + (part ^ (row % 8)) * 16;
}

// 64 columns of y (32 with silu_mul) from `column` on, of kRows tokens from `token` on: visit(their place in shared memory,
// token, column, how many exist) for eight at a time.
template <int kRows, bool kSilu, class Visit>
__device__ __forceinline__ void for_parts(const W8A16Output& out, int8_t* staging, int token, int column,
                                          const Visit& visit) {
  constexpr int kParts = kSilu ? 4 : 8;
#pragma unroll 1  // or registers run out
  for (int i = 0; i < kRows * kParts / kGroupThreads; ++i) {
    const int at = static_cast<int>(threadIdx.x) % kGroupThreads + i * kGroupThreads;
    const int row = at / kParts, n = column + at % kParts * 8;
    if (token + row < out.m && n < out.columns)
      visit(place_in_rows(staging, row, at % kParts), token + row, n, min(8, out.columns - n));
  }
}

template <int kRows, bool kSilu>
__device__ __forceinline__ void load_residual(const ManyCall& call, int8_t* staging, int token, int column) {
  for_parts<kRows, kSilu>(call.out, staging, token, column, [&](int8_t* shared, int64_t m, int n, int count) {
    const auto* from = static_cast<const uint16_t*>(call.out.residual) + m * call.out.residual_stride + n;
    if (call.residual_aligned && count == 8)
      *reinterpret_cast<uint4*>(shared) = ptx::load_cached(reinterpret_cast<const uint4*>(from));
    else
      for (int e = 0; e < count; ++e) reinterpret_cast<uint16_t*>(shared)[e] = from[e];
  });
}
template <int kRows, bool kSilu>
__device__ __forceinline__ void store_rows(const ManyCall& call, int8_t* staging, int token, int column) {
  for_parts<kRows, kSilu>(
      call.out, staging, token, column, [&](const int8_t* shared, int64_t m, int n, int count) {
        auto* to = static_cast<uint16_t*>(call.out.y) + m * call.out.y_stride + n;
        if (call.aligned && count == 8)
          ptx::store(reinterpret_cast<uint4*>(to), *reinterpret_cast<const uint4*>(shared));
        else
          for (int e = 0; e < count; ++e) to[e] = reinterpret_cast<const uint16_t*>(shared)[e];
      });
}

// The sums of kRows tokens, as wgmma leaves them, to Y in shared memory.
template <int kRows, class Y, bool kResidual>
__device__ __forceinline__ void stage_sums(int8_t* staging, const float* acc, const Feature (&features)[2]) {
  const int lane = static_cast<int>(threadIdx.x) % 32,
            warp = static_cast<int>(threadIdx.x) % kGroupThreads / 32;
#pragma unroll
  for (int j = 0; j < kRows / 8; j += 2) {
    int8_t* row_of_lane = place_in_rows(staging, (j + lane / 16) * 8 + lane % 8, 2 * warp + lane / 8 % 2);
    uint32_t words[4] = {};
    if constexpr (kResidual) ptx::load_matrices_transposed(words, row_of_lane);
#pragma unroll
    for (int i = 0; i < 4; ++i) {  // tokens 2c and 2c + 1 of octet j + i / 2, feature g + 8 (i % 2)
      const float* sums = acc + 4 * (j + i / 2) + i % 2 * 2;
      float pair[2] = {features[i % 2].of(sums[0]), features[i % 2].of(sums[1])};
      if constexpr (kResidual) {
        float residual[2];
        cuda::unpack_pair(words[i], Y{}, residual);
        pair[0] += residual[0], pair[1] += residual[1];
      }
      words[i] = cuda::pack_pair(pair[0], pair[1], Y{});
    }
    ptx::store_matrices_transposed(row_of_lane, words);
  }
}

// The same for silu_mul: gate and up lie four lanes apart; the gate's lane takes the even token of each pair, up's the odd.
template <int kRows, class Y>
__device__ __forceinline__ void stage_silu_mul(const W8A16Output& out, int8_t* staging, const float* acc,
                                               const Feature (&features)[2]) {
  const int lane = static_cast<int>(threadIdx.x) % 32,
            warp = static_cast<int>(threadIdx.x) % kGroupThreads / 32;
  const bool is_up = lane / 4 % 2;
#pragma unroll
  for (int j = 0; j < kRows / 8; ++j)
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const float even = features[i].of(acc[4 * j + 2 * i]), odd = features[i].of(acc[4 * j + 2 * i + 1]);
      const float got = __shfl_xor_sync(~0u, is_up ? even : odd, 4);
      float v = is_up ? silu_mul(got, odd) : silu_mul(even, got);
      auto* place =
          reinterpret_cast<Y*>(place_in_rows(staging, j * 8 + lane % 4 * 2 + is_up, warp)) + 4 * i + lane / 8;
      if (out.residual) v += cuda::load_element(place);
      cuda::store_element(place, v);
    }
}

// 64 features x kTokens of sums to y, 64 tokens at a time through shared memory, so that a token's features are stored
// together.
template <class C, class Y, bool kSilu>
__device__ __forceinline__ void store_sums(const ManyCall& call, int8_t* staging,
                                           const float (&acc)[C::kTokens / 2], const Feature (&features)[2],
                                           int token, int feature, int group) {
  constexpr int kRows = C::kTokens < 64 ? C::kTokens : 64;
  const auto barrier = [&] { ptx::named_barrier_sync(1 + group, kGroupThreads); };
  const int column = kSilu ? feature / 2 : feature;
#pragma unroll
  for (int chunk = 0; chunk < C::kTokens / kRows; ++chunk) {
    const int first = token + chunk * kRows;
    if (first >= call.out.m) break;
    barrier();  // the chunk before has left the staging memory
    if (call.out.residual) load_residual<kRows, kSilu>(call, staging, first, column), barrier();
    const float* sums = acc + chunk * kRows / 2;
    if constexpr (kSilu)
      stage_silu_mul<kRows, Y>(call.out, staging, sums, features);
    else if (call.out.residual)
      stage_sums<kRows, Y, true>(staging, sums, features);
    else
      stage_sums<kRows, Y, false>(staging, sums, features);
    barrier();
    store_rows<kRows, kSilu>(call, staging, first, column);
  }
}

template <class C, class T>
__device__ __forceinline__ void consume(ManyShared<C>& shared, const ManyCall& call, int group, int rank) {
  const int thread = static_cast<int>(threadIdx.x) % kGroupThreads, lane = thread % 32, warp = thread / 32;
  const int row = group * 64 + warp * 16 + lane / 4;  // the lane's first feature in the tile
  const int clusters = static_cast<int>(ptx::cluster_count());
  Slot<C::kXSlots> x;
  Slot<C::kWSlots> w;
  bool waits = group == 1 && call.lead > 0, announces = group == 0 && call.lead > 0;

  for (int tile = static_cast<int>(ptx::cluster_index()); tile < call.grid.count(); tile += clusters) {
    const TilePlace at = place_of_block<C>(call, tile, rank);
    Feature features[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) features[i].load(call.out, at.column + row + 8 * i);
    if (waits) ptx::named_barrier_sync(kBothBarrier, 2 * kGroupThreads), waits = false;

    float acc[C::kTokens / 2];
    uint32_t a[2][4][4];  // of the steps of a block: one is read by wgmma while the other is written
    int previous = 0;
    for (int block = 0; block < call.blocks; ++block) {
      ptx::mbarrier_wait(&shared.w_full[w.at], w.phase);
#pragma unroll
      for (int step = 0; step < 2; ++step) {
        convert<T>(a[step], shared.w[w.at], row, step, lane);
        ptx::mbarrier_wait(&shared.x_full[x.at], x.phase);
        const uint32_t tokens = ptx::tile_word(ptx::shared_address(shared.x[x.at]));
        ptx::wgmma_begin();
#pragma unroll
        for (int j = 0; j < 4; ++j)
          ptx::wgmma_f16_registers_k<T>(acc, a[step][j], ptx::advance_word(tokens, 32 * j), block | step | j);
        ptx::wgmma_commit();
        // NOTE: behind wgmma, which has waited for the codes: an arrival in front of it overtakes the loads of them.
        if (step == 1 && lane == 0) ptx::mbarrier_arrive(&shared.w_empty[w.at]);
        if (announces && 2 * block + step == call.lead - 1)
          ptx::named_barrier_arrive(kBothBarrier, 2 * kGroupThreads), announces = false;
        ptx::wgmma_wait<1>();
        if (block + step > 0) release_x<C::kSharers>(&shared.x_empty[previous]);
        previous = x.at;
        x.next();
      }
      w.next();
    }
    ptx::wgmma_wait<0>();
    ptx::keep(acc);
    release_x<C::kSharers>(&shared.x_empty[previous]);
    const int feature = at.column + group * 64;
    const auto store = [&](auto y, auto is_silu) {
      store_sums<C, decltype(y), decltype(is_silu)::value>(call, shared.staging[group], acc, features, at.row,
                                                           feature, group);
    };
    if (call.out.silu_mul)
      call.out.y_type == DType::f16 ? store(F16{}, std::true_type{}) : store(BF16{}, std::true_type{});
    else
      call.out.y_type == DType::f16 ? store(F16{}, std::false_type{}) : store(BF16{}, std::false_type{});
  }
}

template <class C, class T>
__global__ void __launch_bounds__(kThreads, 1) gemm_w8a16_many_tokens(const __grid_constant__ ManyCall call) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ __align__(1024) uint8_t memory[];
  auto& shared = *reinterpret_cast<ManyShared<C>*>(memory);
  const int group = __shfl_sync(~0u, static_cast<int>(threadIdx.x) / kGroupThreads, 0);
  const int rank = static_cast<int>(ptx::cluster_rank());
  if (threadIdx.x == 0) {
    ptx::prefetch_tensor_map(&call.x), ptx::prefetch_tensor_map(&call.w);
    for (int i = 0; i < C::kXSlots; ++i)
      ptx::mbarrier_init(&shared.x_full[i], 1),
          ptx::mbarrier_init(&shared.x_empty[i], kReaders * C::kSharers);
    for (int i = 0; i < C::kWSlots; ++i)
      ptx::mbarrier_init(&shared.w_full[i], 1), ptx::mbarrier_init(&shared.w_empty[i], kReaders);
    ptx::mbarrier_init_fence();
  }
  __syncwarp();
  ptx::cluster_arrive(), ptx::cluster_wait();  // nobody writes to a block whose barriers are not there yet
  ptx::grid_dependency_release();
  ptx::grid_dependency_wait();

  if (group == 0) {
    ptx::give_registers_back<kProducerRegisters>();
    if (threadIdx.x == 0) produce<C>(shared, call, rank);
    __syncwarp();
  } else {
    ptx::take_registers<kConsumerRegisters>();
    consume<C, T>(shared, call, group - 1, rank);
  }
  ptx::cluster_arrive(), ptx::cluster_wait();  // the peer still arrives at this block's barriers
#else
  __trap();
#endif
}

int ceil_div(int64_t a, int64_t b) { return static_cast<int>((a + b - 1) / b); }

bool rows_on_16_bytes(const ConstTensor& t) {
  return reinterpret_cast<uintptr_t>(t.data()) % 16 == 0 &&
         (t.dim(0) <= 1 || t.stride(0) * size_of(t.dtype()) % 16 == 0);
}

// Rows as bytes.
cuda::ByteMatrix matrix_of(const ConstTensor& t) {
  const int64_t bytes = size_of(t.dtype());
  const int64_t pitch = t.dim(0) > 1 ? t.stride(0) * bytes : round_up(t.dim(1) * bytes, 16);
  return {t.data(), t.dim(0), t.dim(1) * bytes, pitch};
}

template <class C, class T>
void run(const Context& ctx, const GemmW8A16Args& a, const ManyPlan& plan) {
  static_assert(sizeof(ManyShared<C>) <= 227 * 1024);
  const W8A16Output out = w8a16_output(a);
  const int blocks = ceil_div(a.x.dim(1), 2 * kStep);
  const ManyCall call{
      .x = cuda::tensor_map_of(matrix_of(a.x), C::kTokens / C::kSharers),
      .w = cuda::tensor_map_of(matrix_of(a.w), kFeatures),
      .out = out,
      .grid = {ceil_div(out.m, C::kTokens), ceil_div(out.n, kFeatures * C::kSharers), plan.group},
      .blocks = blocks,
      // NOTE: with a longer lead the ring would be full of what the other consumer has not read.
      .lead = std::min({plan.lead, C::kXSlots - 1, 2 * blocks}),
      .aligned = rows_on_16_bytes(a.y),
      .residual_aligned = a.residual && rows_on_16_bytes(a.residual)};
  const auto kernel = gemm_w8a16_many_tokens<C, T>;
  cuda::LaunchShape shape{.kernel = "gemm_w8a16_many_tokens",
                          .grid = dim3(C::kSharers),
                          .block = dim3(kThreads),
                          .shared_bytes = sizeof(ManyShared<C>),
                          .cluster = C::kSharers,
                          .overlap = true};
  const int64_t resident = cuda::resident_clusters(reinterpret_cast<const void*>(kernel), shape);
  shape.grid.x *= static_cast<unsigned>(std::min<int64_t>(resident, call.grid.count()));
  cuda::launch(ctx, shape, kernel, call);
}

template <class T>
void run_tile(const Context& ctx, const GemmW8A16Args& a, const ManyPlan& plan) {
  switch (plan.tile) {
    case ManyTile::t256: return run<ManyConfig<256, 5, 3, 2>, T>(ctx, a, plan);
    case ManyTile::t64: return run<ManyConfig<64, 10, 6, 1>, T>(ctx, a, plan);
  }
}

}  // namespace

bool gemm_w8a16_fits_sm90(const GemmW8A16Args& a, const DeviceFacts& facts) {
  // NOTE: wgmma's fp32 sums lose more than fp32 additions would (measured: 2 to 5 times the error at K = 513 to 4096), which a
  // 16-bit y hides and an fp32 y does not.
  if (facts.compute_capability != 90 || a.x.dtype() == DType::f32 || a.y.dtype() == DType::f32 ||
      a.x.dim(0) >= INT32_MAX / 2 || a.w.dim(0) >= INT32_MAX / 2 || a.x.dim(1) >= INT32_MAX / 4)
    return false;
  if (a.x.dim(0) == 0 || a.w.dim(0) == 0) return true;  // nothing to do
  // NOTE: a build without sm_90a code has kernels that trap; they need no registers.
  const auto* kernel = reinterpret_cast<const void*>(gemm_w8a16_many_tokens<ManyConfig<256, 5, 3, 2>, F16>);
  return cuda::tensor_map_takes(matrix_of(a.x)) && cuda::tensor_map_takes(matrix_of(a.w)) &&
         cuda::kernel_facts(kernel, 0).registers >= 128;
}

void gemm_w8a16_many_with_plan(const Context& ctx, const GemmW8A16Args& a, const ManyPlan& plan) {
  if (a.y.numel() == 0) return;
  if (a.x.dtype() == DType::f16)
    run_tile<F16>(ctx, a, plan);
  else
    run_tile<BF16>(ctx, a, plan);
}

void gemm_w8a16_sm90(const Context& ctx, const GemmW8A16Args& a) {
  gemm_w8a16_many_with_plan(ctx, a, plan_many(a.x.dim(0), a.w.dim(0)));
}

}  // namespace octavo
