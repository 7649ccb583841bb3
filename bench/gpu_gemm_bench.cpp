// octavo_gpu_gemm_bench: times of the INT8 products on a GPU, in two regimes (design 7).
//   octavo_gpu_gemm_bench [--match START]... [--plan START]... [--burst-only] [--seconds S] --out FILE
// M <= 256: a call in a replayed CUDA graph over rotated inputs, none of them in L2. M >= 1024: bursts after 0.1 s of idle,
// and sustained, the second half of 0.4 s back to back. Codes are normal with sigma 31.75, as in bench/peers/gemm_int8.py:
// the power limit makes times depend on the data.
#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "cuda/device.h"
#include "gpu_timing.h"
#include "harness/host_tensor.h"
#include "ops/gemm_w8a8/gemm_w8a8.h"
#include "ops/gemm_w8a8/gemm_w8a8_cuda.h"

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
  std::vector<Size> all{{8192, 8192, 8192}};
  for (const int64_t m : {8192, 4096, 2048, 1024, 1, 16, 32, 64, 128, 256})
    for (const auto& [n, k] : {std::pair<int64_t, int64_t>{4096, 4096}, {28672, 4096}, {4096, 14336}})
      all.push_back({m, n, k});
  return all;
}

constexpr double kSigma = 31.75;

// Codes and scales to copy from: a length that no pitch divides, so that rows differ.
struct Source {
  static constexpr int64_t kCodes = 1'048'573, kFloats = 131'072;
  cuda::DeviceBuffer codes{kCodes}, scales{kFloats * 4};

  explicit Source(const cuda::Stream& stream) {
    std::vector<int8_t> c(kCodes);
    for (int64_t i = 0; i < kCodes; ++i)
      c[static_cast<size_t>(i)] = static_cast<int8_t>(std::clamp(
          std::nearbyint(kSigma * harness::random_normal(1, static_cast<uint64_t>(i))), -127.0, 127.0));
    std::vector<float> s(kFloats);
    for (int64_t i = 0; i < kFloats; ++i)
      s[static_cast<size_t>(i)] =
          static_cast<float>(0.001 + 0.01 * harness::random_uniform(2, static_cast<uint64_t>(i)));
    codes.copy_from_host(stream, c.data(), kCodes);
    scales.copy_from_host(stream, s.data(), kFloats * 4);
    stream.wait();
  }
};

struct Set {
  cuda::DeviceBuffer x, w, scales, y;
  GemmW8A8Args args;
};

Set make_set(const cuda::Stream& stream, const Source& source, const Size& s) {
  Set set{cuda::DeviceBuffer(s.m * s.k),
          cuda::DeviceBuffer(s.n * s.k),
          cuda::DeviceBuffer((s.m + 2 * s.n) * 4),
          cuda::DeviceBuffer(s.m * s.n * 2),
          {}};
  const auto repeat = [&](const cuda::DeviceBuffer& to, const cuda::DeviceBuffer& from, int64_t bytes) {
    for (int64_t at = 0; at < bytes; at += from.bytes())
      cuda::expect_success(cudaMemcpyAsync(to.as<char>() + at, from.data(),
                                           static_cast<size_t>(std::min(from.bytes(), bytes - at)),
                                           cudaMemcpyDeviceToDevice, stream.get()),
                           "filling inputs");
  };
  repeat(set.x, source.codes, s.m * s.k);
  repeat(set.w, source.codes, s.n * s.k);
  repeat(set.scales, source.scales, (s.m + 2 * s.n) * 4);
  float* scales = set.scales.as<float>();
  const auto floats = [](float* p, int64_t n) { return Tensor(p, DType::f32, {n}, Backend::cuda); };
  set.args = {.x = Tensor(set.x.data(), DType::i8, {s.m, s.k}, Backend::cuda),
              .x_scale = floats(scales, s.m),
              .w = Tensor(set.w.data(), DType::i8, {s.n, s.k}, Backend::cuda),
              .w_scale = floats(scales + s.m, s.n),
              .w_code_sum = {},
              .bias = floats(scales + s.m + s.n, s.n),
              .y = Tensor(set.y.data(), DType::bf16, {s.m, s.n}, Backend::cuda)};
  return set;
}

using Call = std::function<void(const Context&, const GemmW8A8Args&)>;

class Bench {
 public:
  json rows = json::array();

  void run(const Size& s, const std::vector<std::pair<std::string, Call>>& calls, bool sustained) {
    const cuda::Stream& stream = stream_;
    const int64_t bytes = s.m * s.k + s.n * s.k + 2 * s.m * s.n;
    std::vector<Set> sets;
    const int count = s.few() ? sets_beyond_l2(bytes, facts()) : 1;
    for (int i = 0; i < count; ++i) sets.push_back(make_set(stream, source_, s));
    stream.wait();
    const Context ctx = cuda::context_on(stream);
    for (const auto& [variant, call] : calls) {
      if (s.few()) {
        const Times t = time_graph(
            stream, std::max(count, 12), [&](int i) { call(ctx, sets[static_cast<size_t>(i % count)].args); },
            25);
        add(s, variant, "graph, rotating inputs", t.p50, bytes);
        continue;
      }
      const auto once = [&] { call(ctx, sets[0].args); };
      between_events(stream, 2, once);
      const double guess = between_events(stream, 3, once);
      add(s, variant, "burst", burst_ms(stream, guess, once), bytes);
      if (sustained) add(s, variant, "sustained", sustained_ms(stream, guess, once), bytes);
    }
  }

  const DeviceFacts& facts() const { return cuda::device_facts(cuda::current_device()); }

 private:
  void add(const Size& s, const std::string& variant, const char* regime, double ms, int64_t bytes) {
    const double tops = 2.0 * static_cast<double>(s.m * s.n * s.k) / ms / 1e9;
    const double gbs = static_cast<double>(bytes) / ms / 1e6;
    rows.push_back({{"op", "gemm_w8a8"},
                    {"case", s.name()},
                    {"shape", {{"M", s.m}, {"N", s.n}, {"K", s.k}}},
                    {"impl", "octavo"},
                    {"variant", variant},
                    {"dtype", "bf16"},
                    {"bytes", bytes},
                    {"ms", {{"p50", ms}}},
                    {"tflops", tops},
                    {"gbs", gbs},
                    {"regime", regime}});
    fmt::print("{:<18} {:<34} {:<10.10} {:>9.2f} us {:>7.0f} TOPS {:>6.0f} GB/s\n", s.name(), variant, regime,
               1000 * ms, tops, gbs);
    std::fflush(stdout);
  }

  cuda::Stream stream_;
  Source source_{stream_};
};

std::string name_of_plan(const Int8Plan& p) {
  return fmt::format("{}/split{}/group{}/lead{}", shape_of(p.tile).name, p.split, p.group, p.lead);
}

std::vector<Int8Plan> other_plans(const Size& s) {
  if (!s.few())
    return {{Int8Tile::m128_n256, 1, 8, 0},        {Int8Tile::m128_n256, 1, 8, 2},
            {Int8Tile::m128_n256, 1, 16, 2},       {Int8Tile::m128_n256, 1, 4, 2},
            {Int8Tile::m256_n128, 1, 8, 2},        {Int8Tile::m256_n128, 1, 4, 2},
            {Int8Tile::m128_n128_in_turn, 1, 8, 0}};
  const Int8Tile few = s.m <= 16   ? Int8Tile::few16
                       : s.m <= 32 ? Int8Tile::few32
                       : s.m <= 64 ? Int8Tile::few64
                                   : Int8Tile::few128;
  std::vector<Int8Plan> plans;
  for (const int split : {1, 2, 4}) plans.push_back({few, split, 1, 0});
  plans.push_back({s.m <= 16   ? Int8Tile::few16_wide
                   : s.m <= 64 ? Int8Tile::few64_wide
                               : Int8Tile::m128_n256_alone,
                   1, 1, 0});
  if (s.m >= 128)
    plans.push_back({Int8Tile::m128_n128_in_turn, 1, 8, 0}), plans.push_back({Int8Tile::m128_n256, 1, 8, 2});
  return plans;
}

bool begins_with_any(const std::string& name, const std::vector<std::string>& starts) {
  return starts.empty() || std::any_of(starts.begin(), starts.end(),
                                       [&](const std::string& start) { return name.rfind(start, 0) == 0; });
}

}  // namespace

int main(int argc, char** argv) {
  std::string out;
  std::vector<std::string> match;
  std::vector<std::string> plans;
  bool burst_only = false;
  double seconds = 1e9;
  CLI::App app("Times of the INT8 products on a GPU");
  app.add_option("--match", match, "only cases whose name begins with this (several: any)");
  app.add_option("--out", out, "JSON file");
  app.add_option("--seconds", seconds, "start no new case after this many");
  app.add_option("--plan", plans,
                 "instead of the plan that is chosen: those whose name begins with this (several: any)");
  app.add_flag("--burst-only", burst_only, "no sustained times");
  CLI11_PARSE(app, argc, argv);
  try {
    const auto start = std::chrono::steady_clock::now();
    Bench bench;
    for (const Size& s : sizes()) {
      if (!begins_with_any(s.name(), match)) continue;
      if (std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() > seconds) break;
      std::vector<std::pair<std::string, Call>> calls;
      if (plans.empty())
        calls.emplace_back("chosen", [](const Context& ctx, const GemmW8A8Args& a) { gemm_w8a8(ctx, a); });
      else
        for (const Int8Plan& p : other_plans(s))
          if (begins_with_any(name_of_plan(p), plans))
            calls.emplace_back(name_of_plan(p), [p](const Context& ctx, const GemmW8A8Args& a) {
              gemm_w8a8_with_plan(ctx, a, p);
            });
      bench.run(s, calls, !burst_only);
    }
    int driver = 0, runtime = 0;
    cuda::expect_success(cudaDriverGetVersion(&driver), "asking for the driver's version");
    cuda::expect_success(cudaRuntimeGetVersion(&runtime), "asking for the runtime's version");
    const json result = {{"schema", 1},
                         {"gpu", bench.facts().name},
                         {"driver", driver},
                         {"cuda", runtime},
                         {"rows", bench.rows}};
    if (!out.empty()) std::ofstream(out) << result.dump(1) << "\n";
    return 0;
  } catch (const octavo::Error& e) {
    fmt::print(stderr, "octavo_gpu_gemm_bench: {}\n", e.what());
    return static_cast<int>(e.kind());
  }
}
