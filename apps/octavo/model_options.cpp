#include "model_options.h"

#include <fmt/format.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "formats/gguf.h"
#include "terminal.h"
#include "weights/weight_loader.h"

namespace octavo::app {
namespace {

namespace fs = std::filesystem;

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

// Where an installed program's data lie: ../share/octavo beside its own bin folder, wherever that was moved to.
fs::path data_beside_program() {
  std::error_code failed;
  const fs::path program = fs::read_symlink("/proc/self/exe", failed);
  return failed ? fs::path() : program.parent_path().parent_path() / OCTAVO_INSTALL_DATA_FROM_PREFIX;
}

std::string built_in_model() {
  const fs::path source = fs::path(OCTAVO_SOURCE_DIR) / "models/demo",
                 installed = data_beside_program() / "models/demo";
  for (const fs::path& folder : {fs::path(environment("OCTAVO_DEMO_MODEL")), installed, source})
    if (!folder.empty() && fs::exists(folder / "config.json")) return folder.string();
  throw Error(
      ErrorKind::bad_model,
      fmt::format("the built-in model is neither at {} nor at {}; set OCTAVO_DEMO_MODEL to its folder, or "
                  "give a model with -m",
                  installed.string(), source.string()));
}

// org/name -> <hub>/models--org--name/snapshots/<commit of refs/main>, the cache layout of huggingface_hub.
fs::path cached_model(const std::string& name) {
  fs::path hub = environment("HF_HUB_CACHE");
  if (hub.empty()) {
    const std::string home = environment("HF_HOME");
    hub = home.empty() ? fs::path(environment("HOME")) / ".cache/huggingface/hub" : fs::path(home) / "hub";
  }
  const size_t slash = name.find('/');
  const fs::path base = hub / ("models--" + name.substr(0, slash) + "--" + name.substr(slash + 1));
  std::string commit;
  std::ifstream(base / "refs/main") >> commit;
  return base / "snapshots" / commit;
}

}  // namespace

std::string find_model(const std::string& name) {
  if (name.empty()) return built_in_model();
  if (fs::is_directory(name) || (fs::is_regular_file(name) && is_gguf(name))) return name;
  if (fs::is_regular_file(name) && fs::path(name).extension() == ".safetensors") {
    const std::string folder = fs::path(name).parent_path().string();
    return folder.empty() ? "." : folder;
  }
  const bool repository = std::count(name.begin(), name.end(), '/') == 1 && name.front() != '.' &&
                          name.front() != '/' && name.find("..") == std::string::npos;
  if (repository && fs::exists(cached_model(name) / "config.json")) return cached_model(name).string();
  throw Error(ErrorKind::bad_model,
              fmt::format("-m {}: no such folder{}; give a Hugging Face folder with config.json, "
                          "tokenizer.json and *.safetensors, or a .gguf file",
                          name,
                          repository ? fmt::format(", and the Hugging Face cache has no {}",
                                                   cached_model(name).parent_path().string())
                                     : ""));
}

void add_model_options(Arguments& app, ModelOptions& o) {
  app.add_option(
      "-m,--model,--model-path", o.model,
      "model: Hugging Face folder, .gguf file, or org/name in the Hugging Face cache (default: built-in)");
  app.add_option("--tokenizer", o.tokenizer,
                 "folder or file to take the tokenizer from (default: the model's own)");
  app.add_option("--quantization", o.quantization,
                 "auto (w8a8 for the prompt, w8a16 for generation) | w8a8 | w8a16 | none")
      .capture_default_str();
  app.add_option("--kv-cache-dtype", o.kv_dtype,
                 "auto (f16; f32 with --quantization none) | f32 | f16 | int8")
      .capture_default_str();
  app.add_option("-c,--ctx-size,--max-model-len,--context-length", o.context,
                 "context in tokens (default: the model's, at most 8192)");
  app.add_option("--prefill-chunk,--max-num-batched-tokens", o.prefill_chunk, "prompt tokens taken at once")
      .capture_default_str();
  app.add_option("--memory-budget", o.memory_budget,
                 "hard limit for the plan's total, e.g. 6GiB; the context shrinks to fit");
  app.add_option("-t,--threads", o.threads, "threads (default: all cores)");
  app.add_option("--isa", o.isa, "auto | reference | avx2 | avx512").capture_default_str();
}

EngineOptions ModelOptions::engine_options() const {
  EngineOptions e;
  e.quantization = parse_quantization(quantization);
  if (kv_dtype == "f32")
    e.kv_dtype = DType::f32;
  else if (kv_dtype == "f16" || kv_dtype == "fp16")
    e.kv_dtype = DType::f16;
  else if (kv_dtype == "int8" || kv_dtype == "q8_0")
    e.kv_dtype = DType::i8;
  else if (kv_dtype != "auto")
    throw Error(ErrorKind::usage,
                fmt::format("--kv-cache-dtype {}: unknown; known are auto, f32, f16, int8", kv_dtype));
  const auto at_least = [](const char* flag, int64_t value, int64_t least) {
    if (value < least)
      throw Error(ErrorKind::usage, fmt::format("{} {}: must be at least {}", flag, value, least));
    return value;
  };
  e.context = at_least("-c", context, 0);
  e.prefill_chunk = at_least("--prefill-chunk", prefill_chunk, 1);
  e.threads = static_cast<int>(at_least("-t", threads, 0));
  if (threads > 1024) throw Error(ErrorKind::usage, fmt::format("-t {}: at most 1024", threads));
  e.isa = parse_isa(isa);
  e.tokenizer = tokenizer;
  if (!memory_budget.empty()) e.memory_budget = parse_bytes(memory_budget);
  return e;
}

std::string ModelOptions::folder() const { return find_model(model); }

Engine load_engine(const ModelOptions& options) {
  Engine engine = Engine::load(options.folder(), options.engine_options(),
                               [](int64_t done, int64_t total) { show_progress("loading", done, total); });
  clear_progress();
  for (const std::string& note : checkpoint_notes(options.folder())) fmt::print(stderr, "note: {}\n", note);
  return engine;
}

}  // namespace octavo::app
