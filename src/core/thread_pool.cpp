#include "core/thread_pool.h"

#include <algorithm>

#include "core/context.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace octavo {
namespace {

void relax() {
#if defined(__x86_64__)
  _mm_pause();
#endif
}

// Decode issues hundreds of short loops a token: a thread spins for some 50 us for the next one before it sleeps. With more
// threads than cores, spinning would only keep the others from their core.
int spins_for(int threads) { return threads <= cpu_facts().cores ? 4000 : 0; }

}  // namespace

ThreadPool::ThreadPool(int threads) : spins_(spins_for(threads)) {
  for (int i = 1; i < threads; ++i) workers_.emplace_back([this] { worker_loop(); });
}

ThreadPool::~ThreadPool() {
  stop_ = true;
  generation_.fetch_add(1);
  generation_.notify_all();
  for (auto& t : workers_) t.join();
}

void ThreadPool::run(int64_t n, int64_t grain, void (*body)(void*, int64_t, int64_t), void* context) {
  n_ = n;
  // About four ranges a thread: small enough to even out unequal cores, large enough to keep reads sequential.
  grain_ = std::max({grain, int64_t{1}, (n + threads() * 4 - 1) / (threads() * 4)});
  body_ = body;
  context_ = context;
  const int64_t ranges = (n + grain_ - 1) / grain_;
  unfinished_.store(ranges, std::memory_order_relaxed);
  left_.store(ranges, std::memory_order_release);
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
  work();
  for (int spin = 0; unfinished_.load(std::memory_order_acquire) != 0; ++spin)
    spin < spins_ ? relax() : std::this_thread::yield();
}

void ThreadPool::work() {
  int64_t left = left_.load(std::memory_order_relaxed);
  while (left > 0) {
    if (!left_.compare_exchange_weak(left, left - 1, std::memory_order_acquire, std::memory_order_relaxed))
      continue;
    const int64_t end = n_ - (left - 1) * grain_;  // ranges counted from the end: the first is the short one
    body_(context_, std::max<int64_t>(end - grain_, 0), end);
    unfinished_.fetch_sub(1, std::memory_order_release);
    left = left_.load(std::memory_order_relaxed);
  }
}

void ThreadPool::worker_loop() {
  uint32_t seen = generation_.load(std::memory_order_acquire);
  while (!stop_) {
    work();
    for (int spin = 0; generation_.load(std::memory_order_acquire) == seen && spin < spins_; ++spin) relax();
    generation_.wait(seen, std::memory_order_acquire);
    seen = generation_.load(std::memory_order_acquire);
  }
}

}  // namespace octavo
