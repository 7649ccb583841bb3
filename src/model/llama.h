// The Llama family (Touvron et al., arXiv 2302.13971): RMSNorm, rotary attention with GQA, SwiGLU; as a list
// of op calls.
#pragma once
#include <functional>
#include <memory>
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
  std::span<const int32_t> ids;        // [T]
  std::span<const int32_t> positions;  // [T] of each token in its sequence
  std::span<const int32_t> sequences;  // [T] row of the KV cache
  std::span<const int32_t> q_start;    // [B + 1]
  std::span<const int32_t> kv_len;     // [B] keys once the new tokens are appended
  Phase phase = Phase::prefill;
  int64_t first_logit_row = 0;  // logits are made for tokens first_logit_row .. T
};

// Which variant of an op serves a call of the model.
struct KernelChoice {
  std::string op, what, shape;  // "gemm_w8a8", "q, k, v", "256x512x256"
  std::string variant, why;     // "avx2", "always"
};

class LlamaModel {
 public:
  using Progress = std::function<void(int64_t bytes_done, int64_t bytes_total)>;

  // Reads a Hugging Face folder, quantising tensor by tensor unless quantization is none. Throws bad_model.
  static LlamaModel load(const std::string& folder, Quantization quantization, const Context& ctx,
                         const Progress& progress = {});
  // Random weights of the given shape (normal, sigma 0.02), for benches.
  static LlamaModel random(const ModelConfig& config, Quantization quantization, uint64_t seed);

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

  // Appends the batch to the cache and returns logits f32 [T - first_logit_row, vocab], valid until the next
  // call.
  ConstTensor forward(const Context& ctx, const Batch& batch, KvCache& cache);
  // From now on `observer` sees the inputs of linear layers (weights/linear.h); null: nobody.
  void observe(LinearObserver* observer) { observer_ = observer; }

 private:
  struct Layer {
    FloatVector attention_norm, ffn_norm;
    LinearWeight qkv;      // rows: q [Hq*D], k [Hkv*D], v [Hkv*D]
    LinearWeight out;      // [hidden, Hq*D]
    LinearWeight gate_up;  // rows: gate [ffn], up [ffn]
    LinearWeight down;     // [hidden, ffn]
  };
  // A matrix of the forward pass: floats, or INT8 codes with a scale per token.
  struct Activation {
    Tensor values;  // f32 [T, width]
    Tensor codes;   // i8 [T, width]; given instead of values
    Tensor scale;   // f32 [T]
  };

  bool int8_activations(Phase phase) const {
    return quantization_ == Quantization::w8a8 ||
           (quantization_ == Quantization::auto_ && phase == Phase::prefill);
  }
  Tensor slot(int index, std::initializer_list<int64_t> shape) const;
  Activation activation(int float_slot, int64_t tokens, int64_t width, Phase phase) const;
  void linear(const Context& ctx, const LinearWeight& w, const Activation& x, Tensor y) const;
  void add_norm(const Context& ctx, const FloatVector& weight, ConstTensor delta, Tensor stream,
                const Activation& out) const;
  void attention(const Context& ctx, const Batch& batch, const Layer& layer, const KvView& kv,
                 const Activation& h, Tensor delta) const;
  void feed_forward(const Context& ctx, const Layer& layer, Phase phase, const Activation& h,
                    Tensor delta) const;

  ModelConfig config_;
  Quantization quantization_ = Quantization::none;
  LinearWeight embedding_;  // [vocab, hidden]; the output head too when tied
  LinearWeight head_;       // [vocab, hidden] when untied
  FloatVector final_norm_;  // [hidden]
  std::vector<Layer> layers_;
  std::vector<float> inv_freq_;  // [head_dim / 2]

  LinearObserver* observer_ = nullptr;
  int64_t max_tokens_ = 0, max_logit_rows_ = 0;
  std::vector<Buffer> scratch_;  // by slot
};

}  // namespace octavo
