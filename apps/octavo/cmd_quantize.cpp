// octavo quantize: an INT8 copy of a model in the compressed-tensors layout that vLLM, SGLang and transformers load, with a
// measured report of what it cost.
#include <fmt/format.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "command.h"
#include "engine/quantization_report.h"
#include "formats/atomic_file.h"
#include "formats/json_file.h"
#include "formats/tensor_folder.h"
#include "model_options.h"
#include "terminal.h"
#include "tokenizer/gguf_tokenizer.h"
#include "transformed_model.h"
#include "weights/checkpoint_writer.h"
#include "weights/weight_loader.h"

namespace octavo::app {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::string model, output, tokenizer, isa = "auto", eval_text, calibration_text;
  int threads = 0;
  int64_t eval_tokens = 2048;
  double smooth = -1;  // alpha; below 0: off
  bool rotate = false, force = false, no_eval = false, json = false;
};

void check_options(const Options& o) {
  if (o.threads < 0 || o.threads > 1024)
    throw Error(ErrorKind::usage, fmt::format("-t {}: must be 0 to 1024", o.threads));
  if (o.eval_tokens < 2)
    throw Error(ErrorKind::usage, fmt::format("--eval-tokens {}: at least 2", o.eval_tokens));
  if (o.smooth > 1) throw Error(ErrorKind::usage, fmt::format("--smooth {}: must be 0 to 1", o.smooth));
}

CheckpointSummary write_copy(const Options& o, const std::string& source, const std::string& weights,
                             const Context& ctx) {
  CheckpointOptions options;
  options.force = o.force;
  options.progress = [](int64_t done, int64_t total) {
    show_progress("quantising", done, total);
    if (interrupted()) throw Error(ErrorKind::interrupted, "interrupted; nothing was written");
  };
  if (is_gguf(source) && o.tokenizer.empty()) {
    TokenizerText text = gguf_tokenizer_text(GgufFile::open(source));
    options.extra_files = {{"tokenizer.json", std::move(text.tokenizer_json)},
                           {"tokenizer_config.json", std::move(text.config_json)}};
  } else if (!o.tokenizer.empty() && fs::exists(fs::path(o.tokenizer) / "tokenizer.json")) {
    options.extra_files = {
        {"tokenizer.json", read_text_file(fs::path(o.tokenizer) / "tokenizer.json", 1 << 28)}};
  }
  CheckpointSummary written = write_int8_checkpoint(weights, o.output, ctx, options);
  clear_progress();
  return written;
}

int64_t available_memory() {
  std::ifstream info("/proc/meminfo");
  int64_t kib = 0;
  for (std::string key, rest; info >> key; std::getline(info, rest))
    if (key == "MemAvailable:" && info >> kib) return kib * 1024;
  return std::numeric_limits<int64_t>::max();
}

std::vector<int32_t> text_ids(const Engine& engine, const std::string& file, size_t most) {
  std::vector<int32_t> ids = engine.tokenizer().encode(read_text_file(file, int64_t{1} << 31),
                                                       {.add_special_tokens = false, .parse_special = true});
  if (ids.size() > most) ids.resize(most);
  return ids;
}

// `weights`: the model that the INT8 codes were made of, `source` itself unless it was transformed.
QuantizationReport measure(const Options& o, const std::string& source, const std::string& weights) {
  EngineOptions e;
  e.isa = parse_isa(o.isa), e.threads = o.threads, e.prefill_chunk = 128, e.logit_rows = 128;
  e.tokenizer = o.tokenizer.empty() ? source : o.tokenizer;
  e.context = std::min<int64_t>(ModelConfig::load(source).max_positions, 2048);
  EngineOptions floats = e;
  floats.quantization = Quantization::none, floats.kv_dtype = DType::f32;
  const int64_t needed = Engine::plan(ModelConfig::load(source), floats).total() +
                         Engine::plan(ModelConfig::load(o.output), e).total();
  if (needed > available_memory())
    throw Error(
        ErrorKind::out_of_memory,
        fmt::format(
            "measuring loads both models, {}, and {} are available; measure elsewhere with octavo eval",
            human_bytes(needed), human_bytes(available_memory())));
  const auto loading = [](int64_t done, int64_t total) { show_progress("loading to measure", done, total); };
  const auto evaluating = [](int64_t done, int64_t total) {
    show_progress("measuring", done, total);
    if (interrupted()) throw Error(ErrorKind::interrupted, "interrupted while measuring");
  };
  QuantizationReport r;
  Engine candidate = Engine::load(o.output, e, loading);
  Engine reference = Engine::load(source, floats, loading);
  const std::string text = o.eval_text.empty() ? find_model("") + "/heldout.txt" : o.eval_text;
  const std::vector<int32_t> ids = text_ids(reference, text, static_cast<size_t>(o.eval_tokens));
  const std::vector<int32_t> empty = reference.encode("");
  r.accuracy = evaluate(reference, candidate, ids,
                        empty.empty() ? std::nullopt : std::optional(empty.front()), {}, evaluating);
  const std::span<const int32_t> some = std::span(ids).first(std::min<size_t>(ids.size(), 256));
  if (weights == source) {
    r.worst_layers = measure_layer_errors(reference, some);
  } else {
    Engine transformed = Engine::load(weights, floats, loading);
    r.worst_layers = measure_layer_errors(transformed, some);
  }
  clear_progress();
  r.worst_layers.resize(std::min(r.worst_layers.size(), QuantizationReport::kWorstLayers));
  r.text = o.eval_text.empty() ? "octavo's built-in text" : fs::path(o.eval_text).filename().string();
  r.quantization = name_of(candidate.options().quantization);
  r.kv_cache_dtype = name_of(*candidate.options().kv_dtype), r.isa = name_of(e.isa);
  return r;
}

void write_report(const Options& o, const QuantizationReport& r) {
  write_file_atomically(fs::path(o.output) / "octavo_report.json", to_json(r).dump(2) + "\n");
  write_file_atomically(fs::path(o.output) / "README.md", to_markdown(r));
}

int run(const Options& o) {
  check_options(o);
  const std::string source = find_model(o.model);
  ModelConfig::load(source);  // refuses a model that octavo could not run afterwards
  ThreadPool pool(o.threads > 0 ? o.threads : cpu_facts().cores);
  Context ctx;
  ctx.isa = parse_isa(o.isa), ctx.pool = &pool;
  const auto start = std::chrono::steady_clock::now();
  const TransformedModel transformed({.source = source,
                                      .output = o.output,
                                      .calibration_text = o.calibration_text,
                                      .tokenizer = o.tokenizer,
                                      .rotate = o.rotate,
                                      .smooth = o.smooth,
                                      .threads = o.threads,
                                      .isa = ctx.isa},
                                     ctx);
  const CheckpointSummary written = write_copy(o, source, transformed.folder(), ctx);
  const int64_t bytes_before = TensorFolder::open(source).total_bytes();  // not of a transformed copy
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (!o.json) {
    fmt::print("{}: {} linear layers in INT8, {} tensors as they were\n", o.output, written.quantized_tensors,
               written.copied_tensors);
    fmt::print("  {} -> {} in {:.1f} s, peak memory {}\n", human_bytes(bytes_before),
               human_bytes(written.bytes_out), seconds, human_bytes(peak_memory_bytes()));
  }
  if (!o.no_eval) {
    QuantizationReport report;
    try {
      report = measure(o, source, transformed.folder());
    } catch (const Error& error) {
      throw Error(error.kind(), fmt::format("{} is written, but its accuracy was not measured: {}", o.output,
                                            error.what()));
    }
    report.source = o.model.empty() ? "octavo's built-in model" : o.model;
    report.transforms = transformed.description();
    report.bytes_before = bytes_before, report.bytes_after = written.bytes_out;
    report.notes = checkpoint_notes(source);
    write_report(o, report);
    write_stdout(o.json ? to_json(report).dump(2) + "\n" : to_text(report));
  }
  if (!o.json) fmt::print("next: octavo generate -m {} -p \"...\"\n", o.output);
  return 0;
}

}  // namespace

std::function<int()> setup_quantize(Arguments& app) {
  auto o = std::make_shared<Options>();
  app.add_option(
      "-m,--model,--model-path", o->model,
      "model to quantise: Hugging Face folder, .gguf file, or org/name in the cache (default: built-in)");
  app.add_option("-o,--output", o->output, "folder to write; must not exist or be empty").required();
  app.add_option("--tokenizer", o->tokenizer, "folder to take the tokenizer from (default: the model's own)");
  app.add_option("--eval-text", o->eval_text,
                 "text to measure accuracy on (UTF-8; default: a built-in story)");
  app.add_option("--eval-tokens", o->eval_tokens, "tokens of the text to use at most").capture_default_str();
  app.add_flag("--no-eval", o->no_eval, "do not measure accuracy (which loads both models)");
  app.add_option(
      "--smooth", o->smooth,
      "SmoothQuant: move outliers of activations into weights by this exponent, 0 to 1 (default: off)");
  app.add_flag("--rotate", o->rotate,
               "rotate the residual stream by a Hadamard matrix, which spreads outliers");
  app.add_option("--calibration-text", o->calibration_text, "text that --smooth measures activations on");
  app.add_option("-t,--threads", o->threads, "threads (default: all cores)");
  app.add_option("--isa", o->isa, "auto | reference | avx2 | avx512").capture_default_str();
  app.add_flag("--force", o->force, "replace the model that is in the output folder");
  app.add_flag("--json", o->json, "print the report as JSON");
  return [o] { return run(*o); };
}

}  // namespace octavo::app
