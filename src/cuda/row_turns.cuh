// Rows given out while a kernel runs (sm_90). Multiprocessors are unequally fast: with equal shares of the rows the slowest
// decides (85-91 % of the copy rate), with turns on demand the last ones end together (95-100 %).
//
// A turn is the number of a row. A cluster's first turns, one a stage, are its own by its number; each later one is drawn
// from the stream's counter by the cluster's first block and sent to the other blocks, both long before it is used. Every
// cluster draws until it gets a number beyond the last turn, so all draw later turns + clusters times together, and the
// counter, which starts over after so many, is back at zero.
#pragma once
#include "cuda/ptx/cluster.cuh"
#include "cuda/ptx/counter.cuh"
#include "cuda/ptx/mbarrier.cuh"

namespace octavo::cuda {

// The host's part: what all clusters know.
struct TurnPlan {
  int turns = 0;
  int clusters = 0;
  int stages = 0;               // a cluster's first turns, in flight or in work together
  uint32_t* counter = nullptr;  // zero; or null: equal shares
};

class TurnQueue {
 public:
  static constexpr int kNone = -1, kEnded = -2;  // no turn any more: the first time, and from then on
  struct Shared {
    int next[2];
    int sent[4];          // on their way to this block. NOTE: blocks are less than two turns apart
    uint64_t arrived[4];  // mbarriers
  };

  __device__ __forceinline__ TurnQueue(Shared& shared, const TurnPlan& plan) : shared_(shared), plan_(plan) {}
  // One thread, before a barrier of the cluster.
  __device__ __forceinline__ void init() {
    for (uint64_t& arrived : shared_.arrived) ptx::mbarrier_init(&arrived, 1);
  }
  __device__ __forceinline__ int first_turn(int stage) const {
    return existing(static_cast<int>(ptx::cluster_index()) + stage * plan_.clusters);
  }
  // The cluster's later turn number 0, 1, ...: a block barrier after it was prepared.
  __device__ __forceinline__ int later_turn(int number) const { return shared_.next[number & 1]; }

  // The calls below are one warp's of a block, the same in all.
  __device__ __forceinline__ void start() {
    draw(0);
    // NOTE: nothing is sent to a block that may end before it arrives.
    if (first_turn(plan_.stages - 1) == kNone) return keep(0, kEnded);
    if (ptx::cluster_size() > 1) send(0);
    receive(0);
  }
  __device__ __forceinline__ void prepare(int number) {
    if (shared_.next[(number - 1) & 1] >= 0)
      receive(number);
    else
      keep(number, kEnded);
  }

 private:
  __device__ __forceinline__ int existing(int turn) const { return turn < plan_.turns ? turn : kNone; }
  // The first turn that is drawn.
  __device__ __forceinline__ int first_drawn() const { return plan_.stages * plan_.clusters; }
  __device__ __forceinline__ static int lane() { return static_cast<int>(threadIdx.x) % 32; }
  // NOTE: nothing is computed from the number drawn before the next turn, or the warp would wait for memory.
  __device__ __forceinline__ void draw(int number) {
    if (ptx::cluster_rank() != 0 || lane() != 0) return;
    if (plan_.counter)
      drawn_ = ptx::increment_below(plan_.counter, max(0, plan_.turns - first_drawn()) + plan_.clusters);
    else
      drawn_ = ptx::cluster_index() + static_cast<uint32_t>(number * plan_.clusters);
  }
  __device__ __forceinline__ int drawn_turn() const {
    return existing(first_drawn() + static_cast<int>(__shfl_sync(0xffffffffu, drawn_, 0)));
  }
  // What was drawn last to all blocks; then draws again, for the next time.
  __device__ __forceinline__ void send(int number) {
    if (ptx::cluster_rank() != 0) return;
    const int turn = drawn_turn(), at = number % 4;
    if (lane() < static_cast<int>(ptx::cluster_size()))
      ptx::store_to_peer(reinterpret_cast<uint32_t*>(&shared_.sent[at]), &shared_.arrived[at],
                         static_cast<uint32_t>(lane()), static_cast<uint32_t>(turn));
    if (turn != kNone) draw(number + 1);
  }
  __device__ __forceinline__ void receive(int number) {
    int turn;
    if (ptx::cluster_size() == 1) {
      turn = drawn_turn();
      if (turn != kNone) draw(number + 1);
    } else {
      uint64_t* arrived = &shared_.arrived[number % 4];
      if (lane() == 0) ptx::mbarrier_arrive_expect(arrived, sizeof(int));
      ptx::mbarrier_wait(arrived, static_cast<uint32_t>(number / 4) & 1);
      turn = shared_.sent[number % 4];
      if (turn != kNone) send(number + 1);
    }
    keep(number, turn);
  }
  // NOTE: written by the lane that arrives at barriers for its warp.
  __device__ __forceinline__ void keep(int number, int turn) {
    if (lane() == 0) shared_.next[number & 1] = turn;
  }

  Shared& shared_;
  const TurnPlan& plan_;
  uint32_t drawn_ = 0;  // the first lane's: a number from the counter
};

}  // namespace octavo::cuda
