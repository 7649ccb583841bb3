// octavo generate: continues a prompt. The text goes to stdout as it is made, everything else to stderr.
#include <fmt/format.h>

#include <fstream>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "command.h"
#include "formats/json_file.h"
#include "generation.h"
#include "model_options.h"
#include "terminal.h"

namespace octavo::app {
namespace {

struct Options {
  ModelOptions model;
  std::string prompt, prompt_file;
  GenerationFlags generation{.max_tokens = 128};
  bool echo = false;
};

std::string read_prompt(const Options& o) {
  if (o.prompt_file.empty()) return o.prompt;
  if (o.prompt_file == "-") return {std::istreambuf_iterator<char>(std::cin), {}};
  return read_text_file(o.prompt_file, int64_t{1} << 30);
}

nlohmann::ordered_json to_json(const Generation& g, const Engine& engine, uint64_t seed) {
  nlohmann::ordered_json j;
  j["text"] = g.text, j["ids"] = g.ids, j["finish_reason"] = name_of(g.finish), j["seed"] = seed;
  j["prompt_tokens"] = g.timings.prompt_tokens, j["generated_tokens"] = g.timings.generated_tokens;
  j["prefill_tokens_per_s"] = g.timings.prefill_tokens_per_s(),
  j["decode_tokens_per_s"] = g.timings.decode_tokens_per_s();
  j["weight_bytes"] = engine.model().weight_bytes(), j["kv_bytes"] = engine.cache_shape().bytes();
  j["peak_bytes"] = peak_memory_bytes(), j["quantization"] = name_of(engine.options().quantization);
  j["isa"] = name_of(engine.options().isa), j["threads"] = engine.options().threads;
  return j;
}

int run(const Options& o) {
  const std::string prompt = read_prompt(o);
  Engine engine = load_engine(o.model);
  std::string said;
  const GenerateOptions g = generate_options(o.generation, o.model.folder(), said);
  const std::vector<int32_t> ids = engine.encode(prompt);
  if (o.echo && !o.generation.json) write_stdout(prompt);

  const Generation result = generate_to_stdout(engine, ids, g, o.generation);
  if (o.generation.json) write_stdout(to_json(result, engine, g.seed).dump(2) + "\n");
  if (!o.generation.quiet) {
    const Timings& t = result.timings;
    fmt::print(stderr,
               "\n{} tokens, {} | prompt {} tokens, {:.0f} tok/s | generation {:.1f} tok/s | weights {}, KV "
               "{}, peak {}\n",
               t.generated_tokens, name_of(result.finish), t.prompt_tokens, t.prefill_tokens_per_s(),
               t.decode_tokens_per_s(), human_bytes(engine.model().weight_bytes()),
               human_bytes(engine.cache_shape().bytes()), human_bytes(peak_memory_bytes()));
    fmt::print(stderr, "{} | {} | {} threads | {}{}\n", name_of(engine.options().quantization),
               name_of(engine.options().isa), engine.options().threads, said,
               g.sampling.temperature > 0 ? fmt::format(", seed {}", g.seed) : "");
  }
  return interrupted() ? static_cast<int>(ErrorKind::interrupted) : 0;
}

}  // namespace

std::function<int()> setup_generate(Arguments& app) {
  auto o = std::make_shared<Options>();
  add_model_options(app, o->model);
  app.add_option("-p,--prompt", o->prompt, "text to continue");
  app.add_option("-f,--file", o->prompt_file, "read the prompt from a file (-: stdin)");
  app.add_flag("--echo", o->echo, "print the prompt before the answer");
  add_generation_options(app, o->generation, "tokens to generate; -1: until the end",
                         "one JSON object instead of text");
  return [o] { return run(*o); };
}

}  // namespace octavo::app
