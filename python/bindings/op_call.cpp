#include "op_call.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <unordered_map>

#include "core/check.h"
#include "torch_api.h"
#if defined(OCTAVO_CUDA)
#include "cuda/device.h"
#endif

namespace octavo::python {
namespace {

int wanted_threads = 0;

// Whether the op has CUDA kernels; remembered by the address of its name, which is a literal.
[[maybe_unused]] bool has_kernels(const char* op) {
  static std::unordered_map<const char*, bool> known;
  const auto [entry, is_new] = known.try_emplace(op, false);
  if (is_new) entry->second = std::find(cuda_ops().begin(), cuda_ops().end(), op) != cuda_ops().end();
  return entry->second;
}

// The threads that CPU ops share. After a fork the child has the pool but not its threads, so it makes its own; the
// old one is left alone, because joining threads that do not exist would wait for ever.
struct SharedPool {
  std::mutex mutex;
  std::unique_ptr<ThreadPool> pool;
  pid_t process = 0;
  int threads = 0;

  ThreadPool* get(int wanted) {
    if (process != getpid()) (void)pool.release(), process = getpid();
    if (!pool || threads != wanted) pool = std::make_unique<ThreadPool>(wanted), threads = wanted;
    return pool.get();
  }
};

// NOTE: never destroyed: at exit a forked child would wait for its parent's threads.
SharedPool& shared_pool() {
  static auto* pool = new SharedPool;
  return *pool;
}

}  // namespace

void set_threads(int threads) {
  if (threads < 0 || threads > 1024)
    throw Error(ErrorKind::usage,
                fmt::format("set_num_threads: threads is {}, expected 0 (one per core) to 1024", threads));
  wanted_threads = threads;
}

int threads() { return wanted_threads > 0 ? wanted_threads : std::max(1, cpu_facts().cores); }

const std::vector<std::string>& cuda_ops() {
  static const std::vector<std::string> ops = {OCTAVO_CUDA_OPS};
  return ops;
}

OpCall::OpCall(const char* op, std::initializer_list<const TensorArgument*> tensors) : op_(op) {
  start(tensors.begin(), tensors.size());
}

OpCall::OpCall(const char* op, const std::vector<const TensorArgument*>& tensors) : op_(op) {
  start(tensors.data(), tensors.size());
}

void OpCall::start(const TensorArgument* const* tensors, size_t count) {
  const TensorArgument* first = nullptr;
  for (size_t i = 0; i < count; ++i) {
    const TensorArgument& t = *tensors[i];
    if (!t.given()) continue;
    if (!first) {
      first = &t;
    } else if (t.device().type != first->device().type || t.device().index != first->device().index) {
      fail_argument(op_, t.name(),
                    fmt::format("is on {}, {} on {}; all tensors of a call lie on one device",
                                describe(t.device()), first->name(), describe(first->device())));
    }
  }
  first_ = first;
  if (first && first->on_cuda())
    use_cuda(*first);
  else
    use_cpu();
}

void OpCall::use_cpu() {
  SharedPool& shared = shared_pool();
  pool_lock_ = std::unique_lock(shared.mutex, std::try_to_lock);  // a second caller works alone
  if (pool_lock_) context_.pool = shared.get(threads());
}

#if defined(OCTAVO_CUDA)
void OpCall::use_cuda(const TensorArgument& first) {
  static bool usable[cuda::kMaxDevices] = {};
  if (!has_kernels(op_))
    throw Error(
        ErrorKind::no_device,
        fmt::format("{}: {} is on {}, but this op has no CUDA kernel yet; move its tensors to the CPU", op_,
                    first.name(), describe(first.device())));
  device_ = first.device().index;
  if (!usable[device_]) cuda::expect_usable(device_), usable[device_] = true;
  if (const int current = cuda::current_device(); current != device_) {
    previous_device_ = current;
    cuda::expect_success(cudaSetDevice(device_), "cudaSetDevice");
  }
  void* stream = nullptr;
  if (first.table()->current_stream(dlpack::kCuda, device_, &stream) != 0) throw nb::python_error();
  context_.backend = Backend::cuda;
  context_.facts = &cuda::device_facts(device_);
  context_.stream = stream ? stream : cudaStreamLegacy;  // torch's default stream is the null stream
}

OpCall::~OpCall() {
  if (previous_device_ >= 0) (void)cudaSetDevice(previous_device_);
}
#else
void OpCall::use_cuda(const TensorArgument& first) {
  throw Error(ErrorKind::no_device,
              fmt::format("{}: {} is on {}, but this package was built for the CPU only; reinstall it with "
                          "OCTAVO_CUDA=1 pip install . where nvcc is",
                          op_, first.name(), describe(first.device())));
}

OpCall::~OpCall() = default;
#endif

void OpCall::provide_workspace(int64_t bytes) {
  if (bytes == 0) return;
  void* data;
  if (context_.backend == Backend::cpu) {
    buffer_ = Buffer(bytes);
    data = buffer_.data();
  } else {
    // NOTE: torch's allocator, so that the memory belongs to the stream; any CUDA argument came from torch.
    const int64_t shape[] = {bytes};
    device_buffer_ = new_dense(*first_, shape, DType::u8);
    data = TensorArgument(op_, "workspace", device_buffer_).data();
  }
  context_.workspace = octavo::Tensor(data, DType::u8, {bytes}, context_.backend);
}

}  // namespace octavo::python
