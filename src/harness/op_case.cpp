#include "harness/op_case.h"

#include <fmt/format.h>

#include <cmath>
#include <cstring>

namespace octavo::harness {

CaseArg input(std::string name, DType dtype, std::vector<int64_t> shape,
              std::function<void(HostTensor&, uint64_t)> fill) {
  return {.name = std::move(name), .dtype = dtype, .shape = std::move(shape), .fill = std::move(fill)};
}
CaseArg output(std::string name, DType dtype, std::vector<int64_t> shape, Judge judge) {
  return {.name = std::move(name),
          .dtype = dtype,
          .shape = std::move(shape),
          .fill = {},
          .judge = judge,
          .output = true};
}

namespace {

std::vector<Tensor> views(const std::vector<HostTensor>& args) {
  std::vector<Tensor> v;
  for (const auto& a : args) v.push_back(a.view());
  return v;
}

// The arguments as the reference takes them: outputs judged by value become dense f64.
std::vector<HostTensor> shadow_args(const OpCase& c, const std::vector<HostTensor>& before) {
  std::vector<HostTensor> shadow;
  for (size_t i = 0; i < c.args.size(); ++i) {
    const bool by_value =
        c.args[i].output && (c.args[i].judge == Judge::floats || c.args[i].judge == Judge::codes);
    shadow.emplace_back(by_value ? DType::f64 : c.args[i].dtype, c.args[i].shape,
                        by_value ? 0 : c.args[i].pitch);
    if (c.args[i].fill)
      for (int64_t e = 0; e < before[i].numel(); ++e) shadow[i].set(e, before[i].get(e));
  }
  return shadow;
}

// What fp32 arithmetic may lose in absolute terms, as in check_float_rule: a value that is the small difference of large
// ones (GELU far left of 0) has no 1e-6 of relative accuracy in any fp32 implementation.
double fp32_slack(double largest) {
  return 2 * std::abs(round_to(DType::f32, round_to(DType::f32, largest + 0.3) - 0.3) - largest) + 0x1p-24;
}

OutputResult judge_codes(const HostTensor& codes, const HostTensor& scale, const std::vector<double>& value) {
  OutputResult result;
  const int64_t width = codes.width(), rows = width ? codes.numel() / width : 0;
  for (int64_t r = 0; r < rows && result.problem.empty(); ++r) {
    double amax = 0;
    bool finite = true;
    for (int64_t i = r * width; i < (r + 1) * width; ++i) {
      const double v = value[static_cast<size_t>(i)];
      finite = finite && std::isfinite(v) && std::abs(v) <= 3.402823466e38;
      amax = std::max(amax, std::abs(v));
    }
    const double want_scale = amax / 127, got_scale = scale.get(r), slack = finite ? fp32_slack(amax) : 0;
    const bool zero = finite && got_scale == 1.0 && amax <= std::max(0x1p-120, slack);  // codes 0, scale 1
    if (finite ? !(zero || std::abs(got_scale - want_scale) <= 1e-6 * want_scale + slack / 127)
               : !std::isnan(got_scale))
      result.problem = fmt::format("row {}: scale {} instead of {}", r, got_scale, finite ? want_scale : NAN);
    for (int64_t i = r * width; i < (r + 1) * width && result.problem.empty(); ++i) {
      const double want = !finite || zero ? 0.0 : value[static_cast<size_t>(i)];
      const double error =
          finite && !zero ? std::abs(codes.get(i) * got_scale - want) : std::abs(codes.get(i));
      const double allowed = !finite || zero ? 0.0 : (0.5 + 0x1p-10) * want_scale + slack;
      const double steps = want_scale > 0 && finite && !zero ? (error - slack) / want_scale : error;
      result.errors.max_error = std::max(result.errors.max_error, steps);
      ++result.errors.compared;
      if (error > allowed)
        result.problem =
            fmt::format("element {}: code {} of scale {} for {}", i, codes.get(i), got_scale, want);
    }
  }
  return result;
}

}  // namespace

std::vector<HostTensor> make_args(const OpCase& c) {
  std::vector<HostTensor> args;
  for (const auto& a : c.args) {
    args.emplace_back(a.dtype, a.shape, a.pitch, a.misalign);
    if (a.fill) a.fill(args.back(), seed_of(c.name + "/" + a.name));
  }
  return args;
}

CaseResult judge(const OpCase& c, const std::vector<HostTensor>& before,
                 const std::vector<HostTensor>& after) {
  CaseResult result{.name = c.name, .problem = {}, .outputs = {}};
  const auto note = [&](const std::string& arg, const std::string& problem) {
    if (!problem.empty() && result.problem.empty()) result.problem = fmt::format("{}: {}", arg, problem);
  };
  std::vector<HostTensor> exact_args = make_args(c), value_args = shadow_args(c, before),
                          plain_args = make_args(c);
  const auto judged = [&](Judge j) {
    for (const auto& a : c.args)
      if (a.output && a.judge == j) return true;
    return false;
  };
  if (judged(Judge::exact)) c.reference(views(exact_args));
  if (judged(Judge::floats) || judged(Judge::codes)) c.reference(views(value_args));
  if (judged(Judge::floats)) {
    if (!c.plain)
      note(c.name, "the case has outputs judged as floats and no plain version");
    else
      c.plain(views(plain_args));
  }
  for (size_t i = 0; i < c.args.size(); ++i) {
    const CaseArg& arg = c.args[i];
    note(arg.name, after[i].damage());
    if (!arg.output) {
      note(arg.name, check_bitwise(after[i], before[i]).empty() ? "" : "an input was changed");
      continue;
    }
    OutputResult out;
    if (arg.judge == Judge::exact) {
      out.problem = check_bitwise(after[i], exact_args[i]);
      out.digest = digest_of(after[i]);
    } else if (arg.judge == Judge::floats) {
      const auto y = values(after[i]), r = values(value_args[i]);
      const auto p = values(plain_args[i]);
      out.errors = error_stats(y, r), out.plain = error_stats(p, r),
      out.slack = rounding_slack(r, arg.dtype, arg.relative_slack);
      if (!r.empty())
        out.problem =
            check_float_rule(y, r, p, {arg.dtype, arg.nmse_cap, c.nan_declared, arg.relative_slack});
    } else if (arg.judge == Judge::codes) {
      out = judge_codes(after[i], after[i + 1], values(value_args[i]));
    }
    out.name = arg.name;
    note(arg.name, out.problem);
    result.outputs.push_back(std::move(out));
  }
  return result;
}

CaseResult run_case(const Context& ctx, const OpCase& c) {
  const std::vector<HostTensor> before = make_args(c);
  std::vector<HostTensor> first = make_args(c), second = make_args(c);
  c.call(ctx, views(first));
  CaseResult result = judge(c, before, first);
  c.call(ctx, views(second));
  for (size_t i = 0; i < c.args.size() && result.problem.empty(); ++i)
    if (c.args[i].output && first[i].bytes() != second[i].bytes())
      result.problem = c.args[i].name + ": two runs of the same call differ";
  return result;
}

std::function<void(HostTensor&, uint64_t)> normal(double sigma) {
  return [=](HostTensor& t, uint64_t seed) { t.fill_normal(seed, sigma); };
}
std::function<void(HostTensor&, uint64_t)> uniform(double low, double high) {
  return [=](HostTensor& t, uint64_t seed) { t.fill_uniform(seed, low, high); };
}
std::function<void(HostTensor&, uint64_t)> all_codes() {
  return [](HostTensor& t, uint64_t seed) { t.fill_codes(seed); };
}
std::function<void(HostTensor&, uint64_t)> constant(double value) {
  return [=](HostTensor& t, uint64_t) { t.fill(value); };
}
std::function<void(HostTensor&, uint64_t)> integers(int64_t low, int64_t high) {
  return [=](HostTensor& t, uint64_t seed) {
    for (int64_t i = 0; i < t.numel(); ++i)
      t.set(i, static_cast<double>(low + static_cast<int64_t>(random_bits(seed, static_cast<uint64_t>(i)) %
                                                              static_cast<uint64_t>(high - low))));
  };
}
std::function<void(HostTensor&, uint64_t)> hard_rows() {
  return [](HostTensor& t, uint64_t seed) {
    t.fill_normal(seed);
    const int64_t width = t.width(), rows = width ? t.numel() / width : 0;
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t first = r * width;
      const int kind = static_cast<int>(r % 9);
      if (kind == 2) t.set(first + width / 2, 1e4);
      if (kind == 3) t.set(first, NAN);
      if (kind == 4) t.set(first + width - 1, INFINITY);
      for (int64_t i = 0; i < width; ++i) {
        if (kind == 1) t.set(first + i, 0.0);
        if (kind == 5) t.set(first + i, 0x1p-140 * static_cast<double>(i % 5));  // zero in 16-bit types
        if (kind == 6) t.set(first + i, 1.25);
        if (kind == 7) t.set(first + i, i % 2 ? -3.0 : 3.0);
        if (kind == 8) t.set(first + i, 1e-8 * t.get(first + i));
      }
    }
  };
}

std::string digest_of(const HostTensor& t) {
  uint64_t h = 0xcbf29ce484222325ull;
  const auto bytes = t.bytes();
  const auto size = static_cast<size_t>(size_of(t.dtype()));
  for (size_t i = 0; i < bytes.size(); ++i) {
    uint8_t byte = bytes[i];
    if (is_float(t.dtype()) && std::isnan(t.get(static_cast<int64_t>(i / size)))) byte = 0xff;
    h = (h ^ byte) * 0x100000001b3ull;
  }
  return fmt::format("{:016x}", h);
}

std::vector<OpCase> small_cases(std::vector<OpCase> cases, int64_t most_elements) {
  std::erase_if(cases, [=](const OpCase& c) {
    int64_t elements = 0;
    for (const auto& arg : c.args) {
      int64_t n = 1;
      for (const int64_t d : arg.shape) n *= d;
      elements += n;
    }
    return elements > most_elements;
  });
  return cases;
}

}  // namespace octavo::harness
