// octavo_gpu_w8a16_bench: times of gemm_w8a16 on a GPU.
//   octavo_gpu_w8a16_bench [--match START]... [--plans] [--seconds S] [--dtype bf16|f16] --out FILE
// M <= 256: a call in a replayed CUDA graph over rotated inputs, none of them in L2. M >= 1024: bursts after 0.1 s of idle,
// and sustained, the second half of 0.4 s back to back. Codes are normal with sigma 31.75, x is normal, as in
// bench/peers/gemm_w8a16.py: the power limit makes times depend on the data.
#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "cuda/device.h"
#include "gpu_ceilings.h"
#include "gpu_timing.h"
#include "harness/host_tensor.h"
#include "ops/gemm_w8a16/gemm_w8a16.h"
#include "ops/gemm_w8a16/gemm_w8a16_cuda.h"

namespace {

using namespace octavo;
using namespace octavo::bench;
using nlohmann::json;

struct Size {
  int64_t m, n, k;
  bool few() const { return m <= 256; }
  std::string name() const { return fmt::format("{}x{}x{}", m, n, k); }
};

std::vector<Size> sizes() {
  std::vector<Size> all;
  for (const int64_t m : {1, 8, 4, 2, 3, 5, 6, 7, 16, 32, 64, 128, 256, 1024, 4096})
    for (const auto& [n, k] :
         {std::pair<int64_t, int64_t>{4096, 4096}, {28672, 4096}, {4096, 14336}, {8192, 8192}})
      all.push_back({m, n, k});
  return all;
}

// Codes, scales and activations to copy from: a length that no pitch divides, so that rows differ.
struct Source {
  static constexpr int64_t kCodes = 1'048'573, kFloats = 131'072;
  cuda::DeviceBuffer codes{kCodes}, scales{kFloats * 4}, x{kCodes * 2};

  Source(const cuda::Stream& stream, DType type) {
    std::vector<int8_t> c(kCodes);
    std::vector<uint16_t> a(kCodes);
    for (int64_t i = 0; i < kCodes; ++i) {
      const auto at = static_cast<size_t>(i);
      const double code = 31.75 * harness::random_normal(1, static_cast<uint64_t>(i));
      c[at] = static_cast<int8_t>(std::clamp(std::nearbyint(code), -127.0, 127.0));
      harness::set_element(type, &a[at], harness::random_normal(3, static_cast<uint64_t>(i)));
    }
    std::vector<float> s(kFloats);
    for (int64_t i = 0; i < kFloats; ++i)
      s[static_cast<size_t>(i)] =
          static_cast<float>(0.001 + 0.01 * harness::random_uniform(2, static_cast<uint64_t>(i)));
    codes.copy_from_host(stream, c.data(), kCodes);
    scales.copy_from_host(stream, s.data(), kFloats * 4);
    x.copy_from_host(stream, a.data(), kCodes * 2);
    stream.wait();
  }
};

struct Set {
  cuda::DeviceBuffer x, w, scales, y;
  GemmW8A16Args args;
};

Set make_set(const cuda::Stream& stream, const Source& source, const Size& s, DType type) {
  Set set{cuda::DeviceBuffer(s.m * s.k * 2),
          cuda::DeviceBuffer(s.n * s.k),
          cuda::DeviceBuffer(s.n * 4),
          cuda::DeviceBuffer(s.m * s.n * 2),
          {}};
  const auto repeat = [&](const cuda::DeviceBuffer& to, const cuda::DeviceBuffer& from) {
    for (int64_t at = 0; at < to.bytes(); at += from.bytes())
      cuda::expect_success(cudaMemcpyAsync(to.as<char>() + at, from.data(),
                                           static_cast<size_t>(std::min(from.bytes(), to.bytes() - at)),
                                           cudaMemcpyDeviceToDevice, stream.get()),
                           "filling inputs");
  };
  repeat(set.x, source.x), repeat(set.w, source.codes), repeat(set.scales, source.scales);
  set.args = {.x = Tensor(set.x.data(), type, {s.m, s.k}, Backend::cuda),
              .w = Tensor(set.w.data(), DType::i8, {s.n, s.k}, Backend::cuda),
              .w_scale = Tensor(set.scales.data(), DType::f32, {s.n}, Backend::cuda),
              .bias = {},
              .y = Tensor(set.y.data(), type, {s.m, s.n}, Backend::cuda)};
  return set;
}

using Call = std::function<void(const Context&, const GemmW8A16Args&)>;

class Bench {
 public:
  explicit Bench(DType type) : type_(type), source_(stream_, type) {}
  json rows = json::array();

  void run(const Size& s, const std::vector<std::pair<std::string, Call>>& calls) {
    const int64_t bytes = s.m * s.k * 2 + s.n * s.k + 4 * s.n + 2 * s.m * s.n;
    std::vector<Set> sets;
    const int count = s.few() ? sets_beyond_l2(bytes, facts()) : 1;
    for (int i = 0; i < count; ++i) sets.push_back(make_set(stream_, source_, s, type_));
    stream_.wait();
    const Context ctx = cuda::context_on(stream_);
    for (const auto& [variant, call] : calls) {
      try {
        if (s.few()) {
          const Times t = time_graph(
              stream_, std::max(count, 40),
              [&](int i) { call(ctx, sets[static_cast<size_t>(i % count)].args); }, 20);
          add(s, variant, "graph, rotating inputs", t.p50, bytes);
          continue;
        }
        const auto once = [&] { call(ctx, sets[0].args); };
        between_events(stream_, 2, once);
        const double guess = between_events(stream_, 3, once);
        add(s, variant, "burst", burst_ms(stream_, guess, once), bytes);
        add(s, variant, "sustained", sustained_ms(stream_, guess, once), bytes);
      } catch (const Error& e) {
        if (e.kind() != ErrorKind::usage) throw;
        fmt::print("{:<18} {:<44} {}\n", s.name(), variant, e.what());
      }
    }
  }

  double read_gbs(int64_t bytes) {
    const Context ctx = cuda::context_on(stream_);
    const cuda::DeviceBuffer data(bytes), sum(256);
    fill_random(ctx, Tensor(data.data(), DType::f16, {bytes / 2}, Backend::cuda), bytes / 2, 7);
    const Times t = time_graph(
        stream_, 4, [&](int) { read_all(ctx, data.data(), bytes, sum.as<uint32_t>()); }, 30);
    return static_cast<double>(bytes) / t.p50 / 1e6;
  }

  const DeviceFacts& facts() const { return cuda::device_facts(cuda::current_device()); }

 private:
  void add(const Size& s, const std::string& variant, const char* regime, double ms, int64_t bytes) {
    const double tflops = 2.0 * static_cast<double>(s.m * s.n * s.k) / ms / 1e9;
    const double gbs = static_cast<double>(bytes) / ms / 1e6;
    rows.push_back({{"op", "gemm_w8a16"},
                    {"case", s.name()},
                    {"shape", {{"M", s.m}, {"N", s.n}, {"K", s.k}}},
                    {"impl", "octavo"},
                    {"variant", variant},
                    {"dtype", name_of(type_)},
                    {"bytes", bytes},
                    {"ms", {{"p50", ms}}},
                    {"tflops", tflops},
                    {"gbs", gbs},
                    {"regime", regime}});
    fmt::print("{:<16} {:<36} {:<6.6} {:>8.2f} us {:>5.0f} TF {:>5.0f} GB/s\n", s.name(), variant, regime,
               1000 * ms, tflops, gbs);
    std::fflush(stdout);
  }

  cuda::Stream stream_;
  DType type_;
  Source source_;
};

std::string name_of(const StreamPlan& p) {
  return fmt::format("split{}/stages{}{}", p.split, p.stages, p.early ? "/w_ready" : "");
}
std::string name_of(const ManyPlan& p) {
  constexpr const char* kTiles[] = {"256", "64"};
  return fmt::format("tokens{}/group{}/lead{}", kTiles[static_cast<int>(p.tile)], p.group, p.lead);
}

std::vector<StreamPlan> stream_plans() {
  std::vector<StreamPlan> plans;
  for (const int split : {1, 2})
    for (const int stages : {4, 5, 6, 10})
      for (const bool early : {false, true}) plans.push_back({split, stages, early});
  return plans;
}

std::vector<ManyPlan> many_plans(const Size& s) {
  if (s.m <= 64) return {{ManyTile::t64, 1, 0}, {ManyTile::t256, 1, 0}};
  std::vector<ManyPlan> plans;
  for (const int lead : {0, 2}) plans.push_back({ManyTile::t256, 8, lead});
  plans.push_back({ManyTile::t256, 4, 2});
  return plans;
}

std::vector<std::pair<std::string, Call>> calls_for(const Size& s, bool plans) {
  std::vector<std::pair<std::string, Call>> calls;
  if (s.m <=
      kFewTokens)  // first: a loaded model's weights are written by no launch in front, and reports take the first row
    calls.emplace_back("chosen, w_ready", [](const Context& ctx, GemmW8A16Args a) {
      a.w_ready = true;
      gemm_w8a16(ctx, a);
    });
  calls.emplace_back("chosen", [](const Context& ctx, const GemmW8A16Args& a) { gemm_w8a16(ctx, a); });
  if (!plans) return calls;
  if (s.m <= kFewTokens)
    for (const StreamPlan& p : stream_plans())
      calls.emplace_back(name_of(p), [p](const Context& ctx, const GemmW8A16Args& a) {
        gemm_w8a16_stream_with_plan(ctx, a, p);
      });
  else
    for (const ManyPlan& p : many_plans(s))
      calls.emplace_back(name_of(p), [p](const Context& ctx, const GemmW8A16Args& a) {
        gemm_w8a16_many_with_plan(ctx, a, p);
      });
  return calls;
}

}  // namespace

int main(int argc, char** argv) {
  std::string out, dtype = "bf16";
  std::vector<std::string> match;
  bool plans = false;
  double seconds = 1e9;
  CLI::App app("Times of gemm_w8a16 on a GPU");
  app.add_option("--match", match, "only cases whose name begins with this (several: any)");
  app.add_option("--out", out, "JSON file");
  app.add_option("--seconds", seconds, "start no new case after this many");
  app.add_option("--dtype", dtype, "of x and y: bf16 or f16")->check(CLI::IsMember({"bf16", "f16"}));
  app.add_flag("--plans", plans, "other plans beside the chosen one");
  CLI11_PARSE(app, argc, argv);
  try {
    const auto start = std::chrono::steady_clock::now();
    Bench bench(dtype == "f16" ? DType::f16 : DType::bf16);
    const double read_gbs = bench.read_gbs(int64_t{2} << 30);
    fmt::print("read {:.0f} GB/s\n", read_gbs);
    for (const Size& s : sizes()) {
      if (!match.empty() && std::none_of(match.begin(), match.end(),
                                         [&](const std::string& m) { return s.name().rfind(m, 0) == 0; }))
        continue;
      if (std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() > seconds) break;
      bench.run(s, calls_for(s, plans));
    }
    int driver = 0, runtime = 0;
    cuda::expect_success(cudaDriverGetVersion(&driver), "asking for the driver's version");
    cuda::expect_success(cudaRuntimeGetVersion(&runtime), "asking for the runtime's version");
    const json result = {{"schema", 1},
                         {"gpu", bench.facts().name},
                         {"driver", driver},
                         {"cuda", runtime},
                         {"ceilings", {{"read_gbs", read_gbs}}},
                         {"rows", bench.rows}};
    if (!out.empty()) std::ofstream(out) << result.dump(1) << "\n";
    return 0;
  } catch (const octavo::Error& e) {
    fmt::print(stderr, "octavo_gpu_w8a16_bench: {}\n", e.what());
    return static_cast<int>(e.kind());
  }
}
