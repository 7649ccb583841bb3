// parallel_for over a fixed set of threads. Work is split into ranges of outputs, never of sums, so that results do
// not depend on the number of threads. One caller at a time; the caller works too.
#pragma once
#include <atomic>
#include <cstdint>
#include <thread>
#include <type_traits>
#include <vector>

namespace octavo {

class ThreadPool {
 public:
  explicit ThreadPool(int threads);  // threads >= 1, the caller included
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls body(context, begin, end) for disjoint ranges that cover [0, n). Exceptions must not leave body.
  void run(int64_t n, int64_t grain, void (*body)(void*, int64_t, int64_t), void* context);

 private:
  void worker_loop();
  void work();

  // The loop under way. Written only while no range is left or unfinished; read only by a thread that holds a range, so a
  // worker that wakes late finds nothing to take and nobody waits for it.
  int64_t n_ = 0, grain_ = 1;
  void (*body_)(void*, int64_t, int64_t) = nullptr;
  void* context_ = nullptr;
  alignas(64) std::atomic<int64_t> left_{0};         // ranges that nobody has taken
  alignas(64) std::atomic<int64_t> unfinished_{0};   // ranges that are not done
  alignas(64) std::atomic<uint32_t> generation_{0};  // counts loops; what idle workers wait on
  std::atomic<bool> stop_{false};
  int spins_;
  std::vector<std::thread> workers_;
};

// body(begin, end) over [0, n) in ranges of at least `grain` items (the last may be shorter).
template <class Body>
void parallel_for(ThreadPool* pool, int64_t n, int64_t grain, Body&& body) {
  if (n <= 0) return;
  if (!pool || pool->threads() == 1 || n <= grain) return body(int64_t{0}, n);
  using Plain = std::remove_reference_t<Body>;
  pool->run(
      n, grain, [](void* b, int64_t begin, int64_t end) { (*static_cast<Plain*>(b))(begin, end); },
      const_cast<std::remove_const_t<Plain>*>(&body));
}

}  // namespace octavo
