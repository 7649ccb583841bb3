// What a model takes in memory, before anything is loaded: weights by the same walk that loads them, activations by the
// slots that forward() uses.
#include <algorithm>
#include <cmath>

#include "model/transformer_slots.h"
#include "octavo/ops.h"

namespace octavo {
namespace {

constexpr const char* kSlotNames[kSlots] = {"residual stream",   "sub-layer output", "attention output",
                                            "normalised",        "q, k, v",          "attended",
                                            "MLP, first matrix", "MLP, activated",   "activation codes",
                                            "activation scales", "position rows",    "logits",
                                            "workspace"};

// The largest scratch of any op, by asking the ops themselves about the largest calls the model will make.
int64_t workspace_bytes(const ModelConfig& c, const Context& ctx, int64_t max_tokens,
                        const KvCacheShape& cache) {
  int64_t bytes = 0;
  KvView kv =
      KvView::paged(cache.dtype, nullptr, nullptr, c.kv_heads, c.head_dim, cache.pages_per_sequence());
  for (int64_t tokens : {int64_t{1}, max_tokens}) {
    const std::array<int32_t, 2> q_start = {0, static_cast<int32_t>(tokens)};
    const std::array<int32_t, 1> kv_len = {static_cast<int32_t>(cache.tokens)};
    AttentionFArgs attention;
    attention.q = ConstTensor(nullptr, DType::f32, {tokens, c.heads, c.head_dim}), attention.kv = kv;
    attention.q_start = ConstTensor::of(q_start.data(), {2});
    attention.kv_len = ConstTensor::of(kv_len.data(), {1});
    attention.causal = !c.encoder, attention.scale = 1.0f;
    attention.out = Tensor(nullptr, DType::f32, {tokens, c.heads, c.head_dim});
    bytes = std::max(bytes, attention_f_workspace_bytes(ctx, attention));
    for (const auto& [n, k] :
         {std::pair{c.qkv_width(), c.hidden}, std::pair{c.hidden, c.q_width()},
          std::pair{c.mlp_in_width(), c.hidden}, std::pair{c.hidden, c.ffn}, std::pair{c.vocab, c.hidden}}) {
      GemmW8A8Args gemm;
      gemm.x = ConstTensor(nullptr, DType::i8, {tokens, k});
      gemm.w = ConstTensor(nullptr, DType::i8, {n, k}, {int8_pitch(k), 1});
      gemm.y = Tensor(nullptr, DType::f32, {tokens, n});
      bytes = std::max(bytes, gemm_w8a8_workspace_bytes(ctx, gemm));
    }
  }
  return bytes;
}

}  // namespace

std::array<int64_t, kSlots> slot_bytes(const ModelConfig& c, Quantization q, const Context& ctx,
                                       int64_t max_tokens, int64_t max_logit_rows,
                                       const KvCacheShape& cache) {
  const bool codes = q == Quantization::w8a8 || q == Quantization::auto_;
  const int64_t t = max_tokens, f = sizeof(float), widest = std::max({c.hidden, c.q_width(), c.ffn});
  std::array<int64_t, kSlots> bytes{};
  bytes[kStream] = bytes[kDelta] = bytes[kHidden] = t * c.hidden * f;
  bytes[kBranch] = c.residual == ResidualKind::parallel ? t * c.hidden * f : 0;
  bytes[kQkv] = t * c.qkv_width() * f;
  bytes[kAttended] = t * c.q_width() * f;
  bytes[kMlpIn] = t * c.mlp_in_width() * f;
  bytes[kMlp] = c.gated() ? t * c.ffn * f : 0;  // without a gate the activation is made in place
  bytes[kCodes] = codes ? t * int8_pitch(widest) : 0;
  bytes[kScales] = codes ? t * f : 0;
  bytes[kPositionRows] = c.token_types > 0 ? t * static_cast<int64_t>(sizeof(int32_t)) : 0;
  bytes[kLogits] = max_logit_rows * c.vocab * f;
  bytes[kWorkspace] = workspace_bytes(c, ctx, t, cache);
  return bytes;
}

MemoryPlan Transformer::plan_activations(const ModelConfig& config, Quantization quantization,
                                         const Context& ctx, int64_t max_tokens, int64_t max_logit_rows,
                                         const KvCacheShape& cache) {
  const auto bytes = slot_bytes(config, quantization, ctx, max_tokens, max_logit_rows, cache);
  MemoryPlan plan;
  for (int s = 0; s < kSlots; ++s)
    plan.rows.push_back({std::string("activations: ") + kSlotNames[s], bytes[s]});
  return plan;
}

void Transformer::reserve(const Context& ctx, int64_t max_tokens, int64_t max_logit_rows,
                          const KvCacheShape& cache) {
  scratch_.clear();
  for (int64_t bytes : slot_bytes(config_, quantization_, ctx, max_tokens, max_logit_rows, cache))
    scratch_.emplace_back(bytes);
  max_tokens_ = max_tokens, max_logit_rows_ = max_logit_rows;
}

template <class Visit>
void Transformer::visit_weights(const Visit& visit) const {
  visit(positions_), visit(embedding_norm_.weight), visit(embedding_norm_.bias);
  for (const Layer& l : layers_) {
    for (const Norm* n : {&l.attention_norm, &l.mlp_norm}) visit(n->weight), visit(n->bias);
    for (const LinearWeight* w : {&l.qkv, &l.out, &l.mlp_in, &l.mlp_out}) visit(*w);
    visit(l.q_norm), visit(l.k_norm);
  }
  visit(final_norm_.weight), visit(final_norm_.bias);
}

int64_t Transformer::weight_bytes() const {
  int64_t bytes = embedding_.bytes() + head_.bytes();
  visit_weights([&](const auto& weight) { bytes += weight.bytes(); });
  return bytes;
}

int64_t Transformer::decode_read_bytes() const {
  struct Sum {
    int64_t bytes = 0;
    void operator()(const LinearWeight& w) {  // the codes' sums serve w8a8 only
      bytes += w.elements.bytes() + w.scales.bytes() + w.bias_values.bytes();
    }
    void operator()(const FloatVector& v) { bytes += v.bytes(); }
  } sum;
  sum(config_.tied_embeddings ? embedding_ : head_);
  visit_weights([&](const auto& weight) { sum(weight); });
  sum.bytes -= positions_.bytes();  // one row of it
  return sum.bytes;
}

}  // namespace octavo
