#include "gpu/ops_table.h"

#include "gpu/attention_f_on_gpu.h"
#include "gpu/gemm_f_on_gpu.h"
#include "gpu/gemm_w8a16_on_gpu.h"
#include "gpu/gemm_w8a8_on_gpu.h"
#include "ops/adamw/adamw_cases.h"
#include "ops/attention_int8/attention_int8_cases.h"
#include "ops/attention_int8/attention_int8_cuda.h"
#include "ops/bias_gelu/bias_gelu_cases.h"
#include "ops/embedding/embedding_cases.h"
#include "ops/layer_norm/layer_norm_cases.h"
#include "ops/quantize_rows/quantize_rows_cases.h"
#include "ops/rms_norm/rms_norm_cases.h"
#include "ops/rope/rope_cases.h"
#include "ops/silu_mul/silu_mul_cases.h"

namespace octavo::gpu {
namespace {

using harness::OpCase;

// Widths that the CPU's tables have no reason for: multiples of 8 around every boundary of a split over lanes, warps,
// blocks and clusters, and the widest row that is promised.
constexpr int64_t kSplitWidths[] = {8,     16,    24,    40,    72,     120,    136,   248,   264,
                                    504,   520,   1016,  1032,  2040,   2056,   4088,  4104,  5136,
                                    8184,  8200,  12288, 16376, 16384,  16392,  20480, 24568, 32768,
                                    32776, 40000, 65536, 65544, 131064, 131072, 131080};
constexpr const char* kSplitWhy = "a boundary of the split of a row over lanes, warps, blocks or a cluster";
// Rows for clusters that work through several of them: more than three times as many as run at once.
struct ManyRows {
  int64_t rows, width;
};
constexpr ManyRows kManyWideRows[] = {{211, 16392}, {211, 32768}, {107, 65544}, {53, 131072}};
constexpr const char* kManyWhy = "several rows a cluster: slots used again, the last ones partly";
constexpr DType kFloats[] = {DType::f32, DType::f16, DType::bf16};

std::vector<OpCase> rms_norm_on_gpu() {
  auto cases = rms_norm_cases();
  for (const int64_t width : kSplitWidths)
    for (const DType d : kFloats)
      for (const bool residual : {false, true})
        for (const bool codes : {false, true}) {
          RmsNormShape s{.rows = width > 16384 ? 2 : 9,
                         .width = width,
                         .dtype = d,
                         .weight_dtype = d,
                         .residual = residual,
                         .y = !codes || residual,
                         .codes = codes,
                         .hard = width <= 16384};
          cases.push_back(rms_norm_case(s, kSplitWhy));
        }
  for (const auto& [rows, width] : kManyWideRows)
    for (const DType d : {DType::f16, DType::bf16})
      for (const bool residual : {false, true})
        for (const bool codes : {false, true})
          cases.push_back(rms_norm_case({.rows = rows,
                                         .width = width,
                                         .dtype = d,
                                         .weight_dtype = d,
                                         .residual = residual,
                                         .y = !codes || residual,
                                         .codes = codes},
                                        kManyWhy));
  for (const DType d : {DType::f16, DType::bf16})
    cases.push_back(
        rms_norm_case({.rows = 3, .width = 4096, .dtype = d, .weight_dtype = DType::f32, .codes = true},
                      "fp32 weight beside 16-bit rows in registers"));
  cases.push_back(rms_norm_case({.rows = 70001, .width = 16, .dtype = DType::f16, .weight_dtype = DType::f16},
                                "more rows than a grid dimension of 65,535"));
  return cases;
}

std::vector<OpCase> quantize_rows_on_gpu() {
  auto cases = quantize_rows_cases();
  for (const int64_t width : kSplitWidths)
    for (const DType d : kFloats)
      for (const bool code_sum : {false, true})
        cases.push_back(quantize_rows_case({.rows = width > 16384 ? 2 : 9,
                                            .width = width,
                                            .dtype = d,
                                            .code_sum = code_sum,
                                            .padded_width = code_sum ? width + 56 : 0,
                                            .fill = harness::hard_rows(),
                                            .fill_name = "hard",
                                            .pitch = code_sum ? width + 64 : 0},
                                           kSplitWhy));
  return cases;
}

std::vector<OpCase> silu_mul_on_gpu() {
  auto cases = silu_mul_cases();
  for (const int64_t width : kSplitWidths)
    for (const DType d : kFloats)
      for (const auto layout : {GateUpLayout::separate, GateUpLayout::interleaved})
        for (const bool codes : {false, true})
          cases.push_back(silu_mul_case({.rows = width > 16384 ? 2 : 9,
                                         .width = width,
                                         .dtype = d,
                                         .out = !codes,
                                         .codes = codes,
                                         .layout = layout},
                                        kSplitWhy));
  return cases;
}

std::vector<OpCase> layer_norm_on_gpu() {
  auto cases = layer_norm_cases();
  for (const int64_t width : kSplitWidths)
    for (const DType d : kFloats)
      for (const bool residual : {false, true})
        for (const bool codes : {false, true})
          cases.push_back(layer_norm_case({.rows = width > 16384 ? 2 : 9,
                                           .width = width,
                                           .dtype = d,
                                           .weight_dtype = d,
                                           .residual = residual,
                                           .y = !codes || residual,
                                           .codes = codes,
                                           .hard = width <= 16384},
                                          kSplitWhy));
  for (const auto& [rows, width] : kManyWideRows)
    for (const DType d : {DType::f16, DType::bf16})
      for (const bool residual : {false, true})
        for (const bool codes : {false, true})
          cases.push_back(layer_norm_case({.rows = rows,
                                           .width = width,
                                           .dtype = d,
                                           .weight_dtype = d,
                                           .residual = residual,
                                           .y = !codes || residual,
                                           .codes = codes},
                                          kManyWhy));
  return cases;
}

std::vector<OpCase> bias_gelu_on_gpu() {
  auto cases = bias_gelu_cases();
  for (const int64_t width : kSplitWidths)
    for (const DType d : kFloats)
      for (const auto form : {GeluForm::erf, GeluForm::tanh})
        for (const bool codes : {false, true})
          cases.push_back(bias_gelu_case({.rows = width > 16384 ? 2 : 9,
                                          .width = width,
                                          .dtype = d,
                                          .bias_dtype = d,
                                          .form = form,
                                          .out = !codes,
                                          .codes = codes,
                                          .wide_range = width % 16 == 8},
                                         kSplitWhy));
  return cases;
}

std::vector<OpCase> adamw_on_gpu() {
  auto cases = adamw_cases();
  std::vector<int64_t> many;
  for (int64_t i = 0; i < 700; ++i) many.push_back(1 + i * 37 % 301);
  auto s = AdamWShape{.widths = many};
  auto c = adamw_case(s, "more tensors than a table holds: two launches");
  c.name = "1x700_tensors/f32";
  cases.push_back(std::move(c));
  for (const int64_t misalign : {0, 1, 2, 3, 5})
    for (const DType param : {DType::f32, DType::bf16})
      cases.push_back(adamw_case(
          {.widths = {2047, 2048, 2049, 4096, 100003}, .param = param, .grad = param, .misalign = misalign},
          "chunk boundaries, at every alignment"));
  return cases;
}

// The case on the portable kernel, which a Hopper device would not choose.
OpCase attention_int8_on_sm80(const AttentionInt8Shape& s, const char* why) {
  OpCase c = attention_int8_case(s, why);
  c.name += "/sm80";
  c.call = [s](const Context& ctx, harness::CaseTensors t) {
    attention_int8_sm80(ctx, attention_int8_args(s, t));
  };
  return c;
}

// Head dimensions x keys around pages, halves and tiles x rows of one, two and three blocks x masks x kinds of scores.
std::vector<OpCase> attention_int8_on_gpu() {
  auto cases = attention_int8_cases();
  each_attention_int8_shape(
      [&](const AttentionInt8Shape& s, const char* why) { cases.push_back(attention_int8_on_sm80(s, why)); });
  for (const int64_t dim : {16, 32, 48, 64, 80, 96, 112, 128})
    for (const int64_t keys : {1, 17, 64, 100, 128, 129, 200, 256, 257, 300, 511, 513})
      for (const int64_t queries : {3, 65, 130})
        for (const bool causal : {false, true})
          for (const Scores scores : {Scores::random, Scores::equal, Scores::one_hot}) {
            const AttentionInt8Shape s{.q_heads = 1,
                                       .sq = queries,
                                       .sk = keys,
                                       .dim = dim,
                                       .causal = causal,
                                       .out = queries == 65 ? DType::bf16 : DType::f16,
                                       .scores = scores};
            constexpr const char* kWhy = "tiles, masks and head dimensions against each other";
            cases.push_back(attention_int8_case(s, kWhy));
            if (queries == 65) cases.push_back(attention_int8_on_sm80(s, kWhy));
          }
  return cases;
}

}  // namespace

const std::vector<OpEntry>& all_ops() {
  static const std::vector<OpEntry> ops{
      {"adamw", adamw_on_gpu},           {"attention_f", attention_f_on_gpu},
      {"bias_gelu", bias_gelu_on_gpu},   {"attention_int8", attention_int8_on_gpu},
      {"layer_norm", layer_norm_on_gpu}, {"embedding", embedding_cases},
      {"gemm_f", gemm_f_on_gpu},         {"gemm_w8a16", gemm_w8a16_on_gpu},
      {"gemm_w8a8", gemm_w8a8_on_gpu},   {"quantize_rows", quantize_rows_on_gpu},
      {"rms_norm", rms_norm_on_gpu},     {"rope", rope_cases},
      {"silu_mul", silu_mul_on_gpu},
  };
  return ops;
}

}  // namespace octavo::gpu
