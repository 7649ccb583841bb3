#include "model/transformer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "model/transformer_slots.h"
#include "octavo/ops.h"

namespace octavo {
namespace {

// Tokens first .. end of x [T, H, D].
Tensor tokens_of(const Tensor& x, int64_t first, int64_t end) {
  return Tensor(x.as<float>() + first * x.stride(0), DType::f32, {end - first, x.dim(1), x.dim(2)},
                {x.stride(0), x.stride(1), 1});
}

AttentionFArgs attention_args(const ModelConfig& c, ConstTensor q, const KvView& kv, ConstTensor q_start,
                              ConstTensor kv_len, Tensor out) {
  AttentionFArgs args;
  args.q = q, args.kv = kv, args.q_start = q_start, args.kv_len = kv_len, args.out = out;
  args.causal = !c.encoder;
  args.scale = 1.0f / std::sqrt(static_cast<float>(c.head_dim));
  return args;
}

}  // namespace

const char* name_of(Quantization q) {
  switch (q) {
    case Quantization::none: return "none";
    case Quantization::w8a16: return "w8a16";
    case Quantization::w8a8: return "w8a8";
    default: return "auto";
  }
}

Quantization parse_quantization(const std::string& name) {
  if (name == "int8") return Quantization::auto_;
  for (Quantization q : {Quantization::none, Quantization::w8a16, Quantization::w8a8, Quantization::auto_})
    if (name == name_of(q)) return q;
  throw Error(ErrorKind::usage,
              fmt::format("--quantization {}: unknown; known are auto, none, w8a16, w8a8", name));
}

Tensor Transformer::slot(int index, std::initializer_list<int64_t> shape) const {
  return Tensor(scratch_[static_cast<size_t>(index)].data(), DType::f32, shape);
}

Transformer::Activation Transformer::activation(int float_slot, int64_t tokens, int64_t width,
                                                Phase phase) const {
  Activation a;
  if (!int8_activations(phase)) {
    a.values = slot(float_slot, {tokens, width});
    return a;
  }
  a.codes = Tensor(scratch_[kCodes].data(), DType::i8, {tokens, width}, {int8_pitch(width), 1});
  a.scale = slot(kScales, {tokens});
  return a;
}

// y = x w^T + bias by the product that the weight's storage and the activation's type ask for.
void Transformer::linear(const Context& ctx, const LinearWeight& w, const Activation& x, Tensor y) const {
  if (observer_ && x.values) observer_->see(ctx, w, x.values);
  if (x.codes)
    gemm_w8a8(ctx, {.x = x.codes,
                    .x_scale = x.scale,
                    .w = w.w(),
                    .w_scale = w.w_scale(),
                    .w_code_sum = w.w_code_sum(),
                    .bias = w.bias(),
                    .y = y});
  else if (w.storage == Storage::int8)
    gemm_w8a16(ctx, {.x = x.values, .w = w.w(), .w_scale = w.w_scale(), .bias = w.bias(), .y = y});
  else
    gemm_f(ctx, {.x = x.values, .w = w.w(), .bias = w.bias(), .y = y});
}

// y = norm(x), or u = x + residual and y = norm(u).
void Transformer::norm(const Context& ctx, const Norm& weights, ConstTensor x, ConstTensor residual, Tensor u,
                       const Activation& y) const {
  if (config_.norm == NormKind::rms)
    rms_norm(ctx, {.x = x,
                   .residual = residual,
                   .weight = weights.weight.view(),
                   .eps = config_.norm_eps,
                   .u = u,
                   .y = y.values,
                   .y_codes = y.codes,
                   .y_scale = y.scale});
  else
    layer_norm(ctx, {.x = x,
                     .residual = residual,
                     .weight = weights.weight.view(),
                     .bias = weights.bias.view(),
                     .eps = config_.norm_eps,
                     .u = u,
                     .y = y.values,
                     .y_codes = y.codes,
                     .y_scale = y.scale});
}

// Adds what is pending to the stream, and normalises it.
Transformer::Activation Transformer::add_norm(const Context& ctx, const Norm& weights, const Residual& x,
                                              Phase phase) const {
  const Activation h = activation(kHidden, x.stream.dim(0), config_.hidden, phase);
  norm(ctx, weights, x.stream, x.pending ? ConstTensor(x.delta) : ConstTensor(),
       x.pending ? x.stream : Tensor(), h);
  return h;
}

// stream = norm(stream + delta), which is also what the next product reads.
Transformer::Activation Transformer::post_norm(const Context& ctx, const Norm& weights, const Residual& x,
                                               Phase phase) const {
  Activation h = activation(kStream, x.stream.dim(0), config_.hidden, phase);
  Activation both = h;
  both.values = x.stream;
  norm(ctx, weights, x.stream, x.delta, x.delta, both);
  return h;
}

// An RMS norm of every head. [T, H, D] has two strides and a row of the op one: a call for each token or for each
// head, whichever are fewer.
void Transformer::norm_heads(const Context& ctx, const FloatVector& weight, Tensor heads) const {
  const bool by_token = heads.dim(0) < heads.dim(1);
  const int calls = by_token ? 0 : 1, rows = 1 - calls;
  for (int64_t i = 0; i < heads.dim(calls); ++i) {
    const Tensor x(heads.as<float>() + i * heads.stride(calls), DType::f32, {heads.dim(rows), heads.dim(2)},
                   {heads.stride(rows), 1});
    rms_norm(ctx, {.x = x, .weight = weight.view(), .eps = config_.norm_eps, .y = x});
  }
}

// Frequencies that change with the length of a sequence are its own; else all tokens share them.
void Transformer::find_rotary_runs(const Batch& batch) {
  if (config_.positions != PositionKind::rotary) return;
  const auto pairs = static_cast<size_t>(config_.rotary_dim() / 2);
  const bool by_sequence = config_.rope_scaling.depends_on_length();
  const size_t runs = by_sequence ? batch.kv_len.size() : 1;
  if (by_sequence || inv_freq_.empty()) {
    inv_freq_.clear();
    for (size_t b = 0; b < runs; ++b) {
      const std::vector<float> row = rope_inv_freq(config_, by_sequence ? batch.kv_len[b] : 0);
      inv_freq_.insert(inv_freq_.end(), row.begin(), row.end());
    }
  }
  rotary_runs_.clear();
  for (size_t b = 0; b < runs; ++b)
    rotary_runs_.push_back({by_sequence ? batch.q_start[b] : 0,
                            by_sequence ? batch.q_start[b + 1] : static_cast<int64_t>(batch.ids.size()),
                            ConstTensor::of(inv_freq_.data() + b * pairs, {static_cast<int64_t>(pairs)})});
}

void Transformer::rotate(const Context& ctx, const Batch& batch, Tensor heads) const {
  for (const RotaryRun& run : rotary_runs_) {
    const Tensor x = tokens_of(heads, run.first, run.end);
    rope(ctx, {.x = x,
               .out = x,
               .positions = ConstTensor::of(batch.positions.data() + run.first, {run.end - run.first}),
               .inv_freq = run.inv_freq,
               .attention_factor = config_.rope_scaling.attention_factor});
  }
}

// Appends k and v to the cache and attends to it.
void Transformer::attend_cached(const Context& ctx, const Batch& batch, size_t index, const KvView& kv,
                                ConstTensor q, ConstTensor k, ConstTensor v, Tensor out) const {
  const int64_t t = q.dim(0), b = static_cast<int64_t>(batch.kv_len.size());
  kv_append(ctx, {.k = k,
                  .v = v,
                  .sequences = ConstTensor::of(batch.sequences.data(), {t}),
                  .positions = ConstTensor::of(batch.positions.data(), {t}),
                  .cache = kv});
  AttentionFArgs args = attention_args(config_, q, kv, ConstTensor::of(batch.q_start.data(), {b + 1}),
                                       ConstTensor::of(batch.kv_len.data(), {b}), out);
  args.window = config_.window(static_cast<int64_t>(index));
  attention_f(ctx, args);
}

// Every token of a sequence sees all of it: k and v are read where the product left them.
void Transformer::attend_both_ways(const Context& ctx, const Batch& batch, ConstTensor q, Tensor k, Tensor v,
                                   Tensor out) const {
  for (size_t b = 0; b + 1 < batch.q_start.size(); ++b) {
    const int64_t first = batch.q_start[b], end = batch.q_start[b + 1];
    const int32_t q_start[2] = {0, static_cast<int32_t>(end - first)}, kv_len[1] = {q_start[1]};
    KvView kv;
    kv.k = k.as<float>() + first * k.stride(0), kv.v = v.as<float>() + first * v.stride(0);
    kv.heads = k.dim(1), kv.head_dim = k.dim(2);
    kv.token_stride = k.stride(0), kv.head_stride = k.stride(1);
    kv.page_stride = KvView::kPageTokens * kv.token_stride;
    kv.pages_per_sequence = round_up(end - first, KvView::kPageTokens) / KvView::kPageTokens;
    const ConstTensor rows(q.as<float>() + first * q.stride(0), DType::f32, {end - first, q.dim(1), q.dim(2)},
                           {q.stride(0), q.stride(1), 1});
    attention_f(ctx, attention_args(config_, rows, kv, ConstTensor::of(q_start, {2}),
                                    ConstTensor::of(kv_len, {1}), tokens_of(out, first, end)));
  }
}

void Transformer::attention(const Context& ctx, const Batch& batch, size_t index, const KvView& kv,
                            const Activation& h, Tensor delta) const {
  const ModelConfig& c = config_;
  const Layer& layer = layers_[index];
  const int64_t t = delta.dim(0), row = c.qkv_width(), d = c.head_dim;
  const Tensor qkv = slot(kQkv, {t, row});
  linear(ctx, layer.qkv, h, qkv);

  float* base = qkv.as<float>();
  const bool stacked = c.qkv_layout == QkvLayout::stacked;
  const int64_t head = stacked ? d : 3 * d;  // from a head to the next
  const Tensor q(base, DType::f32, {t, c.heads, d}, {row, head, 1});
  const Tensor k(base + (stacked ? c.q_width() : d), DType::f32, {t, c.kv_heads, d}, {row, head, 1});
  const Tensor v(base + (stacked ? c.q_width() + c.kv_width() : 2 * d), DType::f32, {t, c.kv_heads, d},
                 {row, head, 1});
  if (c.qk_norm) norm_heads(ctx, layer.q_norm, q), norm_heads(ctx, layer.k_norm, k);
  if (c.positions == PositionKind::rotary) rotate(ctx, batch, q), rotate(ctx, batch, k);

  const Tensor attended = slot(kAttended, {t, c.heads, d});
  c.encoder ? attend_both_ways(ctx, batch, q, k, v, attended)
            : attend_cached(ctx, batch, index, kv, q, k, v, attended);

  Activation to_out = activation(kAttended, t, c.q_width(), batch.phase);
  if (to_out.codes)
    quantize_rows(ctx,
                  {.x = slot(kAttended, {t, c.q_width()}), .codes = to_out.codes, .scale = to_out.scale});
  linear(ctx, layer.out, to_out, delta);
}

void Transformer::feed_forward(const Context& ctx, const Layer& layer, Phase phase, const Activation& h,
                               Tensor delta) const {
  const int64_t t = delta.dim(0), ffn = config_.ffn, width = config_.mlp_in_width();
  const Tensor in = slot(kMlpIn, {t, width});
  linear(ctx, layer.mlp_in, h, in);
  const Activation activated = activation(config_.gated() ? kMlp : kMlpIn, t, ffn, phase);
  if (config_.gated())
    silu_mul(ctx, {.gate = ConstTensor(in.data(), DType::f32, {t, ffn}, {width, 1}),
                   .up = ConstTensor(in.as<float>() + ffn, DType::f32, {t, ffn}, {width, 1}),
                   .out = activated.values,
                   .out_codes = activated.codes,
                   .out_scale = activated.scale});
  else  // the product has added the bias
    bias_gelu(ctx, {.x = in,
                    .form = config_.mlp == MlpKind::gelu_tanh ? GeluForm::tanh : GeluForm::erf,
                    .out = activated.values,
                    .out_codes = activated.codes,
                    .out_scale = activated.scale});
  linear(ctx, layer.mlp_out, activated, delta);
}

void Transformer::block(const Context& ctx, const Batch& batch, size_t index, const KvView& kv,
                        Residual& x) const {
  const Layer& layer = layers_[index];
  const bool parallel = config_.residual == ResidualKind::parallel;
  const Tensor attended = parallel ? slot(kBranch, {x.stream.dim(0), config_.hidden}) : x.delta;
  attention(ctx, batch, index, kv, add_norm(ctx, layer.attention_norm, x, batch.phase), attended);
  x.pending = !parallel;  // both norms of a parallel block read the stream as it comes in
  feed_forward(ctx, layer, batch.phase, add_norm(ctx, layer.mlp_norm, x, batch.phase), x.delta);
  x.pending = true;
  if (!parallel) return;
  // NOTE: two sums are due and the next norm makes one: this one is for its sum only.
  Activation unused;
  unused.values = slot(kHidden, {x.stream.dim(0), config_.hidden});
  norm(ctx, layer.mlp_norm, x.stream, attended, x.stream, unused);
}

// The caller's context with the model's scratch, after checking that the batch fits it.
Context Transformer::begin(const Context& caller, const Batch& batch, int64_t logit_rows) {
  const int64_t t = static_cast<int64_t>(batch.ids.size());
  if (t > max_tokens_ || logit_rows > max_logit_rows_)
    throw Error(ErrorKind::usage,
                fmt::format("forward: {} tokens with {} rows of logits, reserved for {} and {}", t,
                            logit_rows, max_tokens_, max_logit_rows_));
  Context ctx = caller;
  ctx.workspace = Tensor(scratch_[kWorkspace].data(), DType::u8, {scratch_[kWorkspace].bytes()});
  find_rotary_runs(batch);
  return ctx;
}

// Token embeddings; where positions are learned, their rows are the first delta.
Transformer::Residual Transformer::embed(const Context& ctx, const Batch& batch) const {
  const ModelConfig& c = config_;
  const int64_t t = static_cast<int64_t>(batch.ids.size());
  Residual x{.stream = slot(kStream, {t, c.hidden}), .delta = slot(kDelta, {t, c.hidden})};
  embedding(ctx, {.table = embedding_.w(),
                  .table_scale = embedding_.w_scale(),
                  .ids = ConstTensor::of(batch.ids.data(), {t}),
                  .out = x.stream});
  if (c.positions != PositionKind::learned) return x;
  const int32_t* rows = batch.positions.data();
  if (c.token_types > 0) {
    auto* at = static_cast<int32_t*>(scratch_[kPositionRows].data());
    for (size_t i = 0; i < batch.ids.size(); ++i) {
      const int32_t type = batch.token_types.empty() ? 0 : batch.token_types[i],
                    position = batch.positions[i];
      if (type < 0 || type >= c.token_types || position < 0 || position >= c.max_positions)
        throw Error(
            ErrorKind::usage,
            fmt::format("encode: token {} has type {} and position {}; the model knows types below {} and "
                        "positions below {}",
                        i, type, position, c.token_types, c.max_positions));
      at[i] = type * static_cast<int32_t>(c.max_positions) + position;
    }
    rows = at;
  }
  embedding(ctx, {.table = positions_.w(), .ids = ConstTensor::of(rows, {t}), .out = x.delta});
  x.pending = true;
  return x;
}

ConstTensor Transformer::forward(const Context& caller, const Batch& batch, KvCache& cache) {
  const ModelConfig& c = config_;
  if (c.encoder)
    throw Error(ErrorKind::usage, c.architecture + " is an encoder: it has hidden states and no logits");
  const int64_t rows = static_cast<int64_t>(batch.ids.size()) - batch.first_logit_row;
  const Context ctx = begin(caller, batch, rows);
  Residual x = embed(ctx, batch);
  for (size_t l = 0; l < layers_.size(); ++l) block(ctx, batch, l, cache.layer(static_cast<int64_t>(l)), x);

  const int64_t first = batch.first_logit_row * c.hidden;
  x.stream = Tensor::of(x.stream.as<float>() + first, {rows, c.hidden});
  x.delta = Tensor::of(x.delta.as<float>() + first, {rows, c.hidden});
  const Activation last = add_norm(ctx, final_norm_, x, batch.phase);
  const Tensor logits = slot(kLogits, {rows, c.vocab});
  linear(ctx, c.tied_embeddings ? embedding_ : head_, last, logits);
  return logits;
}

ConstTensor Transformer::encode(const Context& caller, const Batch& batch) {
  if (!config_.encoder)
    throw Error(ErrorKind::usage,
                config_.architecture + " is a decoder: it has logits, encode() serves encoders");
  const Context ctx = begin(caller, batch, 0);
  Residual x = embed(ctx, batch);
  Activation h = post_norm(ctx, embedding_norm_, x, batch.phase);
  for (size_t l = 0; l < layers_.size(); ++l) {
    attention(ctx, batch, l, KvView(), h, x.delta);
    h = post_norm(ctx, layers_[l].attention_norm, x, batch.phase);
    feed_forward(ctx, layers_[l], batch.phase, h, x.delta);
    h = post_norm(ctx, layers_[l].mlp_norm, x, batch.phase);
  }
  return x.stream;
}

}  // namespace octavo
