#include "ops/sample/sample_ref.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/sample/sample_math.h"

namespace octavo {
namespace {

using Token = SampleRefMemory::Token;

float load(const ConstTensor& t, int64_t i) {
  const int64_t at = i * t.stride(0);
  switch (t.dtype()) {
    case DType::f32: return t.as<float>()[at];
    case DType::f16: return to_float(t.as<F16>()[at]);
    default: return to_float(t.as<BF16>()[at]);
  }
}

bool likelier(const Token& a, const Token& b) { return a.logit != b.logit ? a.logit > b.logit : a.id < b.id; }
bool heavier(const Token& a, const Token& b) {
  return a.weight != b.weight ? a.weight > b.weight : a.id < b.id;
}
bool earlier(const Token& a, const Token& b) { return a.id < b.id; }

uint64_t weight_of(const Token* tokens, int64_t n) {
  uint64_t total = 0;
  for (int64_t i = 0; i < n; ++i) total += tokens[i].weight;
  return total;
}

}  // namespace

int32_t sample_ref(const SampleArgs& args, const SampleRefMemory& memory) {
  const SamplingOptions& options = args.options;
  const int64_t vocabulary = args.logits.dim(0);
  Token* tokens = memory.tokens;

  // 1. Logits, with the repetition penalty once for each id of the history.
  std::fill(memory.seen, memory.seen + vocabulary, uint8_t{0});
  for (int64_t i = 0; args.history && i < args.history.dim(0); ++i)
    memory.seen[args.history.as<int32_t>()[i]] = 1;
  for (int64_t i = 0; i < vocabulary; ++i) {
    const float logit = load(args.logits, i);
    if (std::isnan(logit)) return -1;
    tokens[i] = {0,
                 memory.seen[i] && options.repetition_penalty != 1.0f
                     ? penalised(logit, options.repetition_penalty)
                     : logit,
                 static_cast<int32_t>(i)};
  }
  std::sort(tokens, tokens + vocabulary, likelier);
  const float largest = tokens[0].logit;
  if (largest == -std::numeric_limits<float>::infinity()) return -1;
  if (options.temperature == 0.0f) return tokens[0].id;

  // 2. Temperature and top-k.
  int64_t kept = options.top_k > 0 ? std::min<int64_t>(options.top_k, vocabulary) : vocabulary;
  for (int64_t i = 0; i < kept; ++i)
    tokens[i].weight = logit_weight(tokens[i].logit, largest, 1.0 / static_cast<double>(options.temperature));
  std::sort(tokens, tokens + kept, heavier);

  // 3. Top-p: a token stays while those before it weigh less than the share, so the one that crosses it stays.
  if (options.top_p < 1.0f) {
    const uint64_t share = top_p_weight(options.top_p, weight_of(tokens, kept));
    uint64_t before = 0;
    int64_t n = 0;
    while (n < kept && before < share) before += tokens[n++].weight;
    kept = std::max<int64_t>(n, 1);
  }

  // 4. Min-p, relative to the most likely token.
  const uint64_t least = min_p_weight(options.min_p);
  while (kept > 1 && tokens[kept - 1].weight < least) --kept;

  // 5. The draw walks the kept tokens by id.
  std::sort(tokens, tokens + kept, earlier);
  const uint64_t goal = draw_weight(sample_bits(args.seed, args.step), weight_of(tokens, kept));
  uint64_t sum = 0;
  for (int64_t i = 0; i < kept; ++i)
    if ((sum += tokens[i].weight) > goal) return tokens[i].id;
  return -1;  // not reached: the goal is below the sum
}

}  // namespace octavo
