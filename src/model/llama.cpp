#include "model/llama.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "octavo/ops.h"

namespace octavo {
namespace {

// Scratch of the forward pass. Sub-layers share what is never alive together.
enum Slot {
  kStream,
  kDelta,
  kHidden,
  kQkv,
  kAttended,
  kGateUp,
  kFfn,
  kCodes,
  kScales,
  kLogits,
  kWorkspace,
  kSlots
};
constexpr const char* kSlotNames[kSlots] = {
    "residual stream",  "sub-layer output",  "normalised", "q, k, v",  "attended", "gate, up", "ffn",
    "activation codes", "activation scales", "logits",     "workspace"};

Storage storage_of(Quantization q) { return q == Quantization::none ? Storage::floats : Storage::int8; }

DType float_dtype_of(const ModelConfig& c) {
  if (c.dtype == "bfloat16") return DType::bf16;
  if (c.dtype == "float16") return DType::f16;
  return DType::f32;
}

AttentionFArgs attention_args(const ModelConfig& c, ConstTensor q, const KvView& kv, ConstTensor q_start,
                              ConstTensor kv_len, Tensor out) {
  AttentionFArgs args;
  args.q = q, args.kv = kv, args.q_start = q_start, args.kv_len = kv_len, args.out = out;
  args.causal = true;
  args.scale = 1.0f / std::sqrt(static_cast<float>(c.head_dim));
  return args;
}

// The largest scratch of any op, by asking the ops themselves about the largest calls the model will make.
int64_t workspace_bytes(const ModelConfig& c, const Context& ctx, int64_t max_tokens,
                        const KvCacheShape& cache) {
  int64_t bytes = 0;
  KvView kv =
      KvView::paged(cache.dtype, nullptr, nullptr, c.kv_heads, c.head_dim, cache.pages_per_sequence());
  for (int64_t tokens : {int64_t{1}, max_tokens}) {
    const std::array<int32_t, 2> q_start = {0, static_cast<int32_t>(tokens)};
    const std::array<int32_t, 1> kv_len = {static_cast<int32_t>(cache.tokens)};
    const ConstTensor q(nullptr, DType::f32, {tokens, c.heads, c.head_dim});
    bytes =
        std::max(bytes, attention_f_workspace_bytes(
                            ctx, attention_args(c, q, kv, ConstTensor::of(q_start.data(), {2}),
                                                ConstTensor::of(kv_len.data(), {1}),
                                                Tensor(nullptr, DType::f32, {tokens, c.heads, c.head_dim}))));
    for (const auto& [n, k] :
         {std::pair{c.q_width() + 2 * c.kv_width(), c.hidden}, std::pair{c.hidden, c.q_width()},
          std::pair{2 * c.ffn, c.hidden}, std::pair{c.hidden, c.ffn}, std::pair{c.vocab, c.hidden}}) {
      GemmW8A8Args gemm;
      gemm.x = ConstTensor(nullptr, DType::i8, {tokens, k});
      gemm.w = ConstTensor(nullptr, DType::i8, {n, k}, {int8_pitch(k), 1});
      gemm.y = Tensor(nullptr, DType::f32, {tokens, n});
      bytes = std::max(bytes, gemm_w8a8_workspace_bytes(ctx, gemm));
    }
  }
  return bytes;
}

std::array<int64_t, kSlots> slot_bytes(const ModelConfig& c, Quantization q, const Context& ctx,
                                       int64_t max_tokens, int64_t max_logit_rows,
                                       const KvCacheShape& cache) {
  const bool codes = q == Quantization::w8a8 || q == Quantization::auto_;
  const int64_t t = max_tokens, f = sizeof(float), widest = std::max({c.hidden, c.q_width(), c.ffn});
  std::array<int64_t, kSlots> bytes{};
  bytes[kStream] = bytes[kDelta] = bytes[kHidden] = t * c.hidden * f;
  bytes[kQkv] = t * (c.q_width() + 2 * c.kv_width()) * f;
  bytes[kAttended] = t * c.q_width() * f;
  bytes[kGateUp] = t * 2 * c.ffn * f;
  bytes[kFfn] = t * c.ffn * f;
  bytes[kCodes] = codes ? t * int8_pitch(widest) : 0;
  bytes[kScales] = codes ? t * f : 0;
  bytes[kLogits] = max_logit_rows * c.vocab * f;
  bytes[kWorkspace] = workspace_bytes(c, ctx, t, cache);
  return bytes;
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

int64_t LlamaModel::weight_bytes() const {
  int64_t bytes = embedding_.bytes() + head_.bytes() + final_norm_.bytes();
  for (const Layer& l : layers_)
    bytes += l.attention_norm.bytes() + l.ffn_norm.bytes() + l.qkv.bytes() + l.out.bytes() +
             l.gate_up.bytes() + l.down.bytes();
  return bytes;
}

int64_t LlamaModel::decode_read_bytes() const {
  const auto product = [](const LinearWeight& w) {
    return w.elements.bytes() + w.scales.bytes() + w.bias_values.bytes();
  };
  int64_t bytes = product(config_.tied_embeddings ? embedding_ : head_) + final_norm_.bytes();
  for (const Layer& l : layers_)
    bytes += l.attention_norm.bytes() + l.ffn_norm.bytes() + product(l.qkv) + product(l.out) +
             product(l.gate_up) + product(l.down);
  return bytes;
}

MemoryPlan LlamaModel::plan_weights(const ModelConfig& c, Quantization quantization) {
  const Storage storage = storage_of(quantization);
  const DType dtype = float_dtype_of(c);
  const auto linear = [&](int64_t n, int64_t k, bool bias) {
    return LinearWeight::planned_bytes(n, k, storage, dtype, bias);
  };
  const int64_t attention = linear(c.q_width() + 2 * c.kv_width(), c.hidden, c.attention_bias) +
                            linear(c.hidden, c.q_width(), c.attention_bias);
  const int64_t ffn = linear(2 * c.ffn, c.hidden, false) + linear(c.hidden, c.ffn, false);
  const int64_t norms = (2 * c.layers + 1) * c.hidden * static_cast<int64_t>(sizeof(float));
  MemoryPlan plan;
  plan.rows = {{"weights: attention", c.layers * attention},
               {"weights: feed-forward", c.layers * ffn},
               {"weights: norms", norms},
               {c.tied_embeddings ? "weights: embedding and head (tied)" : "weights: embedding",
                linear(c.vocab, c.hidden, false)}};
  if (!c.tied_embeddings) plan.rows.push_back({"weights: head", linear(c.vocab, c.hidden, false)});
  return plan;
}

MemoryPlan LlamaModel::plan_activations(const ModelConfig& config, Quantization quantization,
                                        const Context& ctx, int64_t max_tokens, int64_t max_logit_rows,
                                        const KvCacheShape& cache) {
  const auto bytes = slot_bytes(config, quantization, ctx, max_tokens, max_logit_rows, cache);
  MemoryPlan plan;
  for (int s = 0; s < kSlots; ++s)
    plan.rows.push_back({std::string("activations: ") + kSlotNames[s], bytes[s]});
  return plan;
}

void LlamaModel::reserve(const Context& ctx, int64_t max_tokens, int64_t max_logit_rows,
                         const KvCacheShape& cache) {
  scratch_.clear();
  for (int64_t bytes : slot_bytes(config_, quantization_, ctx, max_tokens, max_logit_rows, cache))
    scratch_.emplace_back(bytes);
  max_tokens_ = max_tokens, max_logit_rows_ = max_logit_rows;
}

Tensor LlamaModel::slot(int index, std::initializer_list<int64_t> shape) const {
  return Tensor(scratch_[static_cast<size_t>(index)].data(), DType::f32, shape);
}

LlamaModel::Activation LlamaModel::activation(int float_slot, int64_t tokens, int64_t width,
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
void LlamaModel::linear(const Context& ctx, const LinearWeight& w, const Activation& x, Tensor y) const {
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

// Adds what the previous sub-layer made (delta; none before the first layer) to the residual stream, and
// normalises it.
void LlamaModel::add_norm(const Context& ctx, const FloatVector& weight, ConstTensor delta, Tensor stream,
                          const Activation& out) const {
  RmsNormArgs args{.x = stream, .weight = weight.view(), .eps = config_.rms_eps};
  if (delta) args.residual = delta, args.u = stream;
  args.y = out.values, args.y_codes = out.codes, args.y_scale = out.scale;
  rms_norm(ctx, args);
}

void LlamaModel::attention(const Context& ctx, const Batch& batch, const Layer& layer, const KvView& kv,
                           const Activation& h, Tensor delta) const {
  const ModelConfig& c = config_;
  const int64_t t = delta.dim(0), b = static_cast<int64_t>(batch.kv_len.size()),
                row = c.q_width() + 2 * c.kv_width();
  const Tensor qkv = slot(kQkv, {t, row});
  linear(ctx, layer.qkv, h, qkv);

  float* base = qkv.as<float>();
  const Tensor q(base, DType::f32, {t, c.heads, c.head_dim}, {row, c.head_dim, 1});
  const Tensor k(base + c.q_width(), DType::f32, {t, c.kv_heads, c.head_dim}, {row, c.head_dim, 1});
  const Tensor v(base + c.q_width() + c.kv_width(), DType::f32, {t, c.kv_heads, c.head_dim},
                 {row, c.head_dim, 1});
  const ConstTensor positions = ConstTensor::of(batch.positions.data(), {t});
  const ConstTensor inv_freq = ConstTensor::of(inv_freq_.data(), {c.head_dim / 2});
  rope(ctx, {.x = q, .out = q, .positions = positions, .inv_freq = inv_freq});
  rope(ctx, {.x = k, .out = k, .positions = positions, .inv_freq = inv_freq});
  kv_append(ctx, {.k = k,
                  .v = v,
                  .sequences = ConstTensor::of(batch.sequences.data(), {t}),
                  .positions = positions,
                  .cache = kv});

  const Tensor attended = slot(kAttended, {t, c.heads, c.head_dim});
  attention_f(ctx, attention_args(c, q, kv, ConstTensor::of(batch.q_start.data(), {b + 1}),
                                  ConstTensor::of(batch.kv_len.data(), {b}), attended));

  Activation to_out = activation(kAttended, t, c.q_width(), batch.phase);
  if (to_out.codes)
    quantize_rows(ctx,
                  {.x = slot(kAttended, {t, c.q_width()}), .codes = to_out.codes, .scale = to_out.scale});
  linear(ctx, layer.out, to_out, delta);
}

void LlamaModel::feed_forward(const Context& ctx, const Layer& layer, Phase phase, const Activation& h,
                              Tensor delta) const {
  const int64_t t = delta.dim(0), ffn = config_.ffn;
  const Tensor gate_up = slot(kGateUp, {t, 2 * ffn});
  linear(ctx, layer.gate_up, h, gate_up);

  const ConstTensor gate(gate_up.data(), DType::f32, {t, ffn}, {2 * ffn, 1});
  const ConstTensor up(gate_up.as<float>() + ffn, DType::f32, {t, ffn}, {2 * ffn, 1});
  const Activation product = activation(kFfn, t, ffn, phase);
  silu_mul(ctx, {.gate = gate,
                 .up = up,
                 .out = product.values,
                 .out_codes = product.codes,
                 .out_scale = product.scale});
  linear(ctx, layer.down, product, delta);
}

ConstTensor LlamaModel::forward(const Context& caller, const Batch& batch, KvCache& cache) {
  const ModelConfig& c = config_;
  const int64_t t = static_cast<int64_t>(batch.ids.size()), rows = t - batch.first_logit_row;
  if (t > max_tokens_ || rows > max_logit_rows_)
    throw Error(ErrorKind::usage,
                fmt::format("forward: {} tokens with {} rows of logits, reserved for {} and {}", t, rows,
                            max_tokens_, max_logit_rows_));
  Context ctx = caller;
  ctx.workspace = Tensor(scratch_[kWorkspace].data(), DType::u8, {scratch_[kWorkspace].bytes()});

  const Tensor stream = slot(kStream, {t, c.hidden}), delta = slot(kDelta, {t, c.hidden});
  embedding(ctx, {.table = embedding_.w(),
                  .table_scale = embedding_.w_scale(),
                  .ids = ConstTensor::of(batch.ids.data(), {t}),
                  .out = stream});
  for (size_t l = 0; l < layers_.size(); ++l) {
    const Layer& layer = layers_[l];
    const Activation h = activation(kHidden, t, c.hidden, batch.phase);
    add_norm(ctx, layer.attention_norm, l == 0 ? ConstTensor() : ConstTensor(delta), stream, h);
    attention(ctx, batch, layer, cache.layer(static_cast<int64_t>(l)), h, delta);
    add_norm(ctx, layer.ffn_norm, delta, stream, h);
    feed_forward(ctx, layer, batch.phase, h, delta);
  }

  const int64_t first = batch.first_logit_row * c.hidden;
  const Activation last = activation(kHidden, rows, c.hidden, batch.phase);
  add_norm(ctx, final_norm_, ConstTensor::of(delta.as<float>() + first, {rows, c.hidden}),
           Tensor::of(stream.as<float>() + first, {rows, c.hidden}), last);
  const Tensor logits = slot(kLogits, {rows, c.vocab});
  linear(ctx, c.tied_embeddings ? embedding_ : head_, last, logits);
  return logits;
}

}  // namespace octavo
