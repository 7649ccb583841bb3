#include "gpu_bench_cases.h"

#include <fmt/format.h>

#include "ops/adamw/adamw_cases.h"
#include "ops/bias_gelu/bias_gelu_cases.h"
#include "ops/embedding/embedding_cases.h"
#include "ops/layer_norm/layer_norm_cases.h"
#include "ops/quantize_rows/quantize_rows_cases.h"
#include "ops/rms_norm/rms_norm_cases.h"
#include "ops/rope/rope_cases.h"
#include "ops/silu_mul/silu_mul_cases.h"

namespace octavo::bench {
namespace {

struct Shape {
  int64_t rows, width;
};
constexpr Shape kLarge[] = {{16384, 8192}, {4096, 32768}, {16384, 4096}, {2048, 4096}, {1024, 131072}};
constexpr Shape kSmall{16, 4096};
constexpr const char* kWhy = "bench";

std::string name_of_shape(const Shape& s) { return fmt::format("{}x{}", s.rows, s.width); }

int index_of(const harness::OpCase& c, const char* arg) {
  for (size_t i = 0; i < c.args.size(); ++i)
    if (c.args[i].name == arg) return static_cast<int>(i);
  return -1;
}

class Table {
 public:
  std::vector<BenchCase> cases;

  void add(const std::string& op, const Shape& s, const std::string& suffix, DType d, harness::OpCase c,
           bool dependent = false) {
    BenchCase b{op, name_of_shape(s) + suffix, octavo::name_of(d), std::move(c), dependent};
    if (dependent)
      b.name += "/dependent", b.swap_from = index_of(b.op_case, "x"), b.swap_to = index_of(b.op_case, "y");
    if (b.swap_to < 0) b.swap_from = -1;
    cases.push_back(std::move(b));
  }
};

void add_norms(Table& t, DType d) {
  struct Policy {
    const char* suffix;
    bool residual, y, codes;
  };
  for (const Policy p : {Policy{"", false, true, false},
                         {"/residual", true, true, false},
                         {"/codes", false, false, true},
                         {"/residual/codes", true, false, true}}) {
    const auto at = [&](const Shape& s) {
      return rms_norm_case({.rows = s.rows,
                            .width = s.width,
                            .dtype = d,
                            .weight_dtype = d,
                            .residual = p.residual,
                            .y = p.y,
                            .codes = p.codes},
                           kWhy);
    };
    for (const Shape& s : kLarge) t.add("rms_norm", s, p.suffix, d, at(s));
    t.add("rms_norm", kSmall, p.suffix, d, at(kSmall), true);
  }
}

void add_layer_norms(Table& t, DType d) {
  for (const bool residual : {false, true})
    for (const bool codes : {false, true}) {
      const std::string suffix = std::string(residual ? "/residual" : "") + (codes ? "/codes" : "");
      const auto at = [&](const Shape& s) {
        return layer_norm_case({.rows = s.rows,
                                .width = s.width,
                                .dtype = d,
                                .weight_dtype = d,
                                .residual = residual,
                                .y = !codes,
                                .codes = codes},
                               kWhy);
      };
      for (const Shape& s : kLarge) t.add("layer_norm", s, suffix, d, at(s));
      t.add("layer_norm", kSmall, suffix, d, at(kSmall), true);
    }
}

void add_gelu(Table& t, DType d) {
  const auto at = [&](const Shape& s, GeluForm form, bool codes) {
    return bias_gelu_case({.rows = s.rows,
                           .width = s.width,
                           .dtype = d,
                           .bias_dtype = d,
                           .form = form,
                           .out = !codes,
                           .codes = codes},
                          kWhy);
  };
  for (const Shape& s : kLarge) {
    t.add("bias_gelu", s, "", d, at(s, GeluForm::erf, false));
    t.add("bias_gelu", s, "/tanh", d, at(s, GeluForm::tanh, false));
    t.add("bias_gelu", s, "/codes", d, at(s, GeluForm::erf, true));
  }
  for (const int64_t tokens : {512, 1024, 2048})  // the seeds' table: B = 2, T = 256, 512, 1024
    for (const int64_t width : {4096, 16384})
      t.add("bias_gelu", {tokens, width}, "/seeds", d, at({tokens, width}, GeluForm::erf, false));
  t.add("bias_gelu", kSmall, "", d, at(kSmall, GeluForm::erf, false), true);
  t.add("bias_gelu", kSmall, "/codes", d, at(kSmall, GeluForm::erf, true), true);
}

void add_adamw(Table& t) {
  const auto add = [&](std::string name, AdamWShape s) {
    BenchCase b{"adamw", std::move(name), octavo::name_of(s.param), adamw_case(s, kWhy)};
    t.cases.push_back(std::move(b));
  };
  for (const int64_t size : {1'000'000, 10'000'000, 50'000'000, 500'000'000})
    add(fmt::format("{}", size), {.widths = {size}});
  add("50000000/bf16", {.widths = {50'000'000}, .param = DType::bf16, .grad = DType::bf16});
  std::vector<int64_t> odd;  // 300 tensors of odd sizes, 50 M in all
  int64_t left = 50'000'000;
  for (int i = 0; i < 299; ++i) odd.push_back((27'001 + i * 7919 % 279'991) | 1), left -= odd.back();
  odd.push_back(left);
  add("50000000/300_tensors", {.widths = odd});
}

void add_quantise(Table& t, DType d) {
  const auto at = [&](const Shape& s) {
    return quantize_rows_case({.rows = s.rows, .width = s.width, .dtype = d}, kWhy);
  };
  for (const Shape& s : kLarge) t.add("quantize_rows", s, "", d, at(s));
  t.add("quantize_rows", kSmall, "", d, at(kSmall), true);
}

void add_silu(Table& t, DType d) {
  const auto at = [&](const Shape& s, GateUpLayout layout, bool codes) {
    return silu_mul_case(
        {.rows = s.rows, .width = s.width, .dtype = d, .out = !codes, .codes = codes, .layout = layout},
        kWhy);
  };
  for (const Shape& s : kLarge) {
    t.add("silu_mul", s, "", d, at(s, GateUpLayout::separate, false));
    t.add("silu_mul", s, "/halves", d, at(s, GateUpLayout::halves, false));
    t.add("silu_mul", s, "/interleaved", d, at(s, GateUpLayout::interleaved, false));
    t.add("silu_mul", s, "/codes", d, at(s, GateUpLayout::separate, true));
  }
  t.add("silu_mul", kSmall, "", d, at(kSmall, GateUpLayout::separate, false), true);
  t.add("silu_mul", kSmall, "/codes", d, at(kSmall, GateUpLayout::separate, true), true);
}

void add_rest(Table& t, DType d) {
  for (const int64_t tokens : {2048, 16384})
    t.add("rope", {tokens, 32 * 128}, "", d,
          rope_case({.tokens = tokens, .heads = 32, .width = 128, .dtype = d}, kWhy));
  for (const int64_t tokens : {2048, 16384})
    t.add(
        "embedding", {tokens, 4096}, "", d,
        embedding_case({.tokens = tokens, .vocabulary = 128256, .width = 4096, .table = d, .out = d}, kWhy));
}

}  // namespace

std::vector<BenchCase> bench_cases() {
  Table t;
  add_norms(t, DType::f16);
  add_layer_norms(t, DType::f16);
  add_quantise(t, DType::f16);
  add_gelu(t, DType::f16);
  add_adamw(t);
  add_silu(t, DType::f16);
  add_rest(t, DType::f16);
  return t.cases;
}

}  // namespace octavo::bench
