// attention_f without tensor cores: a warp a row and head (cuda/attention_row.cuh), of any dtype, stride and alignment.
// Bound by latency; for shapes that nobody tunes for.
#include "cuda/device.h"
#include "cuda/launch.h"
#include "cuda/ptx/grid_dependency.cuh"
#include "ops/attention_f/attention_f_call.cuh"

namespace octavo {
namespace {

constexpr int kWarps = 4;

template <int kPerLane>
__global__ void __launch_bounds__(32 * kWarps)
    attention_f_rows(cuda::AttentionSizes sizes, cuda::RowOperands rows) {
  cuda::ptx::grid_dependency_release();
  cuda::ptx::grid_dependency_wait();
  const int64_t item = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / 32;
  if (item >= static_cast<int64_t>(sizes.tokens) * sizes.q_heads) return;
  const int row = static_cast<int>(item / sizes.q_heads), head = static_cast<int>(item % sizes.q_heads);
  cuda::AttentionTile tile{};
  for (tile.sequence = 0; tile.sequence < sizes.sequences; ++tile.sequence)
    if (row < sizes.q_start[tile.sequence + 1]) break;
  if (tile.sequence == sizes.sequences || row < sizes.q_start[tile.sequence]) return;  // of no sequence
  tile.first_token = sizes.q_start[tile.sequence];
  tile.queries = sizes.q_start[tile.sequence + 1] - tile.first_token;
  tile.keys = sizes.kv_len[tile.sequence];
  tile.kv_head = head / (sizes.q_heads / sizes.kv_heads);
  cuda::attend_row<kPerLane>(rows, sizes, tile, row - tile.first_token, head);
}

}  // namespace

bool attention_f_fits_any(const AttentionFArgs& a, const DeviceFacts&) {
  return a.q.dim(2) <= cuda::kMostRowDim;
}

void attention_f_any(const Context& ctx, const AttentionFArgs& a) {
  const int64_t warps = a.q.dim(0) * a.q.dim(1);
  if (warps == 0) return;
  const cuda::LaunchShape shape{.kernel = "attention_f_rows",
                                .grid = dim3(static_cast<unsigned>((warps + kWarps - 1) / kWarps)),
                                .block = dim3(32 * kWarps),
                                .overlap = true};
  const auto kernel = a.q.dim(2) <= 64    ? attention_f_rows<2>
                      : a.q.dim(2) <= 128 ? attention_f_rows<4>
                                          : attention_f_rows<16>;
  cuda::launch(ctx, shape, kernel, attention_sizes(a, 0), row_operands(a));
}

}  // namespace octavo
