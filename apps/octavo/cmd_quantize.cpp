// octavo quantize: an INT8 copy of a model folder, in the compressed-tensors layout that vLLM, SGLang and transformers load.
#include <fmt/format.h>

#include <chrono>

#include "command.h"
#include "model_options.h"
#include "terminal.h"
#include "weights/checkpoint_writer.h"

namespace octavo::app {
namespace {

struct Options {
  std::string model, output, isa = "auto";
  int threads = 0;
  bool force = false;
};

int run(const Options& o) {
  const std::string folder = find_model(o.model);
  const ModelConfig config =
      ModelConfig::load(folder);  // refuses a model that octavo could not run afterwards
  ThreadPool pool(o.threads > 0 ? o.threads : cpu_facts().cores);
  Context ctx;
  ctx.isa = parse_isa(o.isa), ctx.pool = &pool;
  const auto start = std::chrono::steady_clock::now();
  CheckpointOptions options;
  options.force = o.force;
  options.progress = [](int64_t done, int64_t total) {
    show_progress("quantising", done, total);
    if (interrupted()) throw Error(ErrorKind::interrupted, "interrupted; nothing was written");
  };
  const CheckpointSummary written = write_int8_checkpoint(folder, o.output, ctx, options);
  clear_progress();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  fmt::print("{}: {} linear layers in INT8, {} tensors as they were\n", o.output, written.quantized_tensors,
             written.copied_tensors);
  fmt::print("  {} -> {} in {:.1f} s\n", human_bytes(written.bytes_in), human_bytes(written.bytes_out),
             seconds);
  fmt::print("next: octavo generate -m {} -p \"...\"\n      octavo eval -m {} --reference {} -f text.txt\n",
             o.output, o.output, folder);
  return 0;
}

}  // namespace

std::function<int()> setup_quantize(CLI::App& app) {
  auto o = std::make_shared<Options>();
  app.add_option("-m,--model,--model-path", o->model,
                 "model to quantise: Hugging Face folder, or org/name in the cache (default: built-in)");
  app.add_option("-o,--output", o->output, "folder to write; must not exist or be empty")->required();
  app.add_option("-t,--threads", o->threads, "threads (default: all cores)");
  app.add_option("--isa", o->isa, "auto | reference | avx2 | avx512")->capture_default_str();
  app.add_flag("--force", o->force, "replace the model that is in the output folder");
  return [o] { return run(*o); };
}

}  // namespace octavo::app
