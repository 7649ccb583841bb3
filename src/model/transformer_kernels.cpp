// Which kernel serves which call of a model: the questions of `octavo explain`, asked of the ops' own dispatch tables.
// Tensors that no validation looks into have a shape and an address, but no memory behind it.
#include <fmt/format.h>

#include <atomic>

#include "model/transformer.h"
#include "octavo/ops.h"

namespace octavo {
namespace {

// An address that nothing reads, another at every call: ops refuse arguments that share memory.
void* unread_address() {
  static std::atomic<uintptr_t> next{0};
  return reinterpret_cast<void*>((++next % 1024 + 1) << 36);
}

Tensor shaped(DType dtype, std::initializer_list<int64_t> shape) {
  return Tensor(unread_address(), dtype, shape);
}
Tensor shaped(DType dtype, std::initializer_list<int64_t> shape, std::initializer_list<int64_t> strides) {
  return Tensor(unread_address(), dtype, shape, strides);
}

struct Asker {
  const ModelConfig& c;
  const Context& ctx;
  bool int8_weights, int8_activations;
  DType floats;  // of weights that stay floats
  std::vector<KernelChoice> answers;

  void note(std::string op, std::string what, std::string shape, KernelInfo kernel) {
    answers.push_back({std::move(op), std::move(what), std::move(shape), kernel.variant, kernel.why});
  }

  void product(const char* what, int64_t m, int64_t n, int64_t k) {
    const std::string shape = fmt::format("{}x{}x{}", m, n, k);
    const Tensor y = shaped(DType::f32, {m, n}), x = shaped(DType::f32, {m, k}),
                 scale = shaped(DType::f32, {n});
    const Tensor codes = shaped(DType::i8, {n, k}, {int8_pitch(k), 1});
    if (int8_activations)
      note("gemm_w8a8", what, shape,
           gemm_w8a8_variant(ctx, {.x = shaped(DType::i8, {m, k}, {int8_pitch(k), 1}),
                                   .x_scale = shaped(DType::f32, {m}),
                                   .w = codes,
                                   .w_scale = scale,
                                   .w_code_sum = shaped(DType::i32, {n}),
                                   .y = y}));
    else if (int8_weights)
      note("gemm_w8a16", what, shape,
           gemm_w8a16_variant(ctx, {.x = x, .w = codes, .w_scale = scale, .y = y}));
    else
      note("gemm_f", what, shape, gemm_f_variant(ctx, {.x = x, .w = shaped(floats, {n, k}), .y = y}));
  }

  // "rms_norm" or "layer_norm" of [t, hidden].
  void norm(int64_t t) {
    const Tensor x = shaped(DType::f32, {t, c.hidden}), weight = shaped(DType::f32, {c.hidden});
    Tensor y, codes, scale;
    if (int8_activations)
      codes = shaped(DType::i8, {t, c.hidden}, {int8_pitch(c.hidden), 1}), scale = shaped(DType::f32, {t});
    else
      y = shaped(DType::f32, {t, c.hidden});
    const bool rms = c.norm == NormKind::rms;
    note(rms ? "rms_norm" : "layer_norm", int8_activations ? "to INT8" : "to f32",
         fmt::format("{}x{}", t, c.hidden),
         rms ? rms_norm_variant(ctx, {.x = x, .weight = weight, .y = y, .y_codes = codes, .y_scale = scale})
             : layer_norm_variant(
                   ctx,
                   {.x = x, .weight = weight, .bias = weight, .y = y, .y_codes = codes, .y_scale = scale}));
  }

  void gelu(int64_t t) {
    BiasGeluArgs args{.x = shaped(DType::f32, {t, c.ffn})};
    if (int8_activations)
      args.out_codes = shaped(DType::i8, {t, c.ffn}, {int8_pitch(c.ffn), 1}),
      args.out_scale = shaped(DType::f32, {t});
    else
      args.out = shaped(DType::f32, {t, c.ffn});
    note("bias_gelu", int8_activations ? "to INT8" : "to f32", fmt::format("{}x{}", t, c.ffn),
         bias_gelu_variant(ctx, args));
  }

  void silu(int64_t t) {
    const Tensor half = shaped(DType::f32, {t, c.ffn}, {2 * c.ffn, 1});
    SiluMulArgs args{.gate = half, .up = half};
    if (int8_activations)
      args.out_codes = shaped(DType::i8, {t, c.ffn}, {int8_pitch(c.ffn), 1}),
      args.out_scale = shaped(DType::f32, {t});
    else
      args.out = shaped(DType::f32, {t, c.ffn});
    note("silu_mul", int8_activations ? "to INT8" : "to f32", fmt::format("{}x{}", t, c.ffn),
         silu_mul_variant(ctx, args));
  }

  void attention(int64_t t, int64_t length, const KvCacheShape& cache) {
    const int64_t row = c.qkv_width(),
                  head = c.qkv_layout == QkvLayout::stacked ? c.head_dim : 3 * c.head_dim;
    const std::vector<int32_t> zeros(static_cast<size_t>(t), 0);  // positions that are valid
    const ConstTensor positions = ConstTensor::of(zeros.data(), {t});
    const Tensor q = shaped(DType::f32, {t, c.heads, c.head_dim}, {row, head, 1});
    const Tensor k = shaped(DType::f32, {t, c.kv_heads, c.head_dim}, {row, head, 1});
    const std::string q_shape = fmt::format("{}x{}x{}", t, c.heads, c.head_dim);
    if (c.qk_norm) {
      const Tensor heads = shaped(DType::f32, {c.heads, c.head_dim});
      note("rms_norm", "q heads", q_shape,
           rms_norm_variant(ctx, {.x = heads, .weight = shaped(DType::f32, {c.head_dim}), .y = heads}));
    }
    if (c.positions == PositionKind::rotary)
      note("rope", "q", q_shape,
           rope_variant(ctx, {.x = q,
                              .out = q,
                              .positions = positions,
                              .inv_freq = shaped(DType::f32, {c.rotary_dim() / 2})}));

    KvView kv = KvView::paged(c.encoder ? DType::f32 : cache.dtype, unread_address(), unread_address(),
                              c.kv_heads, c.head_dim, cache.pages_per_sequence());
    if (kv.dtype == DType::i8)
      kv.k_scale = static_cast<float*>(unread_address()), kv.v_scale = static_cast<float*>(unread_address());
    const std::string what = c.encoder ? "both ways" : fmt::format("{} cache", name_of(kv.dtype));
    if (!c.encoder)
      note("kv_append", what, fmt::format("{}x{}x{}", t, c.kv_heads, c.head_dim),
           kv_append_variant(ctx, {.k = k, .v = k, .positions = positions, .cache = kv}));

    const int32_t q_start[2] = {0, static_cast<int32_t>(t)}, kv_len[1] = {static_cast<int32_t>(length)};
    AttentionFArgs args;
    args.q = q, args.kv = kv, args.out = shaped(DType::f32, {t, c.heads, c.head_dim});
    args.q_start = ConstTensor::of(q_start, {2}), args.kv_len = ConstTensor::of(kv_len, {1});
    note("attention_f", what, fmt::format("1x{}x{}x{}x{}x{}", c.heads, c.kv_heads, t, length, c.head_dim),
         attention_f_variant(ctx, args));
    if (int8_activations)
      note("quantize_rows", "attended", fmt::format("{}x{}", t, c.q_width()),
           quantize_rows_variant(ctx,
                                 {.x = shaped(DType::f32, {t, c.q_width()}),
                                  .codes = shaped(DType::i8, {t, c.q_width()}, {int8_pitch(c.q_width()), 1}),
                                  .scale = shaped(DType::f32, {t})}));
  }

  void embedded(int64_t t) {
    const std::vector<int32_t> zeros(static_cast<size_t>(t), 0);  // ids that are valid
    EmbeddingArgs args{.table = shaped(int8_weights ? DType::i8 : floats, {c.vocab, c.hidden}),
                       .ids = ConstTensor::of(zeros.data(), {t}),
                       .out = shaped(DType::f32, {t, c.hidden})};
    if (int8_weights) args.table_scale = shaped(DType::f32, {c.vocab});
    note("embedding", "token rows", fmt::format("{}x{}", t, c.hidden), embedding_variant(ctx, args));
  }
};

}  // namespace

std::vector<KernelChoice> Transformer::kernels(const ModelConfig& c, Quantization quantization,
                                               const Context& ctx, Phase phase, int64_t tokens,
                                               int64_t length, const KvCacheShape& cache) {
  const bool codes =
      quantization == Quantization::w8a8 || (quantization == Quantization::auto_ && phase == Phase::prefill);
  Asker ask{.c = c,
            .ctx = ctx,
            .int8_weights = quantization != Quantization::none,
            .int8_activations = codes,
            .floats = c.float_dtype(),
            .answers = {}};
  ask.embedded(tokens);
  ask.norm(tokens);
  ask.product("q, k, v", tokens, c.qkv_width(), c.hidden);
  ask.attention(tokens, c.encoder ? tokens : length, cache);
  ask.product("attention out", tokens, c.hidden, c.q_width());
  ask.product(c.gated() ? "gate, up" : "up", tokens, c.mlp_in_width(), c.hidden);
  c.gated() ? ask.silu(tokens) : ask.gelu(tokens);
  ask.product("down", tokens, c.hidden, c.ffn);
  if (!c.encoder) ask.product("head", 1, c.vocab, c.hidden);
  return std::move(ask.answers);
}

}  // namespace octavo
