// What an op runs on when Python calls it: the backend of its tensors, their device, torch's current stream, threads.
#pragma once
#include <initializer_list>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "core/buffer.h"
#include "core/context.h"
#include "core/thread_pool.h"
#include "tensor_argument.h"

namespace octavo::python {

// Threads of the ops on CPU tensors. 0: one per core.
void set_threads(int threads);
int threads();

// The ops that have CUDA kernels in this build; empty for a CPU build.
const std::vector<std::string>& cuda_ops();

class OpCall {
 public:
  // All tensors of the call; absent ones are passed over. Throws Error(usage) naming the two that lie on different
  // devices, Error(no_device) when the build has no kernel for where they lie.
  OpCall(const char* op, std::initializer_list<const TensorArgument*> tensors);
  OpCall(const char* op, const std::vector<const TensorArgument*>& tensors);
  ~OpCall();
  OpCall(const OpCall&) = delete;

  Context& context() { return context_; }
  // Scratch for the op; on CUDA from torch's allocator, so that it belongs to the stream.
  void provide_workspace(int64_t bytes);

  // Calls run(context), on a CPU without the interpreter lock.
  template <class Run>
  void run(Run&& body) {
    if (context_.backend == Backend::cuda) return body(std::as_const(context_));
    nb::gil_scoped_release unlocked;
    body(std::as_const(context_));
  }

 private:
  void start(const TensorArgument* const* tensors, size_t count);
  void use_cpu();
  void use_cuda(const TensorArgument& first);

  const char* op_;
  const TensorArgument* first_ = nullptr;
  Context context_;
  std::unique_lock<std::mutex> pool_lock_;  // the pool has one caller at a time
  Buffer buffer_;
  nb::object device_buffer_;
  int device_ = -1, previous_device_ = -1;
};

}  // namespace octavo::python
