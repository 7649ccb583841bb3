// What cuda/launch.h and cuda/device.h promise, on a real GPU: errors with names and numbers, graphs, the workspace, and a
// fault that poisons the process. Exits 0 when all held. The fault comes last: nothing works after it.
#include <fmt/format.h>

#include <cstring>
#include <functional>
#include <vector>

#include "core/error.h"
#include "cuda/device.h"
#include "launch_test_kernels.h"
#include "turns_on_gpu.h"

namespace {

using namespace octavo;
using gpu_test::launch_add_one;

int failures = 0;

void check(bool held, const std::string& what) {
  fmt::print("{} {}\n", held ? "ok    " : "FAILED", what);
  failures += !held;
}

// The call throws this kind, with every part in its message.
void check_error(const std::string& what, ErrorKind kind, const std::vector<std::string>& parts,
                 const std::function<void()>& call) {
  try {
    call();
    check(false, what + ": nothing was thrown");
  } catch (const Error& e) {
    bool held = e.kind() == kind;
    for (const auto& part : parts) held = held && std::strstr(e.what(), part.c_str()) != nullptr;
    check(held, fmt::format("{}: {}", what, e.what()));
  }
}

struct Values {
  explicit Values(const cuda::Stream& s, int n) : stream(s), count(n), memory(n * int64_t{4}) {
    memory.fill(stream, 0);
  }
  bool all_are(int value) const {
    std::vector<int> host(static_cast<size_t>(count));
    memory.copy_to_host(stream, host.data(), memory.bytes());
    stream.wait();
    for (int v : host)
      if (v != value) return false;
    return true;
  }
  const cuda::Stream& stream;
  int count;
  cuda::DeviceBuffer memory;
};

void check_launches(const cuda::Stream& stream) {
  const Context ctx = cuda::context_on(stream);
  const int64_t most = cuda::device_facts(cuda::current_device()).shared_bytes_per_block;
  Values v(stream, 1000);
  int* p = v.memory.as<int>();
  launch_add_one(ctx, p, v.count, {.blocks = 8});
  check(v.all_are(1), "a launch runs on its stream");
  launch_add_one(ctx, p, v.count, {.blocks = 8, .shared_bytes = most});
  check(v.all_are(2), fmt::format("shared memory up to the block's {} bytes is allowed", most));

  check_error("no stream", ErrorKind::usage, {"add_one", "no CUDA stream"},
              [&] { launch_add_one(Context{}, p, v.count, {}); });
  check_error("too many threads", ErrorKind::usage, {"add_one", "grid (8, 1, 1)", "block (2048, 1, 1)"},
              [&] { launch_add_one(ctx, p, v.count, {.blocks = 8, .threads = 2048}); });
  check_error("too much shared memory", ErrorKind::usage, {std::to_string(most + 1), std::to_string(most)},
              [&] { launch_add_one(ctx, p, v.count, {.shared_bytes = most + 1}); });
  check_error("a grid that is no multiple of the cluster", ErrorKind::usage, {"add_one", "cluster 3"},
              [&] { launch_add_one(ctx, p, v.count, {.blocks = 8, .cluster = 3}); });
  launch_add_one(ctx, p, v.count, {.blocks = 8});
  check(v.all_are(3), "a refused launch leaves nothing behind: the next one runs");
}

void check_graph_and_events(const cuda::Stream& stream) {
  const Context ctx = cuda::context_on(stream);
  Values v(stream, 300);
  const cuda::Graph graph(stream, [&] {
    for (int i = 0; i < 10; ++i) launch_add_one(ctx, v.memory.as<int>(), v.count, {.blocks = 3});
  });
  cuda::Event start, stop;
  start.record(stream);
  for (int i = 0; i < 5; ++i) graph.launch(stream);
  stop.record(stream);
  check(v.all_are(50), "a graph of 10 launches, replayed 5 times");
  const double ms = cuda::Event::ms_between(start, stop);
  check(ms > 0 && ms < 100, fmt::format("events: 5 replays in {:.4f} ms", ms));
}

void check_memory(const cuda::Stream& stream) {
  cuda::Workspace workspace;
  const Tensor first = workspace.get(stream, 1000);
  check(reinterpret_cast<uintptr_t>(first.data()) % 256 == 0 && first.numel() >= 1000,
        "the workspace is aligned");
  check(workspace.get(stream, 500).data() == first.data(), "a smaller request keeps the workspace");
  check(workspace.get(stream, int64_t{64} << 20).numel() >= int64_t{64} << 20, "a larger one makes it grow");
  check_error("more memory than the GPU has", ErrorKind::out_of_memory, {"10000000000000"},
              [] { cuda::DeviceBuffer too_large(10'000'000'000'000); });
  cuda::DeviceBuffer fits(1 << 20);
  check(fits.data() != nullptr, "and a request that fits still succeeds");
}

void check_fault(const cuda::Stream& stream) {
  const Context ctx = cuda::context_on(stream);
  check_error("a kernel that writes outside all memory", ErrorKind::device_fault, {"restart the process"},
              [&] {
                gpu_test::launch_write_nowhere(ctx);
                stream.wait();
              });
  check_error("every launch after it", ErrorKind::device_fault, {"lost earlier", "first fault"},
              [&] { launch_add_one(ctx, nullptr, 0, {}); });
}

}  // namespace

int main() {
  try {
    cuda::expect_usable(cuda::current_device());
    const cuda::Stream stream;
    check_launches(stream);
    check_graph_and_events(stream);
    check_memory(stream);
    gpu_test::check_turns(check);
    check_fault(stream);
  } catch (const Error& e) {
    check(false, e.what());
  }
  fmt::print("launch_test: {}\n", failures ? fmt::format("{} FAILED", failures) : "all held");
  std::fflush(stdout);
  std::_Exit(
      failures ? 1 : 0);  // NOTE: the context is gone, so that owners of streams and memory could only fail
}
