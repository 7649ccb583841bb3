// Whole models on the CPU: decode and prefill of a Llama-3.2-1B-shaped model of random INT8 weights, beside the rate at which
// this machine reads memory, measured in the same rounds. Writes bench/results/cpu/model.json.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <numeric>

#include "engine/engine.h"
#include "harness/bench_report.h"
#include "harness/rates.h"
#include "harness/timing.h"

namespace octavo {
namespace {

ModelConfig llama_1b() {
  ModelConfig c;
  c.architecture = "LlamaForCausalLM", c.dtype = "bfloat16";
  c.hidden = 2048, c.ffn = 8192, c.layers = 16, c.heads = 32, c.kv_heads = 8, c.head_dim = 64;
  c.vocab = 128256, c.max_positions = 131072, c.rope_theta = 500000, c.tied_embeddings = true;
  return c;
}

struct Options {
  int threads = 0, rounds = 5;
  int64_t prompt = 256, depth = 64;
  std::string isa = "auto", out = std::string(OCTAVO_SOURCE_DIR) + "/bench/results/cpu";
};

int run(const Options& o) {
  EngineOptions options;
  options.threads = o.threads, options.isa = parse_isa(o.isa), options.context = 2048,
  options.prefill_chunk = o.prompt;
  fmt::print(stderr, "making 1.2 G random weights ...\n");
  Engine engine(Transformer::random(llama_1b(), Quantization::auto_, 1), options);
  const Transformer& model = engine.model();
  std::vector<int32_t> prompt(static_cast<size_t>(o.prompt));
  std::iota(prompt.begin(), prompt.end(), 1000);
  const int32_t next = 4242;
  if (o.prompt < o.depth)
    throw std::runtime_error(
        fmt::format("--prompt {} is shorter than the depth of {} tokens", o.prompt, o.depth));

  harness::ReadRate read(engine.pool());
  engine.feed(std::span(prompt).first(static_cast<size_t>(o.depth)), Phase::prefill, 1);
  const auto decode = [&] {
    if (engine.length() >= options.context) {
      engine.restart();
      engine.feed(std::span(prompt).first(static_cast<size_t>(o.depth)), Phase::prefill, 1);
    }
    engine.feed(std::span(&next, 1), Phase::decode, 1);
  };
  const auto timings = harness::time_interleaved({[&] { read.read_once(); }, decode},
                                                 {.rounds = o.rounds, .seconds_per_round = 1.0});
  const auto prefill = harness::time_interleaved({[&] {
                                                   engine.restart();
                                                   engine.feed(prompt, Phase::prefill, 1);
                                                 }},
                                                 {.rounds = o.rounds, .seconds_per_round = 1.0});

  harness::BenchReport report("model", engine.options().threads);
  report.ceiling("read_gbs", static_cast<double>(read.bytes()) / timings[0].best() * 1e-9);
  const auto kernel = [&](Phase phase) {  // of the largest product
    for (const auto& k :
         Transformer::kernels(model.config(), Quantization::auto_, engine.context(), phase,
                              phase == Phase::prefill ? o.prompt : 1, o.depth + 1, engine.cache_shape()))
      if (k.what == "gate, up") return k.op + ":" + k.variant;
    return std::string();
  };
  const int64_t linear_ops = 2 * model.config().parameters();
  report.add({.name = "1b/decode/b1",
              .shape = {{"batch", 1}, {"depth", o.depth}},
              .variant = kernel(Phase::decode),
              .timing = timings[1],
              .bytes = model.decode_read_bytes(),
              .ops = linear_ops,
              .more = {{"tokens_per_s", 1 / timings[1].best()},
                       {"weight_bytes", static_cast<double>(model.weight_bytes())}}});
  report.add({.name = fmt::format("1b/prefill/b1"),
              .shape = {{"batch", 1}, {"prompt", o.prompt}},
              .variant = kernel(Phase::prefill),
              .timing = prefill[0],
              .bytes = model.decode_read_bytes(),
              .ops = linear_ops * o.prompt,
              .more = {{"tokens_per_s", static_cast<double>(o.prompt) / prefill[0].best()}}});
  report.write(o.out);
  return 0;
}

}  // namespace
}  // namespace octavo

int main(int argc, char** argv) {
  octavo::Options o;
  CLI::App app{"decode and prefill of a 1B-shaped random model"};
  app.add_option("-t,--threads", o.threads, "threads (default: all cores)");
  app.add_option("--isa", o.isa, "auto | avx2 | avx512")->capture_default_str();
  app.add_option("--rounds", o.rounds, "the best counts")->capture_default_str();
  app.add_option("--prompt", o.prompt, "tokens of the prompt")->capture_default_str();
  app.add_option("--out", o.out, "folder of the JSON")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  try {
    return octavo::run(o);
  } catch (const std::exception& e) {
    fmt::print(stderr, "model_bench: {}\n", e.what());
    return 1;
  }
}
