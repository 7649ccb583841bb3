// octavo_gpu_bench: times of the memory-bound CUDA ops beside our own copy of the same number of bytes, in one run.
//   octavo_gpu_bench [--op NAME]... [--match TEXT] --out FILE
// The file holds one row per case; tools/report.py splits it by op and joins the peers' rows of the same run.
#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "cuda/device.h"
#include "gpu_bench_cases.h"
#include "gpu_ceilings.h"
#include "gpu_timing.h"

namespace {

using namespace octavo;
using namespace octavo::bench;
using nlohmann::json;

constexpr int kDependentNodes = 100;

// Device memory of one set of a case's arguments, dense, filled with random data.
struct DeviceSet {
  std::vector<cuda::DeviceBuffer> memory;
  std::vector<Tensor> views;
};

Tensor dense_view(const harness::CaseArg& a, void* p) {
  const auto& s = a.shape;
  switch (s.size()) {
    case 1: return Tensor(p, a.dtype, {s[0]}, Backend::cuda);
    case 2: return Tensor(p, a.dtype, {s[0], s[1]}, Backend::cuda);
    default: return Tensor(p, a.dtype, {s[0], s[1], s[2]}, Backend::cuda);
  }
}

DeviceSet make_set(const cuda::Stream& stream, const harness::OpCase& c, uint64_t seed) {
  const Context ctx = cuda::context_on(stream);
  DeviceSet set;
  for (size_t i = 0; i < c.args.size(); ++i) {
    const auto& a = c.args[i];
    int64_t n = 1;
    for (int64_t d : a.shape) n *= d;
    set.memory.emplace_back(round_up(n * size_of(a.dtype), 256));
    void* p = set.memory.back().data();
    set.views.push_back(dense_view(a, p));
    if (a.fill &&
        (!is_float(a.dtype) || n <= 4096)) {  // ids, positions and parameters as the case wants them
      harness::HostTensor host(a.dtype, a.shape);
      a.fill(host, seed + i);
      set.memory.back().copy_from_host(stream, host.view().data(), n * size_of(a.dtype));
      stream.wait();
    } else {
      // NOTE: a mean of squares below 0 would make AdamW's parameters NaN, which take other paths.
      fill_random(ctx, set.views.back(), n, seed + i, a.name.starts_with("exp_avg_sq"));
    }
  }
  return set;
}

json times_json(const Times& t) { return {{"p20", t.p20}, {"p50", t.p50}, {"p80", t.p80}}; }

class Bench {
 public:
  json rows = json::array();

  // Calls on rotating inputs, as if each came from HBM.
  void run(const BenchCase& b, const std::string& variant,
           const std::function<void(const Context&, harness::CaseTensors)>& call) {
    const int sets = sets_beyond_l2(b.op_case.bytes, facts());
    const int calls = b.dependent ? kDependentNodes : std::max(sets, 12);
    std::vector<DeviceSet> data;
    for (int i = 0; i < (b.dependent ? 1 : sets); ++i)
      data.push_back(make_set(stream_, b.op_case, 1000u * static_cast<unsigned>(i)));
    stream_.wait();
    const Context ctx = cuda::context_on(stream_);
    const Times t = time_graph(stream_, calls, [&](int i) {
      if (!b.dependent) return call(ctx, data[static_cast<size_t>(i) % data.size()].views);
      auto views = data[0].views;  // y of a node is x of the next
      if (i % 2 && b.swap_from >= 0)
        std::swap(views[static_cast<size_t>(b.swap_from)], views[static_cast<size_t>(b.swap_to)]);
      call(ctx, views);
    });
    add_row(b, "octavo", variant, t);
  }

  void run(const BenchCase& b) { run(b, b.op_case.variant ? variant_of(b) : "", b.op_case.call); }

  // GB/s of copies that read and write `bytes` in all; the best of three, as every comparison is against it.
  double copy_gbs(int64_t bytes) {
    const auto known = copies_.find(bytes);
    if (known != copies_.end()) return known->second;
    const int64_t half = round_up(bytes / 2, 16);
    const int sets = sets_beyond_l2(bytes, facts());
    std::vector<cuda::DeviceBuffer> from, to;
    const Context ctx = cuda::context_on(stream_);
    for (int i = 0; i < sets; ++i) {
      from.emplace_back(half), to.emplace_back(half);
      fill_random(ctx, Tensor(from.back().data(), DType::f16, {half / 2}, Backend::cuda), half / 2,
                  static_cast<uint64_t>(i));
    }
    double best = 0;
    Times fastest;
    for (int repeat = 0; repeat < 3; ++repeat) {
      const Times t = time_graph(
          stream_, std::max(sets, 12),
          [&](int i) {
            const auto at = static_cast<size_t>(i % sets);
            copy(ctx, to[at].data(), from[at].data(), half);
          },
          60);
      const double rate = 2.0 * static_cast<double>(half) / t.p50 / 1e6;
      if (rate > best) best = rate, fastest = t;
    }
    rows.push_back({{"op", "copy"},
                    {"case", fmt::format("{}", 2 * half)},
                    {"impl", "octavo"},
                    {"variant", "copy"},
                    {"bytes", 2 * half},
                    {"ms", times_json(fastest)},
                    {"gbs", best}});
    return copies_[bytes] = best;
  }

  double read_gbs(int64_t bytes) {
    const Context ctx = cuda::context_on(stream_);
    const cuda::DeviceBuffer data(bytes), sum(256);
    fill_random(ctx, Tensor(data.data(), DType::f16, {bytes / 2}, Backend::cuda), bytes / 2, 7);
    const Times t =
        time_graph(stream_, 4, [&](int) { read_all(ctx, data.data(), bytes, sum.as<uint32_t>()); });
    return static_cast<double>(bytes) / t.p50 / 1e6;
  }

  const DeviceFacts& facts() const { return cuda::device_facts(cuda::current_device()); }
  const cuda::Stream& stream() const { return stream_; }

 private:
  std::string variant_of(const BenchCase& b) {
    const DeviceSet set = make_set(stream_, b.op_case, 0);
    return b.op_case.variant(cuda::context_on(stream_), set.views);
  }
  void add_row(const BenchCase& b, const char* impl, const std::string& variant, const Times& t) {
    const double gbs = static_cast<double>(b.op_case.bytes) / t.p50 / 1e6;
    const double of_copy = b.dependent ? 0 : gbs / copy_gbs(b.op_case.bytes);
    rows.push_back({{"op", b.op},
                    {"case", b.name},
                    {"impl", impl},
                    {"variant", variant},
                    {"dtype", b.dtype},
                    {"bytes", b.op_case.bytes},
                    {"ms", times_json(t)},
                    {"gbs", gbs},
                    {"of_copy", of_copy},
                    {"regime", b.dependent ? "graph of 100 dependent nodes" : "graph, rotating inputs"}});
    fmt::print("{:<14} {:<28} {:<22} {:>9.2f} us {:>7.0f} GB/s {:>6.1f} %\n", b.op, b.name, variant,
               1000 * t.p50, gbs, 100 * of_copy);
    std::fflush(stdout);
  }

  cuda::Stream stream_;
  std::map<int64_t, double> copies_;
};

int run(const std::vector<std::string>& ops, const std::string& match, const std::string& out) {
  Bench bench;
  const auto chosen = [&](const BenchCase& b) {
    return (ops.empty() || std::find(ops.begin(), ops.end(), b.op) != ops.end()) &&
           b.name.find(match) != std::string::npos;
  };
  const double copy_peak = bench.copy_gbs(int64_t{8} << 30), read_peak = bench.read_gbs(int64_t{4} << 30);
  fmt::print("copy {:.0f} GB/s, read {:.0f} GB/s\n", copy_peak, read_peak);
  for (const auto& b : bench_cases()) {
    if (!chosen(b)) continue;
    bench.run(b);
  }
  int driver = 0, runtime = 0;
  cuda::expect_success(cudaDriverGetVersion(&driver), "asking for the driver's version");
  cuda::expect_success(cudaRuntimeGetVersion(&runtime), "asking for the runtime's version");
  const json result = {{"schema", 1},
                       {"gpu", bench.facts().name},
                       {"driver", driver},
                       {"cuda", runtime},
                       {"ceilings", {{"copy_gbs", copy_peak}, {"read_gbs", read_peak}}},
                       {"rows", bench.rows}};
  if (!out.empty()) std::ofstream(out) << result.dump(1) << "\n";
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> ops;
  std::string out, match;
  CLI::App app("Times of the memory-bound CUDA ops");
  app.add_option("--op", ops, "only these ops");
  app.add_option("--match", match, "only cases whose name contains this");
  app.add_option("--out", out, "JSON file");
  CLI11_PARSE(app, argc, argv);
  try {
    return run(ops, match, out);
  } catch (const octavo::Error& e) {
    fmt::print(stderr, "octavo_gpu_bench: {}\n", e.what());
    return static_cast<int>(e.kind());
  }
}
