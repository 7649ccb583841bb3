// The CUDA device as the host sees it: facts, owned streams, events, graphs and memory, and the one check of every call.
#pragma once
#include <cuda_runtime_api.h>

#include <cstdint>
#include <functional>
#include <string>
#include <utility>

#include "core/context.h"

namespace octavo::cuda {

inline constexpr int kMaxDevices = 64;

int device_count();  // 0 without a driver
int current_device();
const DeviceFacts& device_facts(int device);  // cached
// Throws no_device, naming the GPU and the built architectures, when this build holds no code for it.
void expect_usable(int device);

// Throws for anything but cudaSuccess: no_device, out_of_memory, usage, runtime; device_fault when the error is one that
// no later call of this process can survive. From then on expect_healthy() throws too, naming the first fault.
void expect_success(cudaError_t status, const std::string& what);
void expect_healthy();

class Stream {
 public:
  Stream();
  ~Stream();
  Stream(const Stream&) = delete;
  cudaStream_t get() const { return stream_; }
  void wait() const;  // until all its work is done; throws what went wrong in it

 private:
  cudaStream_t stream_ = nullptr;
};

// A context for ops on this stream. The stream outlives it.
Context context_on(const Stream& stream);

class Event {
 public:
  Event();
  ~Event();
  Event(const Event&) = delete;
  void record(const Stream& stream);
  static double ms_between(const Event& start, const Event& stop);  // both were waited for

 private:
  cudaEvent_t event_ = nullptr;
};

// The work that `body` puts on the stream, captured once, replayed many times.
class Graph {
 public:
  Graph(const Stream& stream, const std::function<void()>& body);
  ~Graph();
  Graph(const Graph&) = delete;
  void launch(const Stream& stream) const;

 private:
  cudaGraph_t graph_ = nullptr;
  cudaGraphExec_t exec_ = nullptr;
};

class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  explicit DeviceBuffer(int64_t bytes);  // throws out_of_memory with the bytes asked for and the bytes free
  ~DeviceBuffer();
  DeviceBuffer(DeviceBuffer&& o) noexcept
      : data_(std::exchange(o.data_, nullptr)), bytes_(std::exchange(o.bytes_, 0)) {}
  DeviceBuffer& operator=(DeviceBuffer&& o) noexcept {
    std::swap(data_, o.data_), std::swap(bytes_, o.bytes_);
    return *this;
  }
  void* data() const { return data_; }
  int64_t bytes() const { return bytes_; }
  template <class T>
  T* as() const {
    return static_cast<T*>(data_);
  }
  void fill(const Stream& stream, uint8_t byte) const;
  void copy_from_host(const Stream& stream, const void* source, int64_t bytes) const;
  void copy_to_host(const Stream& stream, void* target, int64_t bytes) const;

 private:
  void* data_ = nullptr;
  int64_t bytes_ = 0;
};

// Scratch memory of one stream: grows, is never given back before the end, so that a steady state allocates nothing.
class Workspace {
 public:
  // At least `bytes`, 256-byte aligned, valid until the next call with a larger number.
  Tensor get(const Stream& stream, int64_t bytes);

 private:
  DeviceBuffer buffer_;
};

}  // namespace octavo::cuda
