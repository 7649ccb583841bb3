// octavo_gpu_gemm_bench: times of the INT8 products on a GPU, in two regimes (design 7).
//   octavo_gpu_gemm_bench [--match START]... [--plan START]... [--portable] [--policies] [--burst-only] [--seconds S] --out FILE
// M <= 256: a call in a replayed CUDA graph over rotated inputs, none of them in L2, after 0.1 s of idle. M >= 1024: bursts after as
// much, and sustained, the second half of 0.4 s back to back. Codes are normal with sigma 31.75, as in bench/peers/gemm_int8.py:
// the power limit makes times depend on the data.
#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "core/error.h"
#include "cuda/device.h"
#include "gpu_ceilings.h"
#include "gpu_timing.h"
#include "harness/host_tensor.h"
#include "ops/bias_gelu/bias_gelu.h"
#include "ops/gemm_w8a8/gemm_w8a8.h"
#include "ops/gemm_w8a8/gemm_w8a8_cuda.h"
#include "ops/silu_mul/silu_mul.h"

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
              .activation = GemmActivation::none,
              .residual = {},
              .y_scale = {},
              .y = Tensor(set.y.data(), DType::bf16, {s.m, s.n}, Backend::cuda),
              .constant_weights = true};
  return set;
}

using Call = std::function<void(const Context&, const GemmW8A8Args&)>;

constexpr std::chrono::milliseconds kIdle{100};

// A round of burst_ms, for calls that take turns.
double one_burst_ms(const cuda::Stream& stream, double guess_ms, const std::function<void()>& call) {
  std::this_thread::sleep_for(kIdle);
  return between_events(stream, std::clamp(static_cast<int>(3.0 / guess_ms), 7, 30), call);
}
double median(std::vector<double> ms) {
  std::sort(ms.begin(), ms.end());
  return ms[ms.size() / 2];
}

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
        std::this_thread::sleep_for(kIdle);  // 256 tokens reach the power limit too
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

  // What may follow the scaled sums, each beside the product alone and the op that would do it afterwards, in turns.
  void run_policies(const Size& s, bool sustained) {
    const cuda::Stream& stream = stream_;
    const Context ctx = cuda::context_on(stream);
    Set set = make_set(stream, source_, s);
    const cuda::DeviceBuffer more(s.m * s.n * 2), codes(s.m * s.n), amax(s.m * 4);
    more.fill(stream, 0), amax.fill(stream, 0);
    const Tensor y_amax(amax.data(), DType::f32, {s.m}, Backend::cuda);
    const Tensor& y = set.args.y;
    const Tensor half(y.data(), DType::bf16, {s.m, s.n / 2}, Backend::cuda);
    const auto every_second = [&](int64_t first) {
      return Tensor(y.as<BF16>() + first, DType::bf16, {s.m, s.n / 2}, {s.n, 2}, Backend::cuda);
    };
    const auto product = [&](auto change) {
      GemmW8A8Args a = set.args;
      a.bias = {};
      change(a);
      return [&ctx, a] { gemm_w8a8(ctx, a); };
    };
    const auto gelu = [&](GeluForm form) {
      return [&ctx, y, form] {
        bias_gelu(ctx, {.x = y, .bias = {}, .form = form, .out = y, .out_codes = {}, .out_scale = {}});
      };
    };
    const float* step = set.args.w_scale.as<float>();
    const std::vector<std::pair<std::string, std::function<void()>>> calls{
        {"scales", product([](auto&) {})},
        {"bias", product([&](auto& a) { a.bias = set.args.bias; })},
        {"gelu_tanh", product([](auto& a) { a.activation = GemmActivation::gelu_tanh; })},
        {"gelu_erf", product([](auto& a) { a.activation = GemmActivation::gelu_erf; })},
        {"silu_mul", product([&](auto& a) { a.activation = GemmActivation::silu_mul, a.y = half; })},
        {"residual", product([&](auto& a) {
           a.residual = Tensor(more.data(), DType::bf16, {s.m, s.n}, Backend::cuda);
         })},
        {"amax", product([&](auto& a) { a.y_amax = y_amax; })},
        {"silu_mul amax",
         product([&](auto& a) { a.activation = GemmActivation::silu_mul, a.y = half, a.y_amax = y_amax; })},
        {"i8", product([&](auto& a) {
           a.y_scale = ConstTensor(step, DType::f32, {1}, Backend::cuda);
           a.y = Tensor(codes.data(), DType::i8, {s.m, s.n}, Backend::cuda);
         })},
        {"op gelu_tanh", gelu(GeluForm::tanh)},
        {"op gelu_erf", gelu(GeluForm::erf)},
        {"op silu_mul", [&] {
           silu_mul(ctx, {.gate = every_second(0),
                          .up = every_second(1),
                          .out = Tensor(more.data(), DType::bf16, {s.m, s.n / 2}, Backend::cuda),
                          .out_codes = {},
                          .out_scale = {}});
         }}};
    std::vector<std::vector<double>> rounds(calls.size());
    std::vector<double> guess;
    for (const auto& [name, call] : calls)
      between_events(stream, 1, call), guess.push_back(between_events(stream, 2, call));
    for (int round = 0; round < 3; ++round)
      for (size_t i = 0; i < calls.size(); ++i)
        rounds[i].push_back(one_burst_ms(stream, guess[i], calls[i].second));
    for (size_t i = 0; i < calls.size(); ++i) {
      add(s, calls[i].first, "burst", median(rounds[i]), 0, "/" + calls[i].first);
      if (sustained)
        add(s, calls[i].first, "sustained", sustained_ms(stream, guess[i], calls[i].second), 0,
            "/" + calls[i].first);
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
  void add(const Size& s, const std::string& variant, const char* regime, double ms, int64_t bytes,
           const std::string& suffix = "") {
    const double tops = 2.0 * static_cast<double>(s.m * s.n * s.k) / ms / 1e9;
    const double gbs = static_cast<double>(bytes) / ms / 1e6;
    rows.push_back({{"op", "gemm_w8a8"},
                    {"case", s.name() + suffix},
                    {"shape", {{"M", s.m}, {"N", s.n}, {"K", s.k}}},
                    {"impl", "octavo"},
                    {"variant", variant},
                    {"dtype", "bf16"},
                    {"bytes", bytes},
                    {"ms", {{"p50", ms}}},
                    {"tflops", tops},
                    {"gbs", gbs},
                    {"regime", regime}});
    if (suffix.rfind("/op ", 0) == 0) rows.back().erase("tflops");  // not a product
    fmt::print("{:<18} {:<34} {:<10.10} {:>9.2f} us {:>7.0f} TOPS {:>6.0f} GB/s\n", s.name(), variant, regime,
               1000 * ms, tops, gbs);
    std::fflush(stdout);
  }

  cuda::Stream stream_;
  Source source_{stream_};
};

std::string name_of_plan(const Int8Plan& p) {
  return fmt::format("{}/split{}/group{}{}", shape_of(p.tile).name, p.split, p.group,
                     p.overlap ? "" : "/after");
}

std::vector<Int8Plan> other_plans(const Size& s) {
  std::vector<Int8Plan> plans;
  if (!s.few()) {
    for (const Int8Tile tile : {Int8Tile::m128_n256, Int8Tile::m128_n128_in_turn})
      for (const int group : {1, 2, 4, 8}) plans.push_back({tile, 1, group});
    return plans;
  }
  for (int i = 0; i < kInt8Tiles; ++i) {
    const auto tile = static_cast<Int8Tile>(i);
    if (shape_of(tile).m < s.m / 4 || shape_of(tile).m > 64 * s.m) continue;
    for (const int split : {1, 2, 4})
      for (const bool overlap : {true, false})
        if (split == 1 || is_few(tile)) plans.push_back({tile, split, 8, overlap});
  }
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
  bool burst_only = false, portable = false, policies = false;
  double seconds = 1e9;
  CLI::App app("Times of the INT8 products on a GPU");
  app.add_option("--match", match, "only cases whose name begins with this (several: any)");
  app.add_option("--out", out, "JSON file");
  app.add_option("--seconds", seconds, "start no new case after this many");
  app.add_option("--plan", plans,
                 "instead of the plan that is chosen: those whose name begins with this (several: any)");
  app.add_flag("--portable", portable, "the kernel for sm_80 and newer, whatever the device");
  app.add_flag("--policies", policies,
               "8192x28672x4096 with everything that may follow the sums, and nothing else");
  app.add_flag("--burst-only", burst_only, "no sustained times");
  CLI11_PARSE(app, argc, argv);
  try {
    const auto start = std::chrono::steady_clock::now();
    Bench bench;
    const double read_gbs = bench.read_gbs(int64_t{2} << 30);
    fmt::print("read {:.0f} GB/s\n", read_gbs);
    if (policies) bench.run_policies({8192, 28672, 4096}, !burst_only);
    for (const Size& s : sizes()) {
      if (policies) break;
      if (!begins_with_any(s.name(), match)) continue;
      if (std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() > seconds) break;
      std::vector<std::pair<std::string, Call>> calls;
      if (portable)
        calls.emplace_back("cuda_sm80",
                           [](const Context& ctx, const GemmW8A8Args& a) { gemm_w8a8_sm80(ctx, a); });
      else if (plans.empty())
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
                         {"ceilings", {{"read_gbs", read_gbs}}},
                         {"rows", bench.rows}};
    if (!out.empty()) std::ofstream(out) << result.dump(1) << "\n";
    return 0;
  } catch (const octavo::Error& e) {
    fmt::print(stderr, "octavo_gpu_gemm_bench: {}\n", e.what());
    return static_cast<int>(e.kind());
  }
}
