#include "cuda/device.h"

#include <fmt/format.h>

#include <atomic>
#include <mutex>
#include <optional>

#ifndef OCTAVO_CUDA_ARCHS
#define OCTAVO_CUDA_ARCHS "unknown"
#endif

namespace octavo::cuda {
namespace {

// Errors after which every call of the process fails: the CUDA context is gone.
bool is_fatal(cudaError_t e) {
  switch (e) {
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchTimeout:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorLaunchFailure:
    case cudaErrorAssert:
    case cudaErrorECCUncorrectable:
    case cudaErrorUnknown: return true;
    default: return false;
  }
}

ErrorKind kind_of(cudaError_t e) {
  switch (e) {
    case cudaErrorMemoryAllocation: return ErrorKind::out_of_memory;
    case cudaErrorNoDevice:
    case cudaErrorInsufficientDriver:
    case cudaErrorInvalidDevice:
    case cudaErrorNoKernelImageForDevice:
    case cudaErrorUnsupportedPtxVersion: return ErrorKind::no_device;
    case cudaErrorInvalidConfiguration:
    case cudaErrorInvalidClusterSize:
    case cudaErrorInvalidValue: return ErrorKind::usage;
    default: return is_fatal(e) ? ErrorKind::device_fault : ErrorKind::runtime;
  }
}

std::mutex fault_mutex;
std::atomic<bool> faulted{false};
std::string first_fault;

[[noreturn]] void throw_no_code() {
  const DeviceFacts& f = device_facts(current_device());
  throw Error(ErrorKind::no_device, fmt::format("{} has compute capability {}.{}; this build has code for "
                                                "{}: build with -DOCTAVO_CUDA_ARCHITECTURES={}",
                                                f.name, f.compute_capability / 10, f.compute_capability % 10,
                                                OCTAVO_CUDA_ARCHS, f.compute_capability));
}

}  // namespace

void expect_success(cudaError_t status, const std::string& what) {
  if (status == cudaSuccess) return;
  (void)cudaGetLastError();  // an error that is not sticky is reported once
  if (status == cudaErrorNoKernelImageForDevice) throw_no_code();
  const std::string message =
      fmt::format("{}: {} ({})", what, cudaGetErrorString(status), cudaGetErrorName(status));
  if (is_fatal(status)) {
    const std::lock_guard lock(fault_mutex);
    if (!faulted) first_fault = message;
    faulted = true;
    throw Error(ErrorKind::device_fault, message + "; the GPU context is lost, restart the process");
  }
  throw Error(kind_of(status), message);
}

void expect_healthy() {
  if (!faulted) return;
  const std::lock_guard lock(fault_mutex);
  throw Error(ErrorKind::device_fault,
              fmt::format("the GPU context was lost earlier, restart the process; the first fault was: {}",
                          first_fault));
}

int device_count() {
  int n = 0;
  if (cudaGetDeviceCount(&n) != cudaSuccess) {
    (void)cudaGetLastError();
    return 0;
  }
  return n < kMaxDevices ? n : kMaxDevices;
}

int current_device() {
  int device = 0;
  const cudaError_t status = cudaGetDevice(&device);
  if (status != cudaSuccess)
    expect_success(status, "finding the current GPU");  // or every call makes a string
  return device;
}

const DeviceFacts& device_facts(int device) {
  static std::mutex mutex;
  static std::optional<DeviceFacts> known[kMaxDevices];
  const std::lock_guard lock(mutex);
  if (device < 0 || device >= kMaxDevices)
    throw Error(ErrorKind::usage, fmt::format("GPU {} does not exist", device));
  auto& facts = known[device];
  if (!facts) {
    cudaDeviceProp p;
    expect_success(cudaGetDeviceProperties(&p, device),
                   fmt::format("asking GPU {} for its properties", device));
    facts = DeviceFacts{.backend = Backend::cuda,
                        .name = p.name,
                        .cores = p.multiProcessorCount,
                        .last_level_cache_bytes = p.l2CacheSize,
                        .compute_capability = p.major * 10 + p.minor,
                        .shared_bytes_per_block = static_cast<int64_t>(p.sharedMemPerBlockOptin)};
  }
  return *facts;
}

Stream::Stream() {
  expect_success(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "creating a stream");
}
Stream::~Stream() { cudaStreamDestroy(stream_); }
void Stream::wait() const { expect_success(cudaStreamSynchronize(stream_), "waiting for the GPU"); }

Context context_on(const Stream& stream) {
  Context ctx;
  const int device = current_device();
  expect_usable(device);
  ctx.backend = Backend::cuda;
  ctx.stream = stream.get();
  ctx.facts = &device_facts(device);
  return ctx;
}

Event::Event() { expect_success(cudaEventCreate(&event_), "creating an event"); }
Event::~Event() { cudaEventDestroy(event_); }
void Event::record(const Stream& stream) {
  expect_success(cudaEventRecord(event_, stream.get()), "recording an event");
}
double Event::ms_between(const Event& start, const Event& stop) {
  float ms = 0;
  expect_success(cudaEventElapsedTime(&ms, start.event_, stop.event_), "reading two events");
  return ms;
}

Graph::Graph(const Stream& stream, const std::function<void()>& body) {
  expect_success(cudaStreamBeginCapture(stream.get(), cudaStreamCaptureModeThreadLocal),
                 "starting a capture");
  try {
    body();
  } catch (...) {
    cudaGraph_t broken = nullptr;
    cudaStreamEndCapture(stream.get(), &broken);
    if (broken) cudaGraphDestroy(broken);
    throw;
  }
  expect_success(cudaStreamEndCapture(stream.get(), &graph_), "ending a capture");
  expect_success(cudaGraphInstantiate(&exec_, graph_, 0), "making a graph executable");
}
Graph::~Graph() {
  if (exec_) cudaGraphExecDestroy(exec_);
  if (graph_) cudaGraphDestroy(graph_);
}
void Graph::launch(const Stream& stream) const {
  expect_healthy();
  expect_success(cudaGraphLaunch(exec_, stream.get()), "launching a graph");
}

DeviceBuffer::DeviceBuffer(int64_t bytes) : bytes_(bytes) {
  if (bytes <= 0) return;
  const cudaError_t status = cudaMalloc(&data_, static_cast<size_t>(bytes));
  if (status == cudaErrorMemoryAllocation) {
    (void)cudaGetLastError();
    size_t free = 0, total = 0;
    cudaMemGetInfo(&free, &total);
    throw Error(ErrorKind::out_of_memory,
                fmt::format("{} bytes of GPU memory asked for, {} of {} are free", bytes, free, total));
  }
  expect_success(status, fmt::format("allocating {} bytes of GPU memory", bytes));
}
DeviceBuffer::~DeviceBuffer() { cudaFree(data_); }
void DeviceBuffer::fill(const Stream& stream, uint8_t byte) const {
  expect_success(cudaMemsetAsync(data_, byte, static_cast<size_t>(bytes_), stream.get()),
                 "filling GPU memory");
}
void DeviceBuffer::copy_from_host(const Stream& stream, const void* source, int64_t bytes) const {
  expect_success(
      cudaMemcpyAsync(data_, source, static_cast<size_t>(bytes), cudaMemcpyHostToDevice, stream.get()),
      "copying to the GPU");
}
void DeviceBuffer::copy_to_host(const Stream& stream, void* target, int64_t bytes) const {
  expect_success(
      cudaMemcpyAsync(target, data_, static_cast<size_t>(bytes), cudaMemcpyDeviceToHost, stream.get()),
      "copying from the GPU");
  stream.wait();
}

Tensor Workspace::get(const Stream& stream, int64_t bytes) {
  if (bytes > buffer_.bytes()) {
    stream.wait();  // earlier work may still use the old memory
    buffer_ = DeviceBuffer();
    buffer_ = DeviceBuffer(bytes);
  }
  return Tensor(buffer_.data(), DType::u8, {bytes}, Backend::cuda);
}

}  // namespace octavo::cuda
