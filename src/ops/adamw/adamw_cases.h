// Cases of adamw: types, sizes, numbers of tensors, first and late steps, skip and gradient scale.
#pragma once
#include <fmt/format.h>

#include <memory>

#include "harness/op_case.h"
#include "ops/adamw/adamw.h"
#include "ops/adamw/adamw_ref.h"

namespace octavo {

enum class AdamWSkip { absent, zero, one };

struct AdamWShape {
  std::vector<int64_t> widths;  // one tensor [rows, width] each
  int64_t rows = 1;
  DType param = DType::f32, grad = DType::f32;
  int step = 10;  // steps done before
  AdamWSkip skip = AdamWSkip::absent;
  float grad_scale = 0;  // 0: absent
  float weight_decay = 1e-2f;
  bool hard = false, perf = false;
  int64_t misalign = 0;
};

inline harness::OpCase adamw_case(const AdamWShape& s, std::string why) {
  using namespace harness;
  constexpr const char* kSkips[] = {"", "/skip0", "/skip1"};
  OpCase c;
  c.name = fmt::format("{}", s.rows);
  for (const int64_t width : s.widths) c.name += fmt::format("x{}", width);
  c.name += fmt::format("/{}/grad_{}/step{}{}{}{}{}{}", name_of(s.param), name_of(s.grad), s.step,
                        kSkips[static_cast<int>(s.skip)],
                        s.grad_scale == 0 ? "" : fmt::format("/grad_scale{}", s.grad_scale),
                        s.weight_decay == 1e-2f ? "" : fmt::format("/decay{}", s.weight_decay),
                        s.hard ? "/hard" : "", s.misalign ? fmt::format("/misalign{}", s.misalign) : "");
  c.why = std::move(why);
  c.perf = s.perf;
  c.nan_declared = s.hard;
  // Four arguments a tensor, then step, then skip, then grad_scale.
  for (size_t i = 0; i < s.widths.size(); ++i) {
    const std::vector<int64_t> shape = {s.rows, s.widths[i]};
    const auto updated = [&](const char* name, DType dtype, auto fill) {
      CaseArg arg = output(fmt::format("{}{}", name, i), dtype, shape, Judge::floats);
      arg.fill = fill, arg.misalign = s.misalign;
      c.args.push_back(arg);
    };
    updated("param", s.param, normal());
    c.args.push_back(input(fmt::format("grad{}", i), s.grad, shape, s.hard ? hard_rows() : normal(0.1)));
    c.args.back().misalign = s.misalign;
    updated("exp_avg", DType::f32, s.step == 0 ? constant(0) : normal(0.1));
    updated("exp_avg_sq", DType::f32, s.step == 0 ? constant(0) : uniform(0, 0.02));
    c.bytes += s.rows * s.widths[i] * (2 * size_of(s.param) + size_of(s.grad) + 16);
    c.ops += s.rows * s.widths[i] * 12;
  }
  const size_t step = c.args.size();
  CaseArg counter = output("step", DType::i32, {1}, Judge::exact);
  counter.fill = constant(s.step);
  c.args.push_back(counter);
  if (s.skip != AdamWSkip::absent)
    c.args.push_back(input("skip", DType::i32, {1}, constant(s.skip == AdamWSkip::one ? 1 : 0)));
  if (s.grad_scale != 0) c.args.push_back(input("grad_scale", DType::f32, {1}, constant(s.grad_scale)));
  const auto with_args = [s, step](CaseTensors t, const auto& call) {
    std::vector<AdamWTensor> tensors;
    for (size_t i = 0; i < s.widths.size(); ++i)
      tensors.push_back(
          {.param = t[4 * i], .grad = t[4 * i + 1], .exp_avg = t[4 * i + 2], .exp_avg_sq = t[4 * i + 3]});
    const bool skip = s.skip != AdamWSkip::absent;
    call(AdamWArgs{.tensors = tensors,
                   .weight_decay = s.weight_decay,
                   .step = t[step],
                   .skip = skip ? t[step + 1] : Tensor(),
                   .grad_scale = s.grad_scale != 0 ? t[step + 1 + skip] : Tensor()});
  };
  c.call = [=](const Context& ctx, CaseTensors t) {
    with_args(t, [&](const AdamWArgs& a) { adamw(ctx, a); });
  };
  c.reference = [=](CaseTensors t) { with_args(t, adamw_ref<double>); };
  c.plain = [=](CaseTensors t) { with_args(t, adamw_ref<float>); };
  return c;
}

inline std::vector<harness::OpCase> adamw_cases() {
  std::vector<harness::OpCase> cases;
  const auto add = [&](const AdamWShape& s, const char* why) { cases.push_back(adamw_case(s, why)); };
  constexpr AdamWSkip kSkips[] = {AdamWSkip::absent, AdamWSkip::zero, AdamWSkip::one};
  for (const DType param : {DType::f32, DType::bf16})
    for (const DType grad : {DType::f32, DType::bf16}) {
      const auto with = [&](int64_t rows, std::vector<int64_t> widths) {
        return AdamWShape{.widths = std::move(widths), .rows = rows, .param = param, .grad = grad};
      };
      // NOTE: at least some 200 elements a case, since the mean error of three is a matter of luck.
      for (const int64_t width : {1, 17, 1025, 5137, 8193})
        for (const AdamWSkip skip : kSkips)
          for (const float scale : {0.0f, 1024.0f})
            for (const int step : {0, 10}) {
              auto s = with(1 + 192 / width, {width});
              s.skip = skip, s.grad_scale = scale, s.step = step;
              add(s, "sizes around every vector boundary; skip, gradient scale, first step");
            }
      for (const int64_t width : {1, 2, 7, 8, 9, 15, 16, 31, 32, 33, 64, 100})
        add(with(1 + 192 / width, {width}), "sizes around every vector boundary");
      for (const int64_t width : {17, 130}) {
        auto s = with(18, {width});
        s.hard = true;
        add(s, "NaN, Inf, zero, denormal, outlier gradients");
      }
      for (const int step : {1, 999, 100000, 2000000}) {
        auto s = with(1, {1025});
        s.step = step;
        add(s, "bias corrections of late steps");
      }
      auto plain = with(1, {1025});
      plain.weight_decay = 0;
      add(plain, "no decay: Adam");
      add(with(1, {300, 1, 0, 8193, 17}), "five tensors in one call, one of them empty");
      add(with(1, {}), "no tensors: only the step counts");
      add(with(3, {40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53,
                   54, 55, 56, 57, 58, 59, 60, 61, 62, 63, 64, 65, 66}),
          "many small tensors in one call");
      auto shifted = with(1, {1025, 77});
      shifted.misalign = 1;
      add(shifted, "starts off every vector boundary");
      auto large = with(4096, {4096});
      large.perf = true;
      add(large, "a 4096 x 4096 weight");
      auto model = with(64, {65536, 65536, 16384, 16384, 65536, 64, 64});
      model.perf = true;
      add(model, "matrices and norms of one layer");
    }
  return cases;
}

}  // namespace octavo
