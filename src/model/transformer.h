// The forward pass of every family: a list of op calls whose choices (norm, residual, MLP, positions, layout) are the
// fields of ModelConfig.
#pragma once
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "core/context.h"
#include "core/memory_plan.h"
#include "model/kv_cache.h"
#include "model/model_config.h"
#include "weights/linear.h"

namespace octavo {

// Which product a linear layer runs. `auto_`: w8a8 for prompt tokens, w8a16 for generated ones, from one copy
// of the weights.
enum class Quantization { none, w8a16, w8a8, auto_ };
const char* name_of(Quantization q);
Quantization parse_quantization(
    const std::string& name);  // auto | none | w8a16 | w8a8 | int8 (= auto); throws usage

enum class Phase { prefill, decode };

// Tokens of one forward call: the new tokens of B sequences one after the other.
struct Batch {
  std::span<const int32_t> ids;          // [T]
  std::span<const int32_t> positions;    // [T] of each token in its sequence
  std::span<const int32_t> token_types;  // [T]; empty: all 0 (encoders only)
  std::span<const int32_t> sequences;    // [T] row of the KV cache (decoders only)
  std::span<const int32_t> q_start;      // [B + 1]
  std::span<const int32_t> kv_len;       // [B] keys once the new tokens are appended
  Phase phase = Phase::prefill;
  int64_t first_logit_row = 0;  // logits are made for tokens first_logit_row .. T
};

// Which variant of an op serves a call of the model.
struct KernelChoice {
  std::string op, what, shape;  // "gemm_w8a8", "q, k, v", "256x512x256"
  std::string variant, why;     // "avx2", "always"
};

class WeightSource;  // these two: transformer_load.cpp
class ModuleNames;

class Transformer {
 public:
  using Progress = std::function<void(int64_t bytes_done, int64_t bytes_total)>;

  // Reads a Hugging Face folder, quantising tensor by tensor unless quantization is none. Throws bad_model.
  static Transformer load(const std::string& folder, Quantization quantization, const Context& ctx,
                          const Progress& progress = {});
  // Random weights of the given shape (normal, sigma 0.02), for benches.
  static Transformer random(const ModelConfig& config, Quantization quantization, uint64_t seed);

  const ModelConfig& config() const { return config_; }
  Quantization quantization() const { return quantization_; }
  int64_t weight_bytes() const;       // as they lie in memory
  int64_t decode_read_bytes() const;  // weights that one w8a16 or unquantised decode step reads

  // What loading and forward will allocate, before either has happened. Activations: for up to max_tokens new
  // tokens a call with logits for max_logit_rows of them; `ctx` decides the kernels and so their workspace.
  static MemoryPlan plan_weights(const ModelConfig& config, Quantization quantization);
  static MemoryPlan plan_activations(const ModelConfig& config, Quantization quantization, const Context& ctx,
                                     int64_t max_tokens, int64_t max_logit_rows, const KvCacheShape& cache);
  void reserve(const Context& ctx, int64_t max_tokens, int64_t max_logit_rows, const KvCacheShape& cache);

  // The kernels of one layer and of the head, for a call with this many new tokens of one sequence at this length.
  static std::vector<KernelChoice> kernels(const ModelConfig& config, Quantization quantization,
                                           const Context& ctx, Phase phase, int64_t tokens, int64_t length,
                                           const KvCacheShape& cache);

  // Decoders: appends the batch to the cache and returns logits f32 [T - first_logit_row, vocab], valid until the
  // next call.
  ConstTensor forward(const Context& ctx, const Batch& batch, KvCache& cache);
  // Encoders: the last hidden states f32 [T, hidden], valid until the next call. Every sequence is given whole.
  ConstTensor encode(const Context& ctx, const Batch& batch);
  // From now on `observer` sees the inputs of linear layers (weights/linear.h); null: nobody.
  void observe(LinearObserver* observer) { observer_ = observer; }

 private:
  struct Norm {
    FloatVector weight, bias;  // bias of layer norms only
  };
  struct Layer {
    Norm attention_norm, mlp_norm;
    LinearWeight qkv;  // [qkv_width, hidden], rows as ModelConfig::qkv_layout says
    FloatVector q_norm, k_norm;
    LinearWeight out;      // [hidden, Hq*D]
    LinearWeight mlp_in;   // rows: gate [ffn], up [ffn]; or [ffn] without a gate
    LinearWeight mlp_out;  // [hidden, ffn]
  };
  // A matrix of the forward pass: floats, or INT8 codes with a scale per token.
  struct Activation {
    Tensor values;  // f32 [T, width]
    Tensor codes;   // i8 [T, width]; given instead of values
    Tensor scale;   // f32 [T]
  };
  // The residual stream and what the last sub-layer made, which the next norm adds to it.
  struct Residual {
    Tensor stream, delta;  // f32 [T, hidden]
    bool pending = false;  // delta is still to be added
  };
  // Tokens first .. end of the batch that share rotary frequencies.
  struct RotaryRun {
    int64_t first, end;
    ConstTensor inv_freq;  // [rotary_dim / 2] f32
  };

  void make_weights(WeightSource& source, const ModuleNames& names);
  template <class Visit>
  void visit_weights(const Visit& visit) const;

  bool int8_activations(Phase phase) const {
    return quantization_ == Quantization::w8a8 ||
           (quantization_ == Quantization::auto_ && phase == Phase::prefill);
  }
  Tensor slot(int index, std::initializer_list<int64_t> shape) const;
  Activation activation(int float_slot, int64_t tokens, int64_t width, Phase phase) const;
  void linear(const Context& ctx, const LinearWeight& w, const Activation& x, Tensor y) const;

  Context begin(const Context& ctx, const Batch& batch, int64_t logit_rows);
  Residual embed(const Context& ctx, const Batch& batch) const;
  void find_rotary_runs(const Batch& batch);
  void block(const Context& ctx, const Batch& batch, size_t index, const KvView& kv, Residual& x) const;
  void norm(const Context& ctx, const Norm& weights, ConstTensor x, ConstTensor residual, Tensor u,
            const Activation& y) const;
  Activation add_norm(const Context& ctx, const Norm& weights, const Residual& x, Phase phase) const;
  Activation post_norm(const Context& ctx, const Norm& weights, const Residual& x, Phase phase) const;
  void norm_heads(const Context& ctx, const FloatVector& weight, Tensor heads) const;
  void rotate(const Context& ctx, const Batch& batch, Tensor heads) const;
  void attention(const Context& ctx, const Batch& batch, size_t index, const KvView& kv, const Activation& h,
                 Tensor delta) const;
  void attend_cached(const Context& ctx, const Batch& batch, size_t index, const KvView& kv, ConstTensor q,
                     ConstTensor k, ConstTensor v, Tensor out) const;
  void attend_both_ways(const Context& ctx, const Batch& batch, ConstTensor q, Tensor k, Tensor v,
                        Tensor out) const;
  void feed_forward(const Context& ctx, const Layer& layer, Phase phase, const Activation& h,
                    Tensor delta) const;

  ModelConfig config_;
  Quantization quantization_ = Quantization::none;
  LinearWeight embedding_;  // [vocab, hidden]; the output head too when tied
  LinearWeight positions_;  // f32 [position_rows, hidden]
  LinearWeight head_;       // [vocab, hidden] when untied
  Norm embedding_norm_, final_norm_;
  std::vector<Layer> layers_;
  std::vector<float> inv_freq_;  // [rotary_dim / 2], or one such row for each sequence of the batch
  std::vector<RotaryRun> rotary_runs_;

  LinearObserver* observer_ = nullptr;
  int64_t max_tokens_ = 0, max_logit_rows_ = 0;
  std::vector<Buffer> scratch_;  // by slot
};

}  // namespace octavo
