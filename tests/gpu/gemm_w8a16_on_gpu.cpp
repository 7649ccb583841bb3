#include "gpu/gemm_w8a16_on_gpu.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/dispatch.h"
#include "ops/gemm_w8a16/gemm_w8a16_cases.h"
#include "ops/gemm_w8a16/gemm_w8a16_cuda.h"

namespace octavo::gpu {
namespace {

using harness::OpCase;

struct Size {
  int64_t m, n, k;
};

GemmW8A16Args args_of(const OpCase& c, harness::CaseTensors t) {
  const auto at = [&](const char* name) {
    for (size_t i = 0; i < c.args.size(); ++i)
      if (c.args[i].name == name) return t[i];
    return Tensor();
  };
  return {.x = at("x"),
          .w = at("w"),
          .w_scale = at("w_scale"),
          .bias = at("bias"),
          .residual = at("residual"),
          .silu_mul = c.name.find("/silu_mul") != std::string::npos,
          .y = at("y")};
}

// Rows of x, w and y on 16 bytes.
int64_t pitch_for(int64_t n, int64_t k) { return (std::max(n, k) + 127) / 128 * 128; }

// The case on one kernel, where `fits` says that it takes the call.
template <class Fits, class Run>
OpCase on_kernel(OpCase c, const std::string& name, Fits fits, Run run) {
  c.name += name;
  c.call = [c, fits, run](const Context& ctx, harness::CaseTensors t) {
    const GemmW8A16Args a = args_of(c, t);
    if (fits(a, *ctx.facts))
      run(ctx, a);
    else
      gemm_w8a16(ctx, a);
  };
  return c;
}

// Hopper's kernel for few tokens with this plan.
OpCase with_plan(const OpCase& c, const StreamPlan& plan) {
  return on_kernel(
      c, fmt::format("/stream_split{}/stages{}{}", plan.split, plan.stages, plan.early ? "/early" : ""),
      gemm_w8a16_fits_stream,
      [plan](const Context& ctx, const GemmW8A16Args& a) { gemm_w8a16_stream_with_plan(ctx, a, plan); });
}

// The kernel for many tokens with this plan.
OpCase with_plan(const OpCase& c, const ManyPlan& plan) {
  constexpr const char* kTiles[] = {"256", "64"};
  return on_kernel(
      c, fmt::format("/many_{}/group{}/lead{}", kTiles[static_cast<int>(plan.tile)], plan.group, plan.lead),
      gemm_w8a16_fits_sm90,
      [plan](const Context& ctx, const GemmW8A16Args& a) { gemm_w8a16_many_with_plan(ctx, a, plan); });
}

// The kernels of any GPU, which a Hopper device would not choose.
OpCase on_few(const OpCase& c) { return on_kernel(c, "/few", gemm_w8a16_fits_few, gemm_w8a16_few); }
OpCase on_sm80(const OpCase& c) { return on_kernel(c, "/sm80", gemm_w8a16_fits_sm80, gemm_w8a16_sm80); }

OpCase anyhow(OpCase c) {
  c.name += "/any";
  c.call = [c](const Context& ctx, harness::CaseTensors t) { gemm_w8a16_any(ctx, args_of(c, t)); };
  return c;
}

void add_every_m(std::vector<OpCase>& cases) {
  constexpr std::pair<int64_t, int64_t> kFeatures[] = {{208, 1},   {200, 64},   {216, 129},  {233, 200},
                                                       {300, 513}, {264, 1040}, {209, 2056}, {224, 4096}};
  for (int64_t m = 1; m <= 17; ++m)
    for (const auto& [n, k] : kFeatures)
      for (const DType x : {DType::f16, DType::bf16}) {
        const GemmW8A16Shape s{.m = m, .n = n, .k = k, .x = x, .y = x, .bias = m % 2 == 0};
        GemmW8A16Shape pitched = s, to_f32 = s, off = s;
        pitched.pitch = to_f32.pitch = pitch_for(n, k), to_f32.y = DType::f32, off.misalign = 1 + m % 7;
        cases.push_back(gemm_w8a16_case(s, "rows without a pitch"));
        cases.push_back(gemm_w8a16_case(pitched, "rows on 16 bytes"));
        cases.push_back(gemm_w8a16_case(to_f32, "sums as they are"));
        cases.push_back(gemm_w8a16_case(off, "starts off every vector boundary"));
        if (m % 8 == 1) cases.push_back(anyhow(cases.back()));
        if (m % 2 == 1) cases.push_back(on_sm80(gemm_w8a16_case(m % 4 == 1 ? to_f32 : pitched, "portable")));
      }
  for (int64_t m = 1; m <= 8; ++m)
    for (const int64_t k : {1000, 1037})
      for (const DType x : {DType::f16, DType::bf16}) {
        const GemmW8A16Shape s{
            .m = m, .n = 129, .k = k, .x = x, .y = x, .hard = true, .pitch = pitch_for(129, k)};
        cases.push_back(gemm_w8a16_case(s, "rows of NaN, Inf, zeros or denormals, few of them"));
      }
}

// K in whole lines of 128 bytes, which Hopper's kernel for few tokens asks for: stages, chunks and blocks of a cluster that
// are full, cut short and empty; tiles cut short; one tile a block, several, more than a batch.
void add_streams(std::vector<OpCase>& cases) {
  const auto add = [&](const GemmW8A16Shape& s, const char* why) {
    for (const StreamPlan& plan : {StreamPlan{}, StreamPlan{.early = true}, StreamPlan{.split = 2},
                                   StreamPlan{.split = 2, .stages = 3}})
      cases.push_back(with_plan(gemm_w8a16_case(s, why), plan));
    cases.push_back(on_few(gemm_w8a16_case(s, why)));
  };
  for (const DType x : {DType::f16, DType::bf16}) {
    for (const int64_t k : {128, 256, 896, 1024, 1152, 2048, 4096, 4224, 5120, 8192, 11008, 14336})
      for (const int64_t m : {1, 5, 8})
        add({.m = m, .n = 200 / m + 40, .k = k, .x = x, .y = x, .bias = m == 5, .pitch = pitch_for(0, k)},
            "K around every stage and chunk");
    for (int64_t m = 1; m <= 8; ++m)
      for (const int64_t n : {15, 16, 17, 402}) {
        if (m * n < 100) continue;
        GemmW8A16Shape s{.m = m, .n = n, .k = 1280, .x = x, .y = m % 2 ? x : DType::f32, .pitch = 1280};
        add(s, "every number of tokens, tiles cut short");
        if (n % 2) continue;
        s.silu_mul = true, s.bias = m % 3 == 0, s.residual = m % 3 == 1;
        add(s, "epilogues");
      }
    for (const bool hard : {false, true})
      add({.m = 6, .n = 70, .k = 4480, .x = x, .y = x, .hard = hard, .pitch = 4480}, "hard rows");
    for (const auto& [n, k] : {std::pair<int64_t, int64_t>{2200, 512}, {9001, 256}, {34001, 128}})
      add({.m = 2, .n = n, .k = k, .x = x, .y = x, .pitch = pitch_for(n, k)}, "many tiles a block");
    for (const auto& [n, k] : {std::pair<int64_t, int64_t>{4096, 14336}, {8192, 8192}, {28672, 4096}})
      cases.push_back(gemm_w8a16_case({.m = 8, .n = n, .k = k, .x = x, .y = x, .pitch = pitch_for(n, k)},
                                      "a layer of Llama-3-8B, repeats equal"));
    for (const Size& s : {Size{1, 250, 1}, Size{1, 300, 4096}, Size{5, 129, 1100}, Size{8, 257, 2061},
                          Size{3, 90, 130}, Size{2, 9001, 300}}) {
      const GemmW8A16Shape shape{
          .m = s.m, .n = s.n, .k = s.k, .x = x, .y = x, .bias = s.m == 5, .pitch = pitch_for(s.n, s.k)};
      cases.push_back(on_few(gemm_w8a16_case(shape, "the portable kernel for few tokens")));
    }
  }
}

void add_many_tokens(std::vector<OpCase>& cases) {
  for (const ManyTile tile : {ManyTile::t256, ManyTile::t64})
    for (const auto& [group, lead] : {std::pair{8, 4}, {1, 0}, {3, 9}})
      for (const DType x : {DType::f16, DType::bf16})
        for (const Size& size :
             {Size{1, 250, 1}, Size{17, 129, 200}, Size{255, 257, 1100}, Size{300, 100, 513},
              Size{600, 60, 64}, Size{63, 520, 2048}, Size{2400, 700, 70}, Size{513, 300, 130}})
          for (const bool silu_mul : {false, true}) {
            if (silu_mul && (group == 1 || size.n % 2)) continue;
            const GemmW8A16Shape s{.m = size.m,
                                   .n = size.n,
                                   .k = size.k,
                                   .x = x,
                                   .y = x,
                                   .bias = size.m % 2 == 1,
                                   .pitch = pitch_for(size.n, size.k),
                                   .residual = size.m % 3 == 0,
                                   .silu_mul = silu_mul};
            cases.push_back(with_plan(gemm_w8a16_case(s, "every plan"), {tile, group, lead}));
          }
  for (const DType x : {DType::f16, DType::bf16})
    for (const DType y : {x, DType::f32})
      for (const Size& size :
           {Size{255, 258, 1100}, Size{300, 100, 513}, Size{130, 520, 2048}, Size{1, 130, 64}})
        for (const bool silu_mul : {false, true})
          cases.push_back(on_sm80(gemm_w8a16_case({.m = size.m,
                                                   .n = size.n,
                                                   .k = size.k,
                                                   .x = x,
                                                   .y = y,
                                                   .bias = size.m > 200,
                                                   .pitch = pitch_for(size.n, size.k),
                                                   .residual = size.m % 2 == 1,
                                                   .silu_mul = silu_mul},
                                                  "portable")));
  for (const int64_t m : {9, 27, 70, 130, 300})
    for (const DType x : {DType::f16, DType::bf16})
      for (const auto& [n, k] : {std::pair<int64_t, int64_t>{257, 1000}, {64, 1037}, {131, 300}})
        cases.push_back(
            gemm_w8a16_case({.m = m, .n = n, .k = k, .x = x, .y = x, .hard = true, .pitch = pitch_for(n, k)},
                            "rows of NaN, Inf, zeros or denormals"));
}

}  // namespace

std::vector<OpCase> gemm_w8a16_on_gpu() {
  auto cases = gemm_w8a16_cases();
  add_every_m(cases);
  add_streams(cases);
  add_many_tokens(cases);
  return cases;
}

}  // namespace octavo::gpu
