// octavo explain: which kernel runs for which shape of a model, and why.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "command.h"
#include "model_options.h"
#include "terminal.h"

namespace octavo::app {
namespace {

struct Options {
  ModelOptions model;
  int64_t prompt = 256, length = 512;
  bool json = false;
};

int run(const Options& o) {
  const ModelConfig config = ModelConfig::load(o.model.folder());
  const EngineOptions e = o.model.engine_options();
  Context ctx;
  ctx.isa = e.isa;
  KvCacheShape cache{
      .dtype = e.kv_dtype.value_or(e.quantization == Quantization::none ? DType::f32 : DType::f16),
      .layers = config.layers,
      .kv_heads = config.kv_heads,
      .head_dim = config.head_dim,
      .tokens = o.length};
  nlohmann::ordered_json j = nlohmann::ordered_json::array();
  if (!o.json)
    fmt::print("{} on {}: instruction set {} ({})\n", name_of(e.quantization), cpu_facts().name,
               name_of(e.isa), o.model.isa == "auto" ? "the best that this CPU has" : "asked for with --isa");
  for (Phase phase : {Phase::prefill, Phase::decode}) {
    const bool prefill = phase == Phase::prefill;
    if (!prefill && config.encoder) continue;  // it generates nothing
    const int64_t tokens = prefill ? std::min(o.prompt, o.length) : 1;
    if (!o.json)
      fmt::print("\n{} ({} new token{}, {} in the cache)\n", prefill ? "prompt" : "generation", tokens,
                 tokens == 1 ? "" : "s", o.length);
    for (const KernelChoice& k :
         Transformer::kernels(config, e.quantization, ctx, phase, tokens, o.length, cache)) {
      if (o.json)
        j.push_back({{"phase", prefill ? "prefill" : "decode"},
                     {"op", k.op},
                     {"what", k.what},
                     {"shape", k.shape},
                     {"variant", k.variant},
                     {"why", k.why}});
      else
        fmt::print("  {:<14}{:<22}{:<22}{:<18}{}\n", k.op, k.what, k.shape, k.variant, k.why);
    }
  }
  if (o.json) {
    write_stdout(j.dump(2) + "\n");
    return 0;
  }
  fmt::print(
      "\nOn the CPU every product gives a row the same bits for every batch and thread count; gemm_w8a8 also "
      "gives "
      "the same bits on every instruction set.\n");
  return 0;
}

}  // namespace

std::function<int()> setup_explain(Arguments& app) {
  auto o = std::make_shared<Options>();
  add_model_options(app, o->model);
  app.add_option("--prompt-tokens", o->prompt, "tokens of the prompt").capture_default_str().positive();
  app.add_option("--length", o->length, "keys in the cache").capture_default_str().positive();
  app.add_flag("--json", o->json, "machine-readable");
  return [o] { return run(*o); };
}

}  // namespace octavo::app
