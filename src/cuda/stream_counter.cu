#include "cuda/stream_counter.h"

#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "cuda/device.h"
#include "cuda/launch.h"

namespace octavo::cuda {
namespace {

constexpr int kCounters = 1 << 16;
__device__ uint32_t counters[kCounters];  // zeros from the loading of the module on

using Owner = std::pair<unsigned long long, unsigned long long>;  // capture or 0, stream

// Which owner has which counter of a device.
class CounterPool {
 public:
  // -1: none left. `is_new`: the owner had none before.
  int counter_of(const Owner& owner, bool& is_new) {
    const std::lock_guard lock(mutex_);
    const auto known = owned_.find(owner);
    is_new = known == owned_.end();
    if (!is_new) return known->second;
    int counter = -1;
    if (!free_.empty())
      counter = free_.back(), free_.pop_back();
    else if (used_ < kCounters)
      counter = used_++;
    if (counter >= 0) owned_[owner] = counter;
    return counter;
  }
  void give_back(const Owner& owner) {
    const std::lock_guard lock(mutex_);
    const auto known = owned_.find(owner);
    if (known == owned_.end()) return;
    free_.push_back(known->second);
    owned_.erase(known);
  }

 private:
  std::mutex mutex_;
  std::map<Owner, int> owned_;
  std::vector<int> free_;
  int used_ = 0;
};

// NOTE: never destroyed, since graphs may be destroyed after static objects are.
CounterPool& pool_of(int device) {
  static auto* pools = new CounterPool[kMaxDevices];
  return pools[device];
}

struct CaptureOwner {
  CounterPool* pool;
  Owner owner;
};
void give_back_capture(void* data) {
  const auto* capture = static_cast<CaptureOwner*>(data);
  capture->pool->give_back(capture->owner);
  delete capture;
}

// The graph gives its counter back once it, its executables and their runs are gone (or never, when it cannot be told).
void tie_to_graph(cudaGraph_t graph, CounterPool& pool, const Owner& owner) {
  auto* data = new CaptureOwner{&pool, owner};
  cudaUserObject_t object;
  if (cudaUserObjectCreate(&object, data, give_back_capture, 1, cudaUserObjectNoDestructorSync) !=
      cudaSuccess)
    delete data;
  else
    cudaGraphRetainUserObject(graph, object, 1, cudaGraphUserObjectMove);
}

uint32_t* first_counter(int device) {
  static std::mutex mutex;
  static void* known[kMaxDevices] = {};
  const std::lock_guard lock(mutex);
  if (!known[device])
    expect_success(cudaGetSymbolAddress(&known[device], counters), "loading the streams' counters");
  return static_cast<uint32_t*>(known[device]);
}

}  // namespace

uint32_t* stream_counter(const Context& ctx, const char* kernel) {
  const cudaStream_t stream = stream_of(ctx, kernel);
  if (stream == cudaStreamPerThread) return nullptr;  // another stream in every thread
  cudaStreamCaptureStatus status;
  unsigned long long capture = 0;
  cudaGraph_t graph = nullptr;
  expect_success(cudaStreamGetCaptureInfo(stream, &status, &capture, &graph),
                 "asking for a stream's capture");
  const bool is_captured = status == cudaStreamCaptureStatusActive;
  Owner owner{0, 0};
  if (is_captured)
    owner = {capture, reinterpret_cast<uintptr_t>(stream)};
  else
    expect_success(cudaStreamGetId(stream, &owner.second), "asking for a stream's number");

  const int device = current_device();
  CounterPool& pool = pool_of(device);
  bool is_new = false;
  const int counter = pool.counter_of(owner, is_new);
  if (counter < 0) return nullptr;
  if (is_captured && is_new) tie_to_graph(graph, pool, owner);
  return first_counter(device) + counter;
}

}  // namespace octavo::cuda
