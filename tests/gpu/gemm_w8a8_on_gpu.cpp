#include "gpu/gemm_w8a8_on_gpu.h"

#include <fmt/format.h>

#include "core/dispatch.h"
#include "cuda/device.h"
#include "ops/gemm_w8a8/gemm_w8a8_cases.h"
#include "ops/gemm_w8a8/gemm_w8a8_cuda.h"

namespace octavo::gpu {
namespace {

using harness::OpCase;

constexpr DType kOutputs[] = {DType::bf16, DType::f16, DType::f32, DType::i32};

GemmW8A8Args args_of(const OpCase& c, harness::CaseTensors t) {
  const auto at = [&](const char* name) {
    for (size_t i = 0; i < c.args.size(); ++i)
      if (c.args[i].name == name) return t[i];
    return Tensor();
  };
  return {.x = at("x"),
          .x_scale = at("x_scale"),
          .w = at("w"),
          .w_scale = at("w_scale"),
          .w_code_sum = {},
          .bias = at("bias"),
          .y = at("y")};
}

// The CPU's fastest variant as the oracle: gemm_w8a8_test holds it to the bits of the reference.
void fast_reference(const GemmW8A8Args& a) {
  if (a.y.dtype() == DType::i32 || a.y.dtype() == DType::f32) return gemm_w8a8({}, a);
  const int64_t m = a.y.dim(0), n = a.y.dim(1);
  harness::HostTensor wide(DType::f32, {m, n});
  GemmW8A8Args f32 = a;
  f32.y = wide.view();
  gemm_w8a8({}, f32);
  const int64_t bytes = size_of(a.y.dtype());
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j)
      harness::set_element(a.y.dtype(), static_cast<char*>(a.y.data()) + (i * a.y.stride(0) + j) * bytes,
                           wide.as<float>()[i * n + j]);
}

OpCase with_fast_reference(OpCase c) {
  c.reference = [c](harness::CaseTensors t) { fast_reference(args_of(c, t)); };
  return c;
}

// The case on the Hopper kernels with this plan, where the device has them.
OpCase with_plan(OpCase c, const Int8Plan& plan) {
  c.name +=
      fmt::format("/{}/split{}/group{}/lead{}", shape_of(plan.tile).name, plan.split, plan.group, plan.lead);
  c.call = [c, plan](const Context& ctx, harness::CaseTensors t) {
    const GemmW8A8Args a = args_of(c, t);
    if (gemm_w8a8_fits_sm90(a, *ctx.facts))
      gemm_w8a8_with_plan(ctx, a, plan);
    else
      gemm_w8a8(ctx, a);
  };
  return c;
}

// The case on the portable kernel, which a Hopper device would not choose.
OpCase on_sm80(OpCase c) {
  c.name += "/sm80";
  c.call = [c](const Context& ctx, harness::CaseTensors t) { gemm_w8a8_sm80(ctx, args_of(c, t)); };
  return c;
}

int64_t pitch_for(int64_t n, int64_t k) { return (std::max(n, k) + 127) / 128 * 128; }

}  // namespace

std::vector<OpCase> gemm_w8a8_on_gpu() {
  std::vector<OpCase> cases;
  for (auto& c : gemm_w8a8_cases()) cases.push_back(with_fast_reference(std::move(c)));
  const auto shaped = [](int64_t m, int64_t n, int64_t k, DType y, bool bias) {
    return with_fast_reference(gemm_w8a8_case(
        {.m = m, .n = n, .k = k, .y = y, .bias = bias && y != DType::i32, .pitch = pitch_for(n, k)},
        "rows that TMA takes"));
  };
  for (int64_t m = 1; m <= 129; ++m)
    for (const auto& [n, k] : {std::pair<int64_t, int64_t>{8, 16}, {129, 200}, {384, 1040}, {1000, 513}})
      for (const DType y : kOutputs) {
        cases.push_back(shaped(m, n, k, y, m % 2 == 0));
        if (m % 8 <= 1) cases.push_back(on_sm80(cases.back()));
      }
  for (const DType y : kOutputs)
    for (const auto& [m, n, k] : {std::tuple<int64_t, int64_t, int64_t>{300, 600, 1153},
                                  {1, 1, 1},
                                  {1500, 1100, 64},
                                  {257, 513, 2048}})
      cases.push_back(on_sm80(shaped(m, n, k, y, true)));

  std::vector<Int8Plan> plans;
  for (const Int8Tile tile : {Int8Tile::m128_n256, Int8Tile::m256_n128, Int8Tile::m128_n128_in_turn})
    for (const int group : {1, 3, 8})
      for (const int lead : {0, 2, 9})
        if (lead == 2 || tile == Int8Tile::m128_n256) plans.push_back({tile, 1, group, lead});
  for (const Int8Tile tile : {Int8Tile::few16, Int8Tile::few32, Int8Tile::few64, Int8Tile::few128})
    for (const int split : {1, 2, 4}) plans.push_back({tile, split, 1, 0});
  for (const Int8Tile tile : {Int8Tile::few16_wide, Int8Tile::few64_wide, Int8Tile::m128_n256_alone})
    plans.push_back({tile, 1, 1, 0});
  for (const Int8Plan& plan : plans) {
    for (const DType y : kOutputs) {
      for (const auto& [m, n, k] : {std::tuple<int64_t, int64_t, int64_t>{1, 1, 1024},
                                    {127, 255, 1100},
                                    {300, 600, 1153},
                                    {257, 513, 2048}})
        cases.push_back(with_plan(shaped(m, n, k, y, y == DType::bf16), plan));
    }
    cases.push_back(with_plan(shaped(2400, 2600, 1100, DType::bf16, true), plan));  // many tiles a block
    cases.push_back(with_plan(shaped(17, 9000, 1030, DType::f16, true), plan));
  }
  return cases;
}

}  // namespace octavo::gpu
