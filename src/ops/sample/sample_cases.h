// The cases of sample: the id is exact.
#pragma once
#include <fmt/format.h>

#include <cmath>
#include <string>
#include <vector>

#include "core/buffer.h"
#include "harness/op_case.h"
#include "ops/sample/sample.h"
#include "ops/sample/sample_ref.h"

namespace octavo {

using LogitsFill = std::function<void(harness::HostTensor&, uint64_t)>;

inline int32_t sample_ref_id(const SampleArgs& args) {
  const auto vocabulary = static_cast<size_t>(args.logits.dim(0));
  std::vector<SampleRefMemory::Token> tokens(vocabulary);
  std::vector<uint8_t> seen(vocabulary);
  return sample_ref(args, {tokens.data(), seen.data()});
}

// Runs sample with a workspace of exactly the promised size.
inline void sample_with_workspace(const Context& ctx, const SampleArgs& args) {
  Context with = ctx;
  const Buffer scratch(sample_workspace_bytes(ctx, args));
  with.workspace = Tensor(scratch.data(), DType::u8, {scratch.bytes()});
  sample(with, args);
}

// Logits like a model's: a few likely tokens and a long tail.
inline LogitsFill model_like() {
  return [](harness::HostTensor& t, uint64_t seed) {
    t.fill_normal(seed, 2.0);
    for (int64_t i = 0; i < std::min<int64_t>(t.numel(), 30); ++i)
      t.set(static_cast<int64_t>(harness::random_bits(seed, 7 + static_cast<uint64_t>(i)) %
                                 static_cast<uint64_t>(t.numel())),
            12.0 - 0.2 * static_cast<double>(i));
  };
}
inline LogitsFill few_values() {  // ties everywhere
  return [](harness::HostTensor& t, uint64_t seed) {
    for (int64_t i = 0; i < t.numel(); ++i)
      t.set(i, static_cast<double>(harness::random_bits(seed, static_cast<uint64_t>(i)) % 5));
  };
}
inline LogitsFill rising() {  // every token enters the top-k buffer
  return [](harness::HostTensor& t, uint64_t) {
    for (int64_t i = 0; i < t.numel(); ++i) t.set(i, static_cast<double>(i) * 1e-3);
  };
}
inline LogitsFill one_hot(double rest) {
  return [rest](harness::HostTensor& t, uint64_t seed) {
    t.fill(rest);
    t.set(static_cast<int64_t>(seed % static_cast<uint64_t>(t.numel())), 3.0);
  };
}

inline harness::OpCase sample_case(std::string what, int64_t vocabulary, DType dtype, LogitsFill logits,
                                   SamplingOptions options, int64_t history, uint64_t step, std::string why,
                                   bool perf = false) {
  using harness::input, harness::output, harness::Judge;
  harness::OpCase c;
  c.name = fmt::format("{}/{}/{}/t{}_k{}_p{}_m{}_r{}/h{}/s{}", vocabulary, name_of(dtype), what,
                       options.temperature, options.top_k, options.top_p, options.min_p,
                       options.repetition_penalty, history, step);
  c.why = std::move(why), c.perf = perf;
  c.args = {input("logits", dtype, {vocabulary}, std::move(logits)),
            input("history", DType::i32, {history}, harness::integers(0, vocabulary)),
            output("id", DType::i32, {1}, Judge::exact)};
  const auto args_of = [options, step](harness::CaseTensors t) {
    SampleArgs a;
    a.logits = t[0], a.history = t[1], a.id = t[2];
    a.options = options, a.seed = 1234, a.step = step;
    return a;
  };
  c.call = [args_of](const Context& ctx, harness::CaseTensors t) { sample_with_workspace(ctx, args_of(t)); };
  c.reference = [args_of](harness::CaseTensors t) { t[2].as<int32_t>()[0] = sample_ref_id(args_of(t)); };
  c.bytes = vocabulary * size_of(dtype);
  return c;
}

inline std::vector<harness::OpCase> sample_cases() {
  std::vector<harness::OpCase> cases;
  const SamplingOptions every[] = {
      {.temperature = 0.0f},
      {},
      {.temperature = 0.7f, .top_k = 40},
      {.top_k = 1},
      {.temperature = 0.8f, .top_p = 0.95f},
      {.top_p = 1e-6f},
      {.top_k = 50, .top_p = 0.5f},
      {.min_p = 0.05f},
      {.min_p = 1.0f},
      {.temperature = 1.3f, .top_k = 100, .top_p = 0.9f, .min_p = 0.02f, .repetition_penalty = 1.2f},
      {.temperature = 0.0f, .repetition_penalty = 1.5f},
      {.repetition_penalty = 0.5f},
      {.temperature = 1e-30f},
      {.temperature = 50.0f, .top_p = 0.999f},
      {.top_k = 2000000000}};
  const std::pair<const char*, LogitsFill> fills[] = {
      {"model", model_like()},           {"ties", few_values()},     {"rising", rising()},
      {"equal", harness::constant(1.5)}, {"one_hot", one_hot(-2.0)}, {"one_hot_inf", one_hot(-INFINITY)},
      {"normal", harness::normal(1.0)}};
  for (int64_t vocabulary : {1, 2, 7, 64, 65, 1000})
    for (const auto& options : every)
      for (const auto& [what, fill] : fills)
        for (DType dtype : {DType::f32, DType::f16, DType::bf16})
          cases.push_back(sample_case(what, vocabulary, dtype, fill, options, 20, 5,
                                      "every option over every kind of row"));
  for (int64_t vocabulary : {32001, 256000})
    for (const auto& options : every)
      for (const auto& [what, fill] : fills)
        if (vocabulary == 32001 || std::string(what) == "ties" ||
            (std::string(what) == "model" && options.top_k == 0))
          cases.push_back(sample_case(what, vocabulary, DType::f32, fill, options, 300, 1,
                                      "vocabularies of real models: odd, and the largest"));
  cases.push_back(sample_case(
      "plus_inf", 50, DType::f32,
      [](harness::HostTensor& t, uint64_t) { t.fill(1), t.set(20, INFINITY), t.set(30, INFINITY); }, {}, 0, 3,
      "infinite logits share all the weight"));
  for (const SamplingOptions& options :
       {SamplingOptions{.temperature = 0.0f}, SamplingOptions{.temperature = 0.8f, .top_k = 40},
        SamplingOptions{.temperature = 0.8f, .top_k = 40, .top_p = 0.95f, .repetition_penalty = 1.1f},
        SamplingOptions{.temperature = 0.8f, .top_p = 0.95f}, SamplingOptions{}})
    cases.push_back(sample_case("model", 128256, DType::f32, model_like(), options, 200, 2,
                                "one token of Llama 3", true));
  return cases;
}

}  // namespace octavo
