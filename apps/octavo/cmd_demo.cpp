// octavo demo: one screen that shows what INT8 does with the built-in model on this machine, measured just now.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <set>

#include "command.h"
#include "engine/evaluate.h"
#include "formats/json_file.h"
#include "harness/rates.h"
#include "model_options.h"
#include "terminal.h"

namespace octavo::app {
namespace {

constexpr const char* kPrompt = "The old house stood at the end of the lane.";
constexpr uint64_t kSeed = 21;

void print_wrapped(std::string_view text, size_t width) {
  size_t column = 0;
  std::string word;
  const auto flush_word = [&] {
    if (column > 0 && column + 1 + word.size() > width) fmt::print("\n"), column = 0;
    if (!word.empty()) fmt::print("{}{}", column > 0 ? " " : "  ", word), column += word.size() + 1;
    word.clear();
  };
  for (char c : text) {
    if (c == ' ' || c == '\n')
      flush_word();
    else
      word += c;
    if (c == '\n' && column > 0) fmt::print("\n"), column = 0;
  }
  flush_word();
  fmt::print("\n");
}

struct Speeds {
  double prefill = 0, decode = 0;  // tokens a second
};

// Best of three of a full-context prompt and of 64 greedy tokens after a short one.
Speeds measure_speeds(Engine& engine, const std::vector<int32_t>& text) {
  Speeds best;
  const auto prompt = std::span(text).first(std::min<size_t>(text.size(), 512));
  for (int repeat = 0; repeat < 3; ++repeat) {
    const auto start = std::chrono::steady_clock::now();
    engine.restart();
    engine.feed(prompt, Phase::prefill, 1);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    best.prefill = std::max(best.prefill, static_cast<double>(prompt.size()) / took.count());
    GenerateOptions g;
    g.max_tokens = 64, g.sampling.temperature = 0, g.ignore_eos = true;
    best.decode = std::max(best.decode, engine.generate(prompt.first(16), g).timings.decode_tokens_per_s());
  }
  return best;
}

std::string kernels_that_ran(const Engine& engine) {
  std::set<std::string> names;
  for (Phase phase : {Phase::prefill, Phase::decode})
    for (const auto& k : Transformer::kernels(
             engine.model().config(), engine.options().quantization, engine.context(), phase,
             phase == Phase::prefill ? engine.options().prefill_chunk : 1, 512, engine.cache_shape()))
      names.insert(k.op + ":" + k.variant);
  std::string all;
  for (const auto& n : names) all += (all.empty() ? "" : " ") + n;
  return all;
}

int run() {
  const std::string folder = find_model("");
  EngineOptions options;
  options.prefill_chunk = 128, options.logit_rows = 128;
  Engine engine = Engine::load(folder, options);
  const ModelConfig& config = engine.model().config();
  fmt::print(
      "octavo {}: a {:.1f} M parameter Llama of our own, bf16 on disk, quantised to INT8 while loading\n",
      OCTAVO_VERSION, static_cast<double>(config.parameters()) / 1e6);
  fmt::print("{}, {} thread{}, {}\n\n", cpu_facts().name, engine.options().threads,
             engine.options().threads == 1 ? "" : "s", name_of(engine.options().isa));

  GenerateOptions g;
  g.max_tokens = 110, g.seed = kSeed;
  g.sampling = {.temperature = 0.6f, .top_p = 0.9f, .repetition_penalty = 1.1f};
  const Generation story = engine.generate(engine.encode(kPrompt), g);
  print_wrapped(kPrompt + story.text.substr(0, story.text.rfind('.') + 1), 100);
  const int64_t peak_int8 = peak_memory_bytes();  // before the unquantised model is there too

  const std::string text = read_text_file(folder + "/heldout.txt", 1 << 20);
  const std::vector<int32_t> ids =
      engine.tokenizer().encode(text, {.add_special_tokens = false, .parse_special = false});
  const Speeds speeds = measure_speeds(engine, ids);
  const double read_gbs =
      harness::measure_read_gbs(engine.pool(), {.bytes = int64_t{256} << 20, .rounds = 5, .seconds = 0.3});
  const double decode_gbs = speeds.decode * static_cast<double>(engine.model().decode_read_bytes()) / 1e9;

  EngineOptions unquantised = options;
  unquantised.quantization = Quantization::none;
  Engine reference = Engine::load(folder, unquantised);
  const Evaluation accuracy =
      evaluate(reference, engine, ids, engine.encode("").front(), {.window = 512, .max_tokens = 1500});

  fmt::print(
      "\naccuracy  INT8 against fp32 on {} held-out tokens: top-1 agreement {:.2f} %, mean KL {:.5f} nats,\n",
      accuracy.tokens, 100 * accuracy.top1_agreement, accuracy.mean_kl);
  fmt::print("          perplexity {:.3f} (fp32 {:.3f})\n", accuracy.perplexity,
             accuracy.perplexity_reference);
  fmt::print("memory    weights {} (fp32 {}), KV cache {} for {} tokens, peak {}\n",
             human_bytes(engine.model().weight_bytes()), human_bytes(4 * config.parameters()),
             human_bytes(engine.cache_shape().bytes()), engine.options().context, human_bytes(peak_int8));
  fmt::print(
      "speed     prompt {:.0f} tok/s, generation {:.0f} tok/s = {:.1f} GB/s of weights, {:.0f} % of the "
      "{:.1f} GB/s that this\n"
      "          machine reads from memory{}\n",
      speeds.prefill, speeds.decode, decode_gbs, 100 * decode_gbs / read_gbs, read_gbs,
      engine.model().weight_bytes() < cpu_facts().last_level_cache_bytes ? " (the weights fit its cache)"
                                                                         : "");
  fmt::print("kernels   ");
  const std::string kernels = kernels_that_ran(engine);
  size_t column = 10;
  for (size_t at = 0; at < kernels.size();) {
    const size_t end = std::min(kernels.find(' ', at), kernels.size());
    if (column + end - at > 108) fmt::print("\n          "), column = 10;
    fmt::print("{} ", kernels.substr(at, end - at)), column += end - at + 1, at = end + 1;
  }
  fmt::print(
      "\n\nnext\n  octavo generate -p \"The old house\" -n 100      another text\n"
      "  octavo explain                                 which kernel runs where, and why\n"
      "  octavo generate -m path/to/hf-llama -p \"...\"   your own Llama, quantised while loading\n");
  return 0;
}

}  // namespace

std::function<int()> setup_demo(Arguments&) {
  return [] { return run(); };
}

}  // namespace octavo::app
