// Chooses without sorting the vocabulary: one pass keeps the k best behind a rising threshold; without top-k, one pass
// makes the weights, and top-p finds its boundary by selection. Sums are whole numbers, so every order gives one result.
#include "ops/sample/sample.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/check.h"
#include "core/dispatch.h"
#include "core/workspace.h"
#include "ops/sample/sample_math.h"
#include "ops/sample/sample_ref.h"

namespace octavo {
namespace {

constexpr const char* kOp = "sample";
constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr int64_t kLeastBuffer = 1024;  // candidates beyond k before the buffer is cut back to k
constexpr int64_t kBlock = 128;         // tokens looked at together
constexpr int64_t kSortBelow = 64;      // selection ends with a sort of this many

struct Token {
  uint64_t weight;
  float logit;
  int32_t id;
};
bool likelier(const Token& a, const Token& b) { return a.logit != b.logit ? a.logit > b.logit : a.id < b.id; }
bool heavier(const Token& a, const Token& b) {
  return a.weight != b.weight ? a.weight > b.weight : a.id < b.id;
}
bool earlier(const Token& a, const Token& b) { return a.id < b.id; }

void check_options(const SamplingOptions& o) {
  const auto number = [](const char* name, double value, bool good, const char* range) {
    if (!good) fail_argument(kOp, name, fmt::format("is {}, expected {}", value, range));
  };
  number("temperature", o.temperature, o.temperature >= 0.0f && std::isfinite(o.temperature),
         "0 (greedy) or more");
  number("top_k", o.top_k, o.top_k >= 0, "0 (off) or more");
  number("top_p", o.top_p, o.top_p > 0.0f && o.top_p <= 1.0f, "more than 0, at most 1 (off)");
  number("min_p", o.min_p, o.min_p >= 0.0f && o.min_p <= 1.0f, "0 (off) to 1");
  number("repetition_penalty", o.repetition_penalty,
         o.repetition_penalty > 0.0f && std::isfinite(o.repetition_penalty), "more than 0 (1: off)");
}

void check(const SampleArgs& args) {
  expect_dtype(kOp, "logits", args.logits, {DType::f32, DType::f16, DType::bf16});
  expect_shape(kOp, "logits", args.logits, {-1});
  expect_unit_stride(kOp, "logits", args.logits);
  const int64_t vocabulary = args.logits.dim(0);
  if (vocabulary < 1 || vocabulary > kMostTokens)
    fail_argument(kOp, "logits", fmt::format("has {} elements, expected 1 to {}", vocabulary, kMostTokens));
  expect_dtype(kOp, "id", args.id, {DType::i32});
  expect_shape(kOp, "id", args.id, {1});
  check_options(args.options);
  if (!args.history) return;
  expect_dtype(kOp, "history", args.history, {DType::i32});
  expect_shape(kOp, "history", args.history, {-1});
  expect_unit_stride(kOp, "history", args.history);
  for (int64_t i = 0; i < args.history.dim(0); ++i)
    if (const int32_t id = args.history.as<int32_t>()[i]; id < 0 || id >= vocabulary)
      fail_argument(
          kOp, "history",
          fmt::format("holds id {} at {}, but the vocabulary has ids 0 to {}", id, i, vocabulary - 1));
}

[[noreturn]] void fail_no_token(const SampleArgs& args) {
  for (int64_t i = 0; i < args.logits.dim(0); ++i) {
    const void* p = args.logits.data();
    const float x = args.logits.dtype() == DType::f32   ? static_cast<const float*>(p)[i]
                    : args.logits.dtype() == DType::f16 ? to_float(static_cast<const F16*>(p)[i])
                                                        : to_float(static_cast<const BF16*>(p)[i]);
    if (std::isnan(x))
      throw Error(ErrorKind::runtime,
                  fmt::format("{}: logits hold NaN at id {}; the model or its weights are damaged", kOp, i));
  }
  throw Error(ErrorKind::runtime,
              fmt::format("{}: all {} logits are -inf; no token can be chosen", kOp, args.logits.dim(0)));
}

bool penalises(const SampleArgs& args) {
  return args.options.repetition_penalty != 1.0f && args.history && args.history.dim(0) > 0;
}
int64_t active_top_k(const SampleArgs& args) {  // 0: off
  const int64_t k = args.options.top_k;
  return k > 0 && k < args.logits.dim(0) ? k : 0;
}
int64_t buffer_tokens(const SampleArgs& args) {  // candidates that the top-k pass holds at most
  const int64_t k = active_top_k(args);
  return k + std::max(k, kLeastBuffer);
}

// Scratch of the selecting variant, carved from the workspace.
struct Memory {
  float* logits = nullptr;   // [V], when the caller's cannot be used as they are
  uint64_t* seen = nullptr;  // [V / 64] bits
  Token* kept = nullptr;     // [V] or [buffer_tokens]
  Token* order = nullptr;    // [V], only for top-p without top-k
  int64_t bytes = 0;
  Memory(void* base, const SampleArgs& args) {
    const int64_t vocabulary = args.logits.dim(0);
    const auto take = [&](auto*& pointer, int64_t n) {
      if (base)
        pointer =
            reinterpret_cast<std::remove_reference_t<decltype(pointer)>>(static_cast<uint8_t*>(base) + bytes);
      bytes += round_up(n * static_cast<int64_t>(sizeof *pointer), 64);
    };
    const bool penalty =
        args.options.repetition_penalty != 1.0f;  // also while the history is empty: the size stays
    if (penalty) take(seen, (vocabulary + 63) / 64);
    if (penalty || args.logits.dtype() != DType::f32) take(logits, vocabulary);
    if (args.options.temperature == 0.0f) return;
    take(kept, active_top_k(args) ? buffer_tokens(args) : vocabulary);
    if (!active_top_k(args) && args.options.top_p < 1.0f) take(order, vocabulary);
  }
};

template <class T>
void widen(float* to, const T* from, int64_t n) {
  for (int64_t i = 0; i < n; ++i) to[i] = to_float(from[i]);
}

// Logits as f32 after the repetition penalty: the caller's own memory when nothing changes. [V]
const float* prepared_logits(const SampleArgs& args, const Memory& memory) {
  if (!memory.logits) return args.logits.as<float>();
  const int64_t vocabulary = args.logits.dim(0);
  if (args.logits.dtype() == DType::f16)
    widen(memory.logits, args.logits.as<F16>(), vocabulary);
  else if (args.logits.dtype() == DType::bf16)
    widen(memory.logits, args.logits.as<BF16>(), vocabulary);
  else
    std::memcpy(memory.logits, args.logits.data(), static_cast<size_t>(vocabulary) * sizeof(float));
  if (!penalises(args)) return memory.logits;
  std::memset(memory.seen, 0, static_cast<size_t>((vocabulary + 63) / 64) * sizeof(uint64_t));
  for (int64_t i = 0; i < args.history.dim(0); ++i) {
    const int32_t id = args.history.as<int32_t>()[i];
    uint64_t& word = memory.seen[id / 64];
    const uint64_t bit = uint64_t{1} << (id % 64);
    if (!(word & bit)) memory.logits[id] = penalised(memory.logits[id], args.options.repetition_penalty);
    word |= bit;
  }
  return memory.logits;
}

// The largest of a block's logits; NaN when it holds one. Branch-free, so that the compiler makes vectors of it.
float largest_of(const float* logits, int64_t n) {
  constexpr int kLanes = 16;
  float largest[kLanes], poison[kLanes];
  for (int l = 0; l < kLanes; ++l) largest[l] = -kInf, poison[l] = 0.0f;
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (int l = 0; l < kLanes; ++l) {
      const float x = logits[i + l];
      largest[l] = x > largest[l] ? x : largest[l];
      poison[l] = x != x ? 1.0f : poison[l];
    }
  for (; i < n; ++i)
    largest[0] = std::max(largest[0], logits[i]), poison[0] += logits[i] != logits[i] ? 1.0f : 0.0f;
  for (int l = 1; l < kLanes; ++l) largest[0] = std::max(largest[0], largest[l]), poison[0] += poison[l];
  return poison[0] > 0.0f ? std::numeric_limits<float>::quiet_NaN() : largest[0];
}

// visit(begin, end, largest) for the blocks of the vocabulary, in order. False when a logit is NaN.
template <class Visit>
bool for_blocks(const float* logits, int64_t n, Visit visit) {
  for (int64_t begin = 0; begin < n; begin += kBlock) {
    const int64_t end = std::min(begin + kBlock, n);
    const float largest = largest_of(logits + begin, end - begin);
    if (std::isnan(largest)) return false;
    visit(begin, end, largest);
  }
  return true;
}

// The likeliest token; its logit is NaN or -inf when none can be chosen.
Token best_token(const float* logits, int64_t n) {
  float largest = -kInf;
  int64_t block = 0;
  const bool numbers = for_blocks(logits, n, [&](int64_t begin, int64_t, float top) {
    if (top > largest) largest = top, block = begin;  // NOTE: a tie stays with the earlier block
  });
  if (!numbers) return {0, std::numeric_limits<float>::quiet_NaN(), 0};
  return {kTopWeight, largest, static_cast<int32_t>(std::find(logits + block, logits + n, largest) - logits)};
}

// The k likeliest tokens, by id. Returns how many (fewer when the rest are -inf), or -1 when a logit is NaN.
int64_t keep_top_k(const float* logits, int64_t n, int64_t k, int64_t room, Token* kept) {
  int64_t count = 0;
  float threshold = -kInf;  // NOTE: an equal logit of a higher id loses, so only larger ones enter
  const bool numbers = for_blocks(logits, n, [&](int64_t begin, int64_t end, float top) {
    if (!(top > threshold)) return;
    for (int64_t i = begin; i < end; ++i) {
      if (!(logits[i] > threshold)) continue;
      kept[count++] = {0, logits[i], static_cast<int32_t>(i)};
      if (count < room) continue;
      std::nth_element(kept, kept + k - 1, kept + count, likelier);
      count = k;
      threshold = kept[k - 1].logit;
    }
  });
  if (!numbers) return -1;
  if (count > k) std::nth_element(kept, kept + k - 1, kept + count, likelier), count = k;
  std::sort(kept, kept + count, earlier);
  return count;
}

// All tokens of weight 1 or more, by id.
int64_t keep_all(const float* logits, int64_t n, float largest, double inverse_temperature, Token* kept) {
  int64_t count = 0;
  uint64_t weights[kBlock];
  for (int64_t begin = 0; begin < n; begin += kBlock) {
    const int64_t size = std::min(kBlock, n - begin);
    for (int64_t i = 0; i < size; ++i)
      weights[i] = logit_weight(logits[begin + i], largest, inverse_temperature);
    for (int64_t i = 0; i < size; ++i) {
      kept[count] = {weights[i], logits[begin + i], static_cast<int32_t>(begin + i)};
      count += weights[i] > 0;
    }
  }
  return count;
}

uint64_t weight_of(const Token* tokens, int64_t n) {
  uint64_t total = 0;
  for (int64_t i = 0; i < n; ++i) total += tokens[i].weight;
  return total;
}

// The last token, in order of weight, that top-p keeps. `order` is scratch for n tokens.
Token top_p_boundary(const Token* kept, int64_t n, float top_p, Token* order) {
  const uint64_t total = weight_of(kept, n), share = top_p_weight(top_p, total);
  // A token whose n copies weigh no more than what top-p cuts is cut for certain; this leaves few to select from.
  const uint64_t hopeless = (total - share) / static_cast<uint64_t>(n);
  int64_t count = 0;
  for (int64_t i = 0; i < n; ++i) {
    order[count] = kept[i];
    count += kept[i].weight > hopeless;
  }
  Token *first = order, *last = order + count;
  uint64_t before = 0;  // weight in front of `first`
  while (last - first > kSortBelow) {
    Token* middle = first + (last - first) / 2;
    std::nth_element(first, middle, last, heavier);
    const uint64_t half = weight_of(first, middle - first);
    if (before + half >= share)
      last = middle;
    else
      before += half, first = middle;
  }
  std::sort(first, last, heavier);
  while (first + 1 < last && before + first->weight < share) before += (first++)->weight;
  return *first;
}

template <class Keep>
int64_t filter(Token* tokens, int64_t n, Keep keep) {
  return std::remove_if(tokens, tokens + n, [&](const Token& t) { return !keep(t); }) - tokens;
}

int32_t select(const SampleArgs& args, const Memory& memory) {
  const SamplingOptions& options = args.options;
  const int64_t vocabulary = args.logits.dim(0), k = active_top_k(args);
  const float* logits = prepared_logits(args, memory);
  const double inverse_temperature = 1.0 / static_cast<double>(options.temperature);
  Token* kept = memory.kept;
  int64_t count;
  if (options.temperature == 0.0f || !k) {
    const Token best = best_token(logits, vocabulary);
    if (!(best.logit > -kInf)) return -1;
    if (options.temperature == 0.0f) return best.id;
    count = keep_all(logits, vocabulary, best.logit, inverse_temperature, kept);
  } else {
    count = keep_top_k(logits, vocabulary, k, buffer_tokens(args), kept);
    if (count <= 0) return -1;
    const float largest = std::max_element(kept, kept + count, [](const Token& a, const Token& b) {
                            return a.logit < b.logit;
                          })->logit;
    for (int64_t i = 0; i < count; ++i)
      kept[i].weight = logit_weight(kept[i].logit, largest, inverse_temperature);
  }
  if (options.top_p < 1.0f) {
    const Token last = top_p_boundary(kept, count, options.top_p, k ? kept + count : memory.order);
    count = filter(kept, count, [&](const Token& t) { return !heavier(last, t); });
  }
  if (options.min_p > 0.0f) {
    const uint64_t least = min_p_weight(options.min_p);
    count = filter(kept, count, [&](const Token& t) { return t.weight >= least; });
  }
  const uint64_t goal = draw_weight(sample_bits(args.seed, args.step), weight_of(kept, count));
  uint64_t sum = 0;
  int64_t i = 0;
  while ((sum += kept[i].weight) <= goal) ++i;
  return kept[i].id;
}

int64_t reference_bytes(const SampleArgs& args) {
  return args.logits.dim(0) * static_cast<int64_t>(sizeof(SampleRefMemory::Token) + 1);
}

void store(const SampleArgs& args, int32_t id) {
  if (id < 0) fail_no_token(args);
  args.id.as<int32_t>()[0] = id;
}

void run_select(const Context& ctx, const SampleArgs& args) {
  store(args, select(args, Memory(workspace_start(ctx), args)));
}

void run_reference(const Context& ctx, const SampleArgs& args) {
  auto* tokens = static_cast<SampleRefMemory::Token*>(workspace_start(ctx));
  store(args, sample_ref(args, {tokens, reinterpret_cast<uint8_t*>(tokens + args.logits.dim(0))}));
}

// NOTE: `select` is plain C++; its row asks for avx2 so that `--isa reference` runs the specification.
constexpr VariantTable<SampleArgs, 2> kVariants = {{
    {"select", Backend::cpu, Isa::avx2, nullptr, "any", run_select},
    {"reference", Backend::cpu, Isa::reference, nullptr, "any", run_reference},
}};

}  // namespace

int64_t sample_workspace_bytes(const Context& ctx, const SampleArgs& args) {
  const bool select_runs = choose(kVariants, kOp, ctx, args).isa != Isa::reference;
  return kWorkspaceAlignment + (select_runs ? Memory(nullptr, args).bytes : reference_bytes(args));
}

void sample(const Context& ctx, const SampleArgs& args) {
  check(args);
  expect_workspace(kOp, ctx, sample_workspace_bytes(ctx, args));
  choose(kVariants, kOp, ctx, args).run(ctx, args);
}

KernelInfo sample_variant(const Context& ctx, const SampleArgs& args) {
  return kernel_info(choose(kVariants, kOp, ctx, args));
}

}  // namespace octavo
