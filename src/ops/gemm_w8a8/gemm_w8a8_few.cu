// gemm_w8a8 on Hopper, few tokens: left = w, right = x. Bound by reading the weights. A block has one tile of 128 features; a
// cluster splits k, and its s32 sums meet in distributed shared memory. A multiprocessor has places for two blocks and a plan
// uses one of them, so that the next kernel's blocks load its weights (GemmW8A8Args::constant_weights) while these work.
// Threads: two warpgroups multiply 64 features each, one warp loads (not a whole group: two blocks of 288 threads leave 112
// registers each); sums lie in registers as in ptx/wgmma_s8.cuh.
#include <algorithm>

#include "ops/gemm_w8a8/gemm_w8a8_cuda.h"
#include "ops/gemm_w8a8/gemm_w8a8_sm90.cuh"

namespace octavo {
namespace {

template <int kTokens, int kStages>
using Few = Int8Config<128, kTokens, kStages, 1, false, 2>;

constexpr int kConsumers = 2 * kGroupThreads, kFewThreads = kConsumers + 32;
[[maybe_unused]] constexpr int kConsumersBarrier = 1;

// Sums travel in groups of 8 tokens, as wgmma leaves them: four a thread. Of `split` blocks, block r owns groups
// [r per, (r + 1) per), and gets everyone's part of them: parts[source per + group - r per][thread].
template <class C>
struct FewSums {
  int4 parts[std::max(C::kCols / 8, kMostSplit)][kConsumers];
  uint4 staging[8][32];  // 512 bytes a consumer warp: 16 features x 16 tokens of 2 bytes
};
template <class C>
struct FewShared {
  union {
    Int8Stages<C> stages;
    FewSums<C> sums;  // where the ring was
  };
  float x_scale[C::kCols];
  uint64_t ready;    // mbarrier: no block of the cluster reads its ring any more
  uint64_t arrived;  // mbarrier: all parts of this block's groups are here
};

// Two features (lane / 4 of the warp's 16, and 8 further): their scales and biases.
struct Features {
  int first;  // of the warp's 16
  float scale[2], bias[2];

  [[maybe_unused]] __device__ __forceinline__ void load(const Int8Output& out, int first_) {
    first = first_;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int feature = first + static_cast<int>(threadIdx.x) % 32 / 4 + 8 * i;
      const bool exists = feature < out.n && out.w_scale;
      scale[i] = exists ? out.w_scale[feature] : 0.0f;
      bias[i] = exists && out.bias ? out.bias[feature] : 0.0f;
    }
  }
};

// Sums of 16 features x up to 16 tokens (sum[g][2 i + t]: feature lane / 4 + 8 i, token 8 g + 2 (lane % 4) + t) to y, whose
// rows are tokens. x_scale: of the 16 tokens.
struct SixteenTokens {
  const Int8Output& out;
  const Features& features;
  const float* x_scale;
  int token, tokens;  // the first, and how many of the 16 exist
  int32_t sum[2][4];

  __device__ __forceinline__ float v(int g, int i, int t) const {
    const int place = 8 * g + static_cast<int>(threadIdx.x) % 4 * 2 + t;
    return scaled(sum[g][2 * i + t], features.scale[i], x_scale[place], features.bias[i]);
  }

  // 2-byte types in rows of 16 features: 32 bytes a token.
  template <class Y>
  __device__ __forceinline__ void store_rows(uint4* staging) const {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    uint32_t words[4];
#pragma unroll
    for (int g = 0; g < 2; ++g)
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        float pair[2];
#pragma unroll
        for (int t = 0; t < 2; ++t) {
          pair[t] = activated<Y, Int8Policy::any>(out, v(g, i, t));
          const int at = 8 * g + lane % 4 * 2 + t, feature = features.first + lane / 4 + 8 * i;
          if (out.residual && at < tokens && feature < out.n)
            pair[t] = __fadd_rn(pair[t], residual_at<Y>(out, token + at, feature));
        }
        words[2 * g + i] = cuda::pack_pair(pair[0], pair[1], Y{});
      }
    __syncwarp();  // what was staged before has been read
    // Matrix 2 g + i goes to places [16 i + 8 g, + 8), a token each.
    cuda::ptx::store_matrices_transposed(staging + lane / 8 % 2 * 16 + lane / 16 * 8 + lane % 8, words);
    __syncwarp();
    const int at = lane / 2, part = lane % 2;
    const bool exists = at < tokens && features.first + 8 * part < out.n;
    const uint4 vector = staging[16 * part + at];
    if (exists) store_vector<Y>(out, token + at, features.first + 8 * part, out.n, vector);
    if (out.y_amax) {
      uint32_t most = exists ? magnitudes_of(vector, out.n - features.first - 8 * part) : 0u;
      most = __vmaxu2(most, __shfl_xor_sync(~0u, most, 1));
      if (part == 0 && at < tokens) raise_amax(out, token + at, amax_bits<Y>(most));
    }
  }

  // Any type and policy, element by element.
  template <class Y>
  __device__ __forceinline__ void store_elements() const {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const float y_inverse = inverse_of(out);
#pragma unroll
    for (int g = 0; g < 2; ++g)
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int at = 8 * g + lane % 4 * 2, feature = features.first + lane / 4 + 8 * i;
        if constexpr (std::is_same_v<Y, int32_t>) {
#pragma unroll
          for (int t = 0; t < 2; ++t)
            if (at + t < tokens && feature < out.n)
              *y_at<Y>(out, token + at + t, feature) = sum[g][2 * i + t];
        } else if (out.activation == GemmActivation::silu_mul) {
          // Gate and up are features of lanes 4 apart: the gate's lane takes the first token, the other the second.
          const float mine[2] = {v(g, i, 0), v(g, i, 1)};
          const bool is_up = feature % 2;
          const float other = __shfl_xor_sync(~0u, is_up ? mine[0] : mine[1], 4);
          if (at + is_up < tokens && (feature | 1) < out.n)
            store_one<Y>(out, token + at + is_up, feature / 2, is_up ? other : mine[0],
                         is_up ? mine[1] : other, y_inverse);
        } else {
#pragma unroll
          for (int t = 0; t < 2; ++t)
            if (at + t < tokens && feature < out.n)
              store_one<Y>(out, token + at + t, feature, v(g, i, t), 0.0f, y_inverse);
        }
      }
  }

  [[maybe_unused]] __device__ __forceinline__ void store(uint4* staging) const {
    with_y_type(out, [&]<class Y>(Y) {
      if constexpr (sizeof(Y) == 2)
        if (out.activation != GemmActivation::silu_mul) return store_rows<Y>(staging);
      store_elements<Y>();
    });
  }
};

// Every block's sums to the blocks that own their groups, where the ring was. Returns when this block has its own.
template <class C>
__device__ __forceinline__ void exchange(FewShared<C>& shared, const int32_t (&acc)[C::kCols / 2], int groups,
                                         int per, int owned, int split, int rank) {
  const int thread = static_cast<int>(threadIdx.x);
  if (split == 1) {  // a thread reads what it wrote itself
#pragma unroll
    for (int j = 0; j < C::kCols / 8; ++j)
      if (j < groups)
        shared.sums.parts[j][thread] = make_int4(acc[4 * j], acc[4 * j + 1], acc[4 * j + 2], acc[4 * j + 3]);
    return;
  }
  if (thread == 0)
    ptx::mbarrier_arrive_expect(&shared.arrived, static_cast<uint32_t>(split * owned * kConsumers) * 16);
  __syncwarp();
  if (thread < split) ptx::mbarrier_arrive_at(&shared.ready, static_cast<uint32_t>(thread));
  ptx::mbarrier_wait(&shared.ready, 0);
  int owner = 0, at = rank * per;
#pragma unroll
  for (int j = 0; j < C::kCols / 8; ++j) {
    if (j < groups)
      ptx::store_to_peer(&shared.sums.parts[at][thread], &shared.arrived, static_cast<uint32_t>(owner),
                         make_int4(acc[4 * j], acc[4 * j + 1], acc[4 * j + 2], acc[4 * j + 3]));
    if (++at == (rank + 1) * per) at = rank * per, ++owner;
  }
  ptx::mbarrier_wait(&shared.arrived, 0);
}

template <class C>
__device__ __forceinline__ void consume_few(FewShared<C>& shared, const Int8Call& call, TilePlace at,
                                            int group, int split, int rank) {
  const Int8Output& out = call.out;
  const int thread = static_cast<int>(threadIdx.x), warp = thread / 32;
  if (!call.constant_weights) ptx::grid_dependency_wait();
  Features features;
  features.load(out, at.row + 16 * warp);
  if (call.constant_weights) ptx::grid_dependency_wait();
  const int token = at.column + thread;
  if (thread < C::kCols) shared.x_scale[thread] = token < out.m && out.x_scale ? out.x_scale[token] : 0.0f;

  const KRange k = k_range(call.k_blocks, split, rank);
  Slot<C> slot;
  int32_t acc[1][C::kCols / 2];
  multiply(shared.stages, slot, k.end - k.begin, group * C::kGroupRows, acc, [](int) {});
  ptx::named_barrier_sync(kConsumersBarrier,
                          kConsumers);  // the ring has been read, the tokens' scales are there

  const int groups = min(C::kCols / 8, (out.m - at.column + 7) / 8), per = (groups + split - 1) / split;
  const int first = rank * per, owned = max(0, min(per, groups - first));
  exchange<C>(shared, acc[0], groups, per, owned, split, rank);
#pragma unroll 1
  for (int i = 0; i < owned; i += 2) {
    const int place = 8 * (first + i);
    SixteenTokens sixteen{out,
                          features,
                          shared.x_scale + place,
                          at.column + place,
                          min(8 * min(2, owned - i), out.m - at.column - place),
                          {}};
#pragma unroll 1
    for (int source = 0; source < split; ++source)
#pragma unroll
      for (int g = 0; g < 2; ++g)
        if (i + g < owned) {
          const int4 part = shared.sums.parts[source * per + i + g][thread];
          sixteen.sum[g][0] += part.x, sixteen.sum[g][1] += part.y;
          sixteen.sum[g][2] += part.z, sixteen.sum[g][3] += part.w;
        }
    sixteen.store(shared.sums.staging[warp]);
  }
}

template <class C>
__global__ void __launch_bounds__(kFewThreads, C::kPerCore)
    gemm_w8a8_few_tokens(const __grid_constant__ Int8Call call) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ __align__(1024) uint8_t memory[];
  auto& shared = *reinterpret_cast<FewShared<C>*>(memory);
  const int group = __shfl_sync(~0u, static_cast<int>(threadIdx.x) / kGroupThreads, 0);
  const int rank = static_cast<int>(ptx::cluster_rank()), split = static_cast<int>(ptx::cluster_size());
  const TilePlace tile = place_of(call.grid, static_cast<int>(ptx::cluster_index()));
  const TilePlace at{tile.row * C::kRows, tile.column * C::kCols};
  if (threadIdx.x == kConsumers) {
    ptx::prefetch_tensor_map(&call.left), ptx::prefetch_tensor_map(&call.right);
    shared.stages.init();
    ptx::mbarrier_init(&shared.ready, static_cast<uint32_t>(split)), ptx::mbarrier_init(&shared.arrived, 1);
    ptx::mbarrier_init_fence();
  }
  __syncwarp();
  ptx::cluster_arrive_relaxed(),
      ptx::cluster_wait();  // nobody writes to a block whose barriers are not there yet
  ptx::grid_dependency_release();

  if (group == 2) {
    if (ptx::elect_one()) {
      Slot<C> slot;
      const KRange k = k_range(call.k_blocks, split, rank);
      ask_for_weights<C, true>(shared.stages, call, k, at.row, at.column, 0);
      produce_first<C, true>(shared.stages, slot, call, k, at.row, at.column, 0);
    }
    __syncwarp();
  } else {
    consume_few<C>(shared, call, at, group, split, rank);
  }
  // NOTE: no meeting at the end: each block waited for all that is sent to it.
#else
  __trap();
#endif
}

template <class C>
void run_few(const Context& ctx, const GemmW8A8Args& a, const Int8Plan& plan) {
  static_assert(C::kPerCore * (sizeof(FewShared<C>) + 1024) <= 228 * 1024);
  static_assert(sizeof(FewSums<C>) <= sizeof(Int8Stages<C>) - 1024, "the barriers lie behind the sums");
  const Int8Call call = int8_call<C>(a.w, a.x, a, plan);
  cuda::launch(ctx,
               {.kernel = "gemm_w8a8_few_tokens",
                .grid = dim3(static_cast<unsigned>(plan.split * call.grid.count())),
                .block = dim3(kFewThreads),
                .shared_bytes = sizeof(FewShared<C>),
                .cluster = plan.split,
                .overlap = plan.overlap},
               gemm_w8a8_few_tokens<C>, call);
}

}  // namespace

void gemm_w8a8_few(const Context& ctx, const GemmW8A8Args& a, const Int8Plan& plan) {
  if (plan.tile == Int8Tile::few16)
    run_few<Few<16, 6>>(ctx, a, plan);
  else
    run_few<Few<64, 4>>(ctx, a, plan);
}

}  // namespace octavo
