#include "core/thread_pool.h"

#include <algorithm>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace octavo {
namespace {
// Decode issues hundreds of short loops a token: a worker spins this long for the next one before it sleeps.
constexpr int kSpins = 4000;

void relax() {
#if defined(__x86_64__)
  _mm_pause();
#endif
}
}  // namespace

ThreadPool::ThreadPool(int threads) {
  for (int i = 1; i < std::max(threads, 1); ++i) workers_.emplace_back([this] { worker_loop(); });
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
  next_.store(0, std::memory_order_relaxed);
  busy_.store(static_cast<int>(workers_.size()), std::memory_order_relaxed);
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
  work();
  for (int spin = 0; busy_.load(std::memory_order_acquire) != 0; ++spin) {
    relax();
    if (spin > kSpins) std::this_thread::yield();
  }
}

void ThreadPool::work() {
  for (int64_t begin; (begin = next_.fetch_add(grain_, std::memory_order_relaxed)) < n_;)
    body_(context_, begin, std::min(begin + grain_, n_));
}

void ThreadPool::worker_loop() {
  uint32_t seen = 0;
  for (;;) {
    for (int spin = 0; generation_.load(std::memory_order_acquire) == seen && spin < kSpins; ++spin) relax();
    generation_.wait(seen, std::memory_order_acquire);
    ++seen;
    if (stop_) return;
    work();
    busy_.fetch_sub(1, std::memory_order_release);
  }
}

}  // namespace octavo
