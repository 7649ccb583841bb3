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

GemmActivation activation_of(const std::string& name) {
  const auto has = [&](const char* part) { return name.find(part) != std::string::npos; };
  return has("/gelu_erf")    ? GemmActivation::gelu_erf
         : has("/gelu_tanh") ? GemmActivation::gelu_tanh
         : has("/silu_mul")  ? GemmActivation::silu_mul
                             : GemmActivation::none;
}

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
          .activation = activation_of(c.name),
          .residual = at("residual"),
          .y_scale = at("y_scale"),
          .y_amax = at("y_amax"),
          .y = at("y"),
          // Inputs are copied before each call, and a copy is complete before the kernel starts.
          .constant_weights = c.shape[0].second % 2 == 0};
}

// The CPU's fastest variant as the oracle of exact cases: gemm_w8a8_test holds it to the bits of the reference.
OpCase with_fast_reference(OpCase c) {
  if (activation_of(c.name) == GemmActivation::none)
    c.reference = [c](harness::CaseTensors t) { gemm_w8a8({}, args_of(c, t)); };
  return c;
}

// The case on the Hopper kernels with this plan, where the device has them.
OpCase with_plan(OpCase c, const Int8Plan& plan) {
  c.name += fmt::format("/{}/split{}/group{}", shape_of(plan.tile).name, plan.split, plan.group);
  if (plan.release != Int8Release::at_start)
    c.name += fmt::format("/release{}/early{}", static_cast<int>(plan.release), plan.early);
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
  for (int i = 0; i < kInt8Tiles; ++i) {
    const auto tile = static_cast<Int8Tile>(i);
    plans.push_back({tile, 1, 1});
    if (is_few(tile))
      plans.push_back({tile, 2, 1}), plans.push_back({tile, kMostSplit, 1});
    else
      plans.push_back({.tile = tile, .group = 8, .release = Int8Release::after_products, .early = 3});
    if (is_some(tile))
      plans.push_back({.tile = tile, .group = 1, .release = Int8Release::at_end, .early = 0});
  }
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
    if (plan.group > 1) continue;
    for (const auto& [m, n, k] : {std::tuple<int64_t, int64_t, int64_t>{70, 398, 1100}, {131, 260, 1300}})
      add_policies(m, n, k, pitch_for(n, k), [&](const GemmW8A8Shape& s) {
        cases.push_back(with_plan(with_fast_reference(gemm_w8a8_case(s, "policies on every tile")), plan));
      });
  }
  add_policies(70, 198, 300, 384, [&](const GemmW8A8Shape& s) {
    cases.push_back(on_sm80(with_fast_reference(gemm_w8a8_case(s, "policies of the portable kernel"))));
  });
  add_policies(3000, 2600, 260, 2688, [&](const GemmW8A8Shape& s) {
    if (s.y == DType::bf16 || s.y == DType::i8)
      cases.push_back(with_fast_reference(gemm_w8a8_case(s, "policies, many tiles a block")));
  });
  return cases;
}

}  // namespace octavo::gpu
