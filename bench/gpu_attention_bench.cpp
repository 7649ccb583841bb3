// octavo_gpu_attention_bench: times of attention on a GPU.
//   octavo_gpu_attention_bench [--op NAME]... [--match TEXT]... [--seconds S] [--burst-only] --out FILE
// Large shapes: bursts after 0.1 s of idle, and sustained, the second half of 0.4 s back to back (design 7). Small shapes: a call
// inside a replayed CUDA graph of 100 on one stream. Causal counts half the operations. Data is normal(0, 1), queries and keys
// lie as (B, N, H, D). bench/peers/attention.py times others on the same shapes and writes the same rows.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cmath>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "cuda/device.h"
#include "gpu_timing.h"
#include "harness/host_tensor.h"
#include "ops/attention_f/attention_f.h"
#include "ops/attention_f/attention_f_cuda.h"
#include "ops/attention_int8/attention_int8.h"
#include "ops/attention_int8/attention_int8_cuda.h"

namespace {

using namespace octavo;
using namespace octavo::bench;
using nlohmann::json;

struct Shape {
  int64_t batch, heads, length, dim;
  bool causal, small = false;
  std::string name() const {
    return fmt::format("{}x{}x{}x{}x{}x{}/{}", batch, heads, heads, length, length, dim,
                       causal ? "causal" : "full");
  }
  double ops() const {
    return 4.0 * static_cast<double>(batch * heads * length * length * dim) / (causal ? 2 : 1);
  }
};

std::vector<Shape> shapes() {
  std::vector<Shape> all;
  for (const bool causal : {false, true})
    for (const Shape& s : {Shape{4, 32, 1024, 64, causal}, Shape{4, 32, 4096, 64, causal},
                           Shape{4, 32, 16384, 64, causal}, Shape{16, 16, 1024, 128, causal},
                           Shape{4, 16, 4096, 128, causal}, Shape{1, 16, 16384, 128, causal}})
      all.push_back(s);
  for (const int64_t batch : {1, 2})
    for (const int64_t heads : {4, 8})
      for (const int64_t length : {128, 256, 512}) all.push_back({batch, heads, length, 64, true, true});
  for (const int64_t length : {512, 1024, 2048}) all.push_back({1, 1, length, 64, true, true});
  for (const int64_t length : {128, 512}) all.push_back({2, 4, length, 32, true, true});
  return all;
}

// fp16 tensors of a shape on the device, and what they are called with.
struct Tensors {
  cuda::DeviceBuffer q, k, v, out, lengths;
  int64_t batch, heads, length, dim;
  bool causal;
};

Tensors make_tensors(const cuda::Stream& stream, const Shape& s) {
  constexpr int64_t kPeriod = 1'048'573;  // no pitch divides it, so rows differ
  static const std::vector<uint16_t> source = [] {
    std::vector<uint16_t> bits(kPeriod);
    for (int64_t i = 0; i < kPeriod; ++i)
      bits[static_cast<size_t>(i)] =
          to_f16(static_cast<float>(harness::random_normal(1, static_cast<uint64_t>(i)))).bits;
    return bits;
  }();
  const int64_t elements = s.batch * s.heads * s.length * s.dim;
  Tensors t{cuda::DeviceBuffer(2 * elements),
            cuda::DeviceBuffer(2 * elements),
            cuda::DeviceBuffer(2 * elements),
            cuda::DeviceBuffer(2 * elements),
            cuda::DeviceBuffer((2 * s.batch + 1) * 4),
            s.batch,
            s.heads,
            s.length,
            s.dim,
            s.causal};
  int64_t shift = 0;
  for (const auto* buffer : {&t.q, &t.k, &t.v}) {
    for (int64_t at = 0; at < elements;) {
      const int64_t from = shift % kPeriod, count = std::min(kPeriod - from, elements - at);
      cuda::expect_success(
          cudaMemcpyAsync(buffer->as<uint16_t>() + at, source.data() + from, static_cast<size_t>(2 * count),
                          cudaMemcpyHostToDevice, stream.get()),
          "filling inputs");
      at += count, shift = 0;
    }
    shift = 7919 * (buffer == &t.q ? 1 : 2);
  }
  std::vector<int32_t> lengths;
  for (int64_t b = 0; b <= s.batch; ++b) lengths.push_back(static_cast<int32_t>(b * s.length));
  for (int64_t b = 0; b < s.batch; ++b) lengths.push_back(static_cast<int32_t>(s.length));
  t.lengths.copy_from_host(stream, lengths.data(), static_cast<int64_t>(4 * lengths.size()));
  stream.wait();
  return t;
}

AttentionFArgs float_args(const Tensors& t) {
  AttentionFArgs a;
  const int64_t tokens = t.batch * t.length;
  a.q = Tensor(t.q.data(), DType::f16, {tokens, t.heads, t.dim}, Backend::cuda);
  a.out = Tensor(t.out.data(), DType::f16, {tokens, t.heads, t.dim}, Backend::cuda);
  KvView& kv = a.kv;
  kv.dtype = DType::f16, kv.k = t.k.data(), kv.v = t.v.data(), kv.heads = t.heads, kv.head_dim = t.dim;
  kv.token_stride = t.heads * t.dim, kv.head_stride = t.dim, kv.page_stride = 64 * kv.token_stride;
  kv.sequence_stride = t.length * kv.token_stride, kv.pages_per_sequence = (t.length + 63) / 64;
  kv.backend = Backend::cuda;
  a.q_start = Tensor(t.lengths.data(), DType::i32, {t.batch + 1}, Backend::cuda);
  a.kv_len = Tensor(t.lengths.as<int32_t>() + t.batch + 1, DType::i32, {t.batch}, Backend::cuda);
  a.causal = t.causal, a.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(t.dim)));
  return a;
}

// attention_int8 on the same fp16 tensors, its codes in memory that lives as long as the call.
AttentionInt8FloatArgs int8_args(const Tensors& t) {
  const auto heads_of = [&](const cuda::DeviceBuffer& b) {  // (B, N, H, D) in memory, seen as (B, H, N, D)
    return Tensor(b.data(), DType::f16, {t.batch, t.heads, t.length, t.dim},
                  {t.length * t.heads * t.dim, t.dim, t.heads * t.dim, 1}, Backend::cuda);
  };
  AttentionInt8FloatArgs a;
  a.q = heads_of(t.q), a.k = heads_of(t.k), a.v = heads_of(t.v), a.out = heads_of(t.out);
  a.causal = t.causal, a.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(t.dim)));
  return a;
}

struct Int8Codes {
  cuda::DeviceBuffer memory;
  AttentionInt8QuantizeArgs quantize;
  AttentionInt8Args attend;
};

std::shared_ptr<Int8Codes> int8_codes(const Context& ctx, const Tensors& t) {
  const AttentionInt8FloatArgs a = int8_args(t);
  auto codes = std::make_shared<Int8Codes>(
      Int8Codes{cuda::DeviceBuffer(attention_int8_floats_workspace_bytes(ctx, a)), {}, {}});
  uint8_t* at = codes->memory.as<uint8_t>();
  const auto take = [&](DType dtype, std::initializer_list<int64_t> shape) {
    const Tensor tensor(at, dtype, shape, Backend::cuda);
    at += round_up(tensor.numel() * size_of(dtype), 64);
    return tensor;
  };
  const int64_t b = t.batch, h = t.heads, n = t.length, d = t.dim, tile = kInt8TileKeys;
  AttentionInt8QuantizeArgs& q = codes->quantize;
  q.q = a.q, q.k = a.k, q.v = a.v;
  q.q_codes = take(DType::i8, {b, h, n, d}), q.q_scale = take(DType::f32, {b, h, n});
  q.k_codes = take(DType::i8, {b, h, n, d}), q.k_scale = take(DType::f32, {b, h, n});
  q.v_codes = take(DType::i8, {b, h, (n + kInt8PageKeys - 1) / kInt8PageKeys, d * kInt8PageKeys});
  q.v_scale = take(DType::f32, {b, h, (n + tile - 1) / tile, d});
  AttentionInt8Args& attend = codes->attend;
  attend.q = q.q_codes, attend.q_scale = q.q_scale, attend.k = q.k_codes, attend.k_scale = q.k_scale;
  attend.v = q.v_codes, attend.v_scale = q.v_scale, attend.out = a.out;
  attend.causal = a.causal, attend.scale = a.scale;
  attention_int8_quantize(ctx, q);
  return codes;
}

// What is timed: an op's call on the tensors of a shape. Another op is another line here.
struct Timed {
  const char* op;
  bool (*takes)(const Shape&);
  // The call, its inputs prepared; the variant that dispatch chooses.
  std::pair<std::function<void()>, std::string> (*prepare)(const Context&, const Tensors&);
};

const std::vector<Timed>& timed_ops() {
  static const std::vector<Timed> ops{
      {"attention_f", [](const Shape&) { return true; },
       [](const Context& ctx, const Tensors& t) {
         const AttentionFArgs a = float_args(t);
         return std::pair<std::function<void()>, std::string>([ctx, a] { attention_f(ctx, a); },
                                                              attention_f_variant(ctx, a).variant);
       }},
      {"attention_f_sm80",
       [](const Shape& s) { return !s.small; },  // on request: the portable kernel, anywhere
       [](const Context& ctx, const Tensors& t) {
         const AttentionFArgs a = float_args(t);
         return std::pair<std::function<void()>, std::string>([ctx, a] { attention_f_sm80(ctx, a); },
                                                              "cuda_sm80");
       }},
      {"attention_int8", [](const Shape& s) { return !s.small; },  // the kernel alone, on codes
       [](const Context& ctx, const Tensors& t) {
         const auto codes = int8_codes(ctx, t);
         return std::pair<std::function<void()>, std::string>(
             [ctx, codes] { attention_int8(ctx, codes->attend); },
             attention_int8_variant(ctx, codes->attend).variant);
       }},
      {"attention_int8_sm80",
       [](const Shape& s) { return !s.small; },  // on request: the portable kernel, anywhere
       [](const Context& ctx, const Tensors& t) {
         const auto codes = int8_codes(ctx, t);
         return std::pair<std::function<void()>, std::string>(
             [ctx, codes] { attention_int8_sm80(ctx, codes->attend); }, "cuda_sm80");
       }},
      {"attention_int8_floats", [](const Shape& s) { return !s.small; },  // fp16 in, quantised on the way
       [](const Context& ctx, const Tensors& t) {
         const auto codes = int8_codes(ctx, t);
         return std::pair<std::function<void()>, std::string>(
             [ctx, codes] {
               attention_int8_quantize(ctx, codes->quantize), attention_int8(ctx, codes->attend);
             },
             attention_int8_variant(ctx, codes->attend).variant);
       }},
  };
  return ops;
}

class Bench {
 public:
  json rows = json::array();

  void run(const Timed& timed, const Shape& s, bool sustained) {
    if (!timed.takes(s)) return;
    const Tensors tensors = make_tensors(stream_, s);
    const auto [call, variant] = timed.prepare(cuda::context_on(stream_), tensors);
    if (s.small) {
      constexpr int kNodes = 100;
      add(timed.op, s, variant, "graph",
          time_graph(
              stream_, kNodes, [&](int) { call(); }, 25)
              .p50);
      return;
    }
    between_events(stream_, 2, call);
    const double guess = between_events(stream_, 2, call);
    add(timed.op, s, variant, "burst", burst_ms(stream_, guess, call, 3));
    if (sustained) add(timed.op, s, variant, "sustained", sustained_ms(stream_, guess, call));
  }

 private:
  void add(const char* op, const Shape& s, const std::string& variant, const char* regime, double ms) {
    rows.push_back(
        {{"op", op},
         {"case", s.name()},
         {"shape", {{"B", s.batch}, {"H", s.heads}, {"N", s.length}, {"D", s.dim}, {"causal", s.causal}}},
         {"impl", "octavo"},
         {"variant", variant},
         {"dtype", "f16"},
         {"ms", {{"p50", ms}}},
         {"tflops", s.ops() / ms / 1e9},
         {"regime", regime}});
    fmt::print("{:<14} {:<32} {:<12} {:<10} {:>10.2f} us {:>7.1f} TFLOP/s\n", op, s.name(), variant, regime,
               1000 * ms, s.ops() / ms / 1e9);
    std::fflush(stdout);
  }
  cuda::Stream stream_;
};

bool contains_any(const std::string& name, const std::vector<std::string>& parts) {
  return parts.empty() || std::any_of(parts.begin(), parts.end(), [&](const std::string& part) {
           return name.find(part) != std::string::npos;
         });
}

bool is_asked_for(const std::string& op, const std::vector<std::string>& ops) {
  return ops.empty() ? op == "attention_f" : std::find(ops.begin(), ops.end(), op) != ops.end();
}

}  // namespace

int main(int argc, char** argv) {
  std::string out;
  std::vector<std::string> match, ops;
  bool burst_only = false;
  double seconds = 1e9;
  CLI::App app("Times of attention on a GPU");
  app.add_option("--op", ops,
                 "these ops instead of attention_f: attention_f, attention_f_sm80, attention_int8, "
                 "attention_int8_sm80, attention_int8_floats");
  app.add_option("--match", match, "only cases whose name contains this (several: any)");
  app.add_option("--out", out, "JSON file");
  app.add_option("--seconds", seconds, "start no new case after this many");
  app.add_flag("--burst-only", burst_only, "no sustained times");
  CLI11_PARSE(app, argc, argv);
  try {
    const auto start = std::chrono::steady_clock::now();
    Bench bench;
    for (const Shape& s : shapes())
      for (const Timed& timed : timed_ops())
        if (contains_any(s.name(), match) && is_asked_for(timed.op, ops) &&
            std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() < seconds)
          bench.run(timed, s, !burst_only);
    int driver = 0, runtime = 0;
    cuda::expect_success(cudaDriverGetVersion(&driver), "asking for the driver's version");
    cuda::expect_success(cudaRuntimeGetVersion(&runtime), "asking for the runtime's version");
    const json result = {{"schema", 1},
                         {"gpu", cuda::device_facts(cuda::current_device()).name},
                         {"driver", driver},
                         {"cuda", runtime},
                         {"rows", bench.rows}};
    if (!out.empty()) std::ofstream(out) << result.dump(1) << "\n";
    return 0;
  } catch (const octavo::Error& e) {
    fmt::print(stderr, "octavo_gpu_attention_bench: {}\n", e.what());
    return static_cast<int>(e.kind());
  }
}
