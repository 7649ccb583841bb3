#include "turns_on_gpu.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <set>
#include <vector>

#include "cuda/device.h"
#include "cuda/stream_counter.h"
#include "ops/layer_norm/layer_norm.h"
#include "ops/rms_norm/rms_norm.h"

namespace octavo::gpu_test {
namespace {

struct NormShape {
  int64_t rows, width;
  bool layer, residual, codes;
};

// A norm's tensors on the device; f16 values from a fixed sequence.
class NormData {
 public:
  NormData(const cuda::Stream& stream, const NormShape& s)
      : shape(s),
        x_(s.rows * s.width * 2),
        residual_(s.rows * s.width * 2),
        weight_(s.width * 2),
        u_(s.rows * s.width * 2),
        y_(s.rows * s.width * 2),
        scale_(s.rows * 4) {
    fill(stream, x_, 1), fill(stream, residual_, 2), fill(stream, weight_, 3);
    clear(stream);
  }
  void clear(const cuda::Stream& stream) const {
    for (const auto* m : {&u_, &y_, &scale_}) m->fill(stream, 0xff);
  }
  // Rows [first, first + rows).
  void norm(const Context& ctx, int64_t first, int64_t rows) const {
    if (shape.layer)
      layer_norm(ctx, with_policy(LayerNormArgs{.x = at(x_, DType::f16, first, rows), .weight = weight()},
                                  first, rows));
    else
      rms_norm(ctx, with_policy(RmsNormArgs{.x = at(x_, DType::f16, first, rows), .weight = weight()}, first,
                                rows));
  }
  void norm(const Context& ctx) const { norm(ctx, 0, shape.rows); }
  std::vector<uint8_t> result(const cuda::Stream& stream) const {
    std::vector<uint8_t> all;
    for (const auto* m : {&u_, &y_, &scale_}) {
      const size_t begin = all.size();
      all.resize(begin + static_cast<size_t>(m->bytes()));
      m->copy_to_host(stream, all.data() + begin, m->bytes());
    }
    stream.wait();
    return all;
  }
  const NormShape shape;

 private:
  static void fill(const cuda::Stream& stream, const cuda::DeviceBuffer& m, uint32_t seed) {
    std::vector<uint16_t> host(static_cast<size_t>(m.bytes() / 2));
    uint32_t state = seed * 2654435761u;
    for (auto& v : host) {
      state = state * 1664525u + 1013904223u;
      v = static_cast<uint16_t>((state >> 16 & 0x8fffu) | 0x3000u);  // +-0.125 to 0.25
    }
    m.copy_from_host(stream, host.data(), m.bytes());
    stream.wait();
  }
  Tensor at(const cuda::DeviceBuffer& m, DType d, int64_t first, int64_t rows) const {
    return Tensor(static_cast<uint8_t*>(m.data()) + first * shape.width * size_of(d), d, {rows, shape.width},
                  Backend::cuda);
  }
  Tensor weight() const { return Tensor(weight_.data(), DType::f16, {shape.width}, Backend::cuda); }
  template <class Args>
  Args with_policy(Args a, int64_t first, int64_t rows) const {
    if (shape.residual)
      a.residual = at(residual_, DType::f16, first, rows), a.u = at(u_, DType::f16, first, rows);
    if (shape.codes) {
      a.y_codes = at(y_, DType::i8, first, rows);
      a.y_scale = Tensor(scale_.as<float>() + first, DType::f32, {rows}, Backend::cuda);
    } else {
      a.y = at(y_, DType::f16, first, rows);
    }
    return a;
  }
  cuda::DeviceBuffer x_, residual_, weight_, u_, y_, scale_;
};

uint32_t counter_of(const cuda::Stream& stream) {
  const uint32_t* counter = cuda::stream_counter(cuda::context_on(stream), "turns_on_gpu");
  uint32_t value = ~0u;
  if (counter)
    cuda::expect_success(cudaMemcpyAsync(&value, counter, 4, cudaMemcpyDeviceToHost, stream.get()),
                         "reading");
  stream.wait();
  return value;
}

std::string name_of(const NormShape& s) {
  return fmt::format("{} {}x{}{}{}", s.layer ? "layer_norm" : "rms_norm", s.rows, s.width,
                     s.residual ? "/residual" : "", s.codes ? "/codes" : "");
}

constexpr NormShape kShapes[] = {
    {1201, 8192, true, false, false},  {1201, 8192, true, true, true},   {1102, 6152, true, false, false},
    {331, 32768, false, false, false}, {331, 32768, false, true, false}, {331, 32768, false, true, true},
    {531, 32768, false, false, true},  {331, 32768, true, false, false}, {97, 131072, false, false, false},
    {97, 131072, false, false, true},  {97, 131072, true, true, false},  {97, 131072, true, false, true},
    {1, 131072, true, false, false},   {7, 40000, false, true, true}};

}  // namespace

void check_turns(const std::function<void(bool, const std::string&)>& check) {
  const cuda::Stream one, other;
  const Context ctx = cuda::context_on(one), other_ctx = cuda::context_on(other);
  if (ctx.facts->compute_capability < 90) return;
  for (const NormShape& shape : kShapes) {
    const NormData data(one, shape), second(one, shape);
    constexpr int64_t kFew = 13;
    for (int64_t first = 0; first < shape.rows; first += kFew)
      data.norm(ctx, first, std::min(kFew, shape.rows - first));
    const auto expected = data.result(one);
    const auto same = [&](const NormData& d, const cuda::Stream& s) {
      const bool held = d.result(s) == expected;
      d.clear(s);
      return held;
    };
    data.clear(one);
    bool held = true;
    for (int i = 0; i < 4; ++i) data.norm(ctx), held = held && same(data, one);
    check(held, name_of(shape) + ": four times all rows at once, the bits of 13 rows at a time");

    for (int i = 0; i < 20; ++i) data.norm(ctx), second.norm(other_ctx);
    held = same(data, one);
    check(same(second, other) && held, name_of(shape) + ": on two streams at once");

    auto graph = std::make_unique<cuda::Graph>(one, [&] {
      for (int i = 0; i < 3; ++i) data.norm(ctx);
    });
    for (int i = 0; i < 5; ++i) graph->launch(one), second.norm(other_ctx);
    held = same(data, one);
    check(same(second, other) && held, name_of(shape) + ": a graph replayed beside another stream");
    for (int i = 0; i < 5; ++i) graph->launch(other), second.norm(ctx);
    other.wait(), one.wait();
    held = same(data, one);
    check(same(second, one) && held, name_of(shape) + ": the graph on the other stream, its own stream busy");
    graph.reset();
    check(counter_of(one) == 0 && counter_of(other) == 0,
          name_of(shape) + ": the streams' counters are at zero");
  }

  const auto* mine = cuda::stream_counter(ctx, "turns_on_gpu");
  check(mine && mine == cuda::stream_counter(ctx, "turns_on_gpu"), "a stream keeps its counter");
  check(mine != cuda::stream_counter(other_ctx, "turns_on_gpu"), "another stream has another");
  constexpr int kGraphs = 200;  // NOTE: they give theirs back some time after they are destroyed
  std::set<const uint32_t*> captured;
  for (int i = 0; i < kGraphs; ++i)
    const cuda::Graph graph(one, [&] { captured.insert(cuda::stream_counter(ctx, "turns_on_gpu")); });
  check(captured.count(mine) == 0 && captured.count(nullptr) == 0, "a captured graph has its own counter");
  check(captured.size() < kGraphs,
        fmt::format("and gives it back: {} for {} graphs", captured.size(), kGraphs));
}

}  // namespace octavo::gpu_test
