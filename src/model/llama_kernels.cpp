// Which kernel serves which call of a Llama: the questions of `octavo explain`, asked of the ops' own dispatch tables with
// tensors that have shapes and no memory.
#include <fmt/format.h>

#include "model/llama.h"
#include "octavo/ops.h"

namespace octavo {
namespace {

struct Product {
  const char* what;
  int64_t n, k;
};

KernelChoice product_choice(const Context& ctx, const Product& p, int64_t m, bool int8_weights, bool int8_activations, DType floats) {
  const std::string shape = fmt::format("{}x{}x{}", m, p.n, p.k);
  const ConstTensor x(nullptr, DType::f32, {m, p.k});
  const Tensor y(nullptr, DType::f32, {m, p.n});
  const ConstTensor codes(nullptr, DType::i8, {p.n, p.k}, {int8_pitch(p.k), 1}), per_row(nullptr, DType::f32, {p.n});
  if (int8_activations)
    return {"gemm_w8a8", p.what, shape,
            gemm_w8a8_variant(ctx, {.x = ConstTensor(nullptr, DType::i8, {m, p.k}, {int8_pitch(p.k), 1}),
                                    .x_scale = ConstTensor(nullptr, DType::f32, {m}), .w = codes, .w_scale = per_row,
                                    .w_code_sum = ConstTensor(nullptr, DType::i32, {p.n}), .y = y})};
  if (int8_weights) return {"gemm_w8a16", p.what, shape, gemm_w8a16_variant(ctx, {.x = x, .w = codes, .w_scale = per_row, .y = y})};
  return {"gemm_f", p.what, shape, gemm_f_variant(ctx, {.x = x, .w = ConstTensor(nullptr, floats, {p.n, p.k}), .y = y})};
}

}  // namespace

std::vector<KernelChoice> LlamaModel::kernels(const ModelConfig& c, Quantization quantization, const Context& ctx, Phase phase,
                                              int64_t tokens, int64_t length, const KvCacheShape& cache) {
  const bool int8_weights = quantization != Quantization::none;
  const bool codes = quantization == Quantization::w8a8 || (quantization == Quantization::auto_ && phase == Phase::prefill);
  const DType floats = c.dtype == "bfloat16" ? DType::bf16 : c.dtype == "float16" ? DType::f16 : DType::f32;
  const int64_t t = tokens, qkv_width = c.q_width() + 2 * c.kv_width();
  const auto rows = [&](int64_t n, int64_t width) { return fmt::format("{}x{}", n, width); };
  const auto matrix = [](int64_t n, int64_t width) { return Tensor(nullptr, DType::f32, {n, width}); };

  std::vector<KernelChoice> list;
  list.push_back({"embedding", "token rows", rows(t, c.hidden),
                  embedding_variant(ctx, {.table = ConstTensor(nullptr, int8_weights ? DType::i8 : floats, {c.vocab, c.hidden}),
                                          .ids = ConstTensor(nullptr, DType::i32, {t}), .out = matrix(t, c.hidden)})});
  RmsNormArgs norm{.x = matrix(t, c.hidden), .residual = matrix(t, c.hidden), .weight = ConstTensor(nullptr, DType::f32, {c.hidden}),
                   .u = matrix(t, c.hidden)};
  if (codes) norm.y_codes = Tensor(nullptr, DType::i8, {t, c.hidden}, {int8_pitch(c.hidden), 1}), norm.y_scale = Tensor(nullptr, DType::f32, {t});
  else norm.y = matrix(t, c.hidden);
  list.push_back({"rms_norm", codes ? "residual in, INT8 out" : "residual in", rows(t, c.hidden), rms_norm_variant(ctx, norm)});
  list.push_back(product_choice(ctx, {"q, k, v", qkv_width, c.hidden}, t, int8_weights, codes, floats));

  const Tensor q(nullptr, DType::f32, {t, c.heads, c.head_dim}, {qkv_width, c.head_dim, 1});
  const Tensor k(nullptr, DType::f32, {t, c.kv_heads, c.head_dim}, {qkv_width, c.head_dim, 1});
  const ConstTensor positions(nullptr, DType::i32, {t}), inv_freq(nullptr, DType::f32, {c.head_dim / 2});
  list.push_back({"rope", "q", fmt::format("{}x{}x{}", t, c.heads, c.head_dim),
                  rope_variant(ctx, {.x = q, .out = q, .positions = positions, .inv_freq = inv_freq})});
  KvView kv = KvView::paged(cache.dtype, nullptr, nullptr, c.kv_heads, c.head_dim, cache.pages_per_sequence());
  list.push_back({"kv_append", fmt::format("{} cache", name_of(cache.dtype)), fmt::format("{}x{}x{}", t, c.kv_heads, c.head_dim),
                  kv_append_variant(ctx, {.k = k, .v = k, .positions = positions, .cache = kv})});
  const int32_t q_start[2] = {0, static_cast<int32_t>(t)}, kv_len[1] = {static_cast<int32_t>(length)};
  AttentionFArgs attention;
  attention.q = q, attention.kv = kv, attention.out = Tensor(nullptr, DType::f32, {t, c.heads, c.head_dim});
  attention.q_start = ConstTensor::of(q_start, {2}), attention.kv_len = ConstTensor::of(kv_len, {1});
  list.push_back({"attention_f", fmt::format("{} cache", name_of(cache.dtype)),
                  fmt::format("1x{}x{}x{}x{}x{}", c.heads, c.kv_heads, t, length, c.head_dim), attention_f_variant(ctx, attention)});
  if (codes)
    list.push_back({"quantize_rows", "attended", rows(t, c.q_width()),
                    quantize_rows_variant(ctx, {.x = matrix(t, c.q_width()), .codes = Tensor(nullptr, DType::i8, {t, c.q_width()}),
                                                .scale = Tensor(nullptr, DType::f32, {t})})});
  list.push_back(product_choice(ctx, {"attention out", c.hidden, c.q_width()}, t, int8_weights, codes, floats));
  list.push_back(product_choice(ctx, {"gate, up", 2 * c.ffn, c.hidden}, t, int8_weights, codes, floats));
  const ConstTensor half(nullptr, DType::f32, {t, c.ffn}, {2 * c.ffn, 1});
  SiluMulArgs silu{.gate = half, .up = half};
  if (codes) silu.out_codes = Tensor(nullptr, DType::i8, {t, c.ffn}, {int8_pitch(c.ffn), 1}), silu.out_scale = Tensor(nullptr, DType::f32, {t});
  else silu.out = matrix(t, c.ffn);
  list.push_back({"silu_mul", codes ? "INT8 out" : "floats out", rows(t, c.ffn), silu_mul_variant(ctx, silu)});
  list.push_back(product_choice(ctx, {"down", c.hidden, c.ffn}, t, int8_weights, codes, floats));
  list.push_back(product_choice(ctx, {"head", c.vocab, c.hidden}, 1, int8_weights, codes, floats));
  return list;
}

}  // namespace octavo
