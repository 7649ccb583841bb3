#include "engine/evaluate.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <vector>

namespace octavo {
namespace {

struct Comparison {
  double nll_reference, nll, kl;
  bool same_top1;
};

double log_sum_exp(const float* logits, int64_t n) {
  double peak = -INFINITY, sum = 0;
  for (int64_t i = 0; i < n; ++i) peak = std::max<double>(peak, logits[i]);
  for (int64_t i = 0; i < n; ++i) sum += std::exp(logits[i] - peak);
  return peak + std::log(sum);
}

// p: reference logits [n], q: candidate logits [n].
Comparison compare(const float* p, const float* q, int64_t n, int32_t target) {
  const double log_zp = log_sum_exp(p, n), log_zq = log_sum_exp(q, n);
  double kl = 0;
  for (int64_t i = 0; i < n; ++i) {
    const double log_p = p[i] - log_zp;
    if (log_p > -80) kl += std::exp(log_p) * (log_p - (q[i] - log_zq));
  }
  const auto top = [n](const float* l) { return std::max_element(l, l + n) - l; };
  return {log_zp - p[target], log_zq - q[target], std::max(kl, 0.0), top(p) == top(q)};
}

struct Side {
  Engine& engine;
  double seconds = 0;
  const float* feed(std::span<const int32_t> ids) {
    const auto start = std::chrono::steady_clock::now();
    const ConstTensor logits = engine.feed(ids, Phase::prefill, static_cast<int64_t>(ids.size()));
    seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    return logits.as<float>();
  }
};

}  // namespace

double token_log_probability(const float* logits, int64_t n, int32_t target) {
  return logits[target] - log_sum_exp(logits, n);
}

Evaluation evaluate(Engine& reference, Engine& candidate, std::span<const int32_t> ids,
                    std::optional<int32_t> start, const EvaluateOptions& options,
                    const std::function<void(int64_t, int64_t)>& progress) {
  const int64_t vocab = reference.model().config().vocab;
  if (candidate.model().config().vocab != vocab)
    throw Error(ErrorKind::usage,
                fmt::format("eval: the models have different vocabularies ({} and {} tokens)", vocab,
                            candidate.model().config().vocab));
  const int64_t context = std::min(reference.options().context, candidate.options().context);
  const int64_t window = options.window > 0 ? options.window : context;
  if (window > context || window < 2)
    throw Error(ErrorKind::usage, fmt::format("eval: windows of {} tokens, the context is {}; give 2 to {}",
                                              window, context, context));
  const int64_t chunk = std::min(reference.options().prefill_chunk, candidate.options().prefill_chunk);
  const int64_t total = options.max_tokens > 0
                            ? std::min<int64_t>(options.max_tokens, static_cast<int64_t>(ids.size()))
                            : static_cast<int64_t>(ids.size());
  const int64_t step = window - (start ? 1 : 0);  // text tokens of a window

  Side p{reference}, q{candidate};
  Evaluation result;
  std::vector<double> kls;
  double nll_reference = 0, nll = 0;
  int64_t agreed = 0;
  for (int64_t first = 0; first < total; first += step) {
    std::vector<int32_t> tokens;
    if (start) tokens.push_back(*start);
    const int64_t end = std::min(total, first + step);
    tokens.insert(tokens.end(), ids.begin() + first, ids.begin() + end);
    const auto length = static_cast<int64_t>(tokens.size());
    if (length < 2) break;
    reference.restart(), candidate.restart();
    for (int64_t at = 0; at < length - 1; at += chunk) {  // the last token predicts nothing
      const int64_t n = std::min(chunk, length - 1 - at);
      const auto part =
          std::span<const int32_t>(tokens).subspan(static_cast<size_t>(at), static_cast<size_t>(n));
      const float *logits_p = p.feed(part), *logits_q = q.feed(part);
      for (int64_t i = 0; i < n; ++i) {
        const Comparison c = compare(logits_p + i * vocab, logits_q + i * vocab, vocab,
                                     tokens[static_cast<size_t>(at + i + 1)]);
        nll_reference += c.nll_reference, nll += c.nll, agreed += c.same_top1;
        kls.push_back(c.kl);
      }
      if (progress) progress(first + at + n, total);
    }
    ++result.windows;
  }
  if (kls.empty())
    throw Error(ErrorKind::usage, fmt::format("eval: the text has {} tokens, at least 2 are needed", total));
  const auto count = static_cast<double>(kls.size());
  result.tokens = static_cast<int64_t>(kls.size());
  result.perplexity_reference = std::exp(nll_reference / count);
  result.perplexity = std::exp(nll / count);
  for (double kl : kls) result.mean_kl += kl / count;
  std::sort(kls.begin(), kls.end());
  result.p99_kl = kls[static_cast<size_t>(0.99 * (count - 1))];
  result.max_kl = kls.back();
  result.top1_agreement = static_cast<double>(agreed) / count;
  result.seconds_reference = p.seconds, result.seconds = q.seconds;
  return result;
}

}  // namespace octavo
