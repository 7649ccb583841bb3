// octavo eval: what a quantised model loses against the same model unquantised, on a text.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "command.h"
#include "engine/multiple_choice.h"
#include "engine/quantization_report.h"
#include "formats/json_file.h"
#include "model_options.h"
#include "terminal.h"

namespace octavo::app {
namespace {

struct Options {
  ModelOptions model;
  std::string reference, text_file, choices_file;
  int64_t window = 0, max_tokens = 0;
  bool json = false;
};

// The unquantised side: the same folder (or --reference), f32 cache.
Engine load_reference(const Options& o, int64_t rows) {
  EngineOptions e = o.model.engine_options();
  e.quantization = Quantization::none, e.kv_dtype = DType::f32, e.logit_rows = rows, e.memory_budget = 0;
  return Engine::load(o.reference.empty() ? o.model.folder() : find_model(o.reference), e,
                      [](int64_t done, int64_t total) { show_progress("loading reference", done, total); });
}

// Every row of a chunk needs its logits, so chunks are short.
EngineOptions scoring_options(const Options& o) {
  EngineOptions e = o.model.engine_options();
  e.prefill_chunk = std::min<int64_t>(e.prefill_chunk, 128);
  e.logit_rows = e.prefill_chunk;
  return e;
}

int run_multiple_choice(const Options& o) {
  const std::vector<ChoiceQuestion> questions = read_choice_questions(o.choices_file);
  Engine engine = Engine::load(o.model.folder(), scoring_options(o),
                               [](int64_t done, int64_t total) { show_progress("loading", done, total); });
  const ChoiceScores s = score_choices(engine, questions, [](int64_t done, int64_t total) {
    show_progress("scoring", done, total);
    if (interrupted()) throw Error(ErrorKind::interrupted, "interrupted");
  });
  clear_progress();
  if (o.json) {
    nlohmann::ordered_json j;
    j["quantization"] = name_of(engine.options().quantization), j["questions"] = s.questions;
    j["acc"] = s.accuracy, j["acc_stderr"] = s.standard_error;
    j["acc_norm"] = s.accuracy_normalized, j["acc_norm_stderr"] = s.standard_error_normalized;
    write_stdout(j.dump(2) + "\n");
    return 0;
  }
  fmt::print("{} questions; {}\n", s.questions, name_of(engine.options().quantization));
  fmt::print("  accuracy                    {:.4f} +- {:.4f}\n", s.accuracy, s.standard_error);
  fmt::print("  accuracy, length-normalised {:.4f} +- {:.4f}\n", s.accuracy_normalized,
             s.standard_error_normalized);
  return 0;
}

int run(const Options& o) {
  if (o.text_file.empty() == o.choices_file.empty())
    throw Error(ErrorKind::usage, "eval: give either a text with -f or questions with --multiple-choice");
  if (!o.choices_file.empty()) return run_multiple_choice(o);
  const std::string text = read_text_file(o.text_file, int64_t{1} << 31);
  Engine candidate = Engine::load(o.model.folder(), scoring_options(o),
                                  [](int64_t done, int64_t total) { show_progress("loading", done, total); });
  Engine reference = load_reference(o, o.model.prefill_chunk);
  clear_progress();

  std::vector<int32_t> ids =
      candidate.tokenizer().encode(text, {.add_special_tokens = false, .parse_special = true});
  const std::vector<int32_t> empty = candidate.encode("");
  const std::optional<int32_t> start = empty.empty() ? std::nullopt : std::optional(empty.front());
  const EvaluateOptions options{.window = o.window, .max_tokens = o.max_tokens};
  const Evaluation r = evaluate(reference, candidate, ids, start, options, [](int64_t done, int64_t total) {
    show_progress("evaluating", done, total);
    if (interrupted()) throw Error(ErrorKind::interrupted, "interrupted");
  });
  clear_progress();
  const EngineOptions& used = candidate.options();
  if (o.json) {
    nlohmann::ordered_json j;
    j["quantization"] = name_of(used.quantization), j["kv_cache_dtype"] = name_of(*used.kv_dtype),
    j["isa"] = name_of(used.isa);
    j.update(to_json(r));
    write_stdout(j.dump(2) + "\n");
    return 0;
  }
  fmt::print("{} tokens in {} windows; {} with a {} cache against the unquantised model in fp32\n", r.tokens,
             r.windows, name_of(used.quantization), name_of(*used.kv_dtype));
  fmt::print("  perplexity        {:.4f} (unquantised {:.4f}, {:+.3f} %)\n", r.perplexity,
             r.perplexity_reference, 100 * (r.perplexity / r.perplexity_reference - 1));
  fmt::print("  mean KL           {:.6f} nats (p99 {:.5f}, max {:.5f})\n", r.mean_kl, r.p99_kl, r.max_kl);
  fmt::print("  top-1 agreement   {:.2f} %\n", 100 * r.top1_agreement);
  fmt::print("  time              {:.2f} s (unquantised {:.2f} s)\n", r.seconds, r.seconds_reference);
  return 0;
}

}  // namespace

std::function<int()> setup_eval(Arguments& app) {
  auto o = std::make_shared<Options>();
  add_model_options(app, o->model);
  app.add_option("-f,--file", o->text_file, "text to evaluate on (UTF-8)");
  app.add_option("--multiple-choice", o->choices_file,
                 "questions instead of a text: JSON lines with question, choices and answer");
  app.add_option("--reference", o->reference,
                 "unquantised model to compare with (default: the same folder; needed for INT8 folders)");
  app.add_option("--window", o->window, "tokens of a window, each starting afresh (default: the context)");
  app.add_option("--max-tokens", o->max_tokens, "stop after this many tokens of the text");
  app.add_flag("--json", o->json, "machine-readable");
  return [o] { return run(*o); };
}

}  // namespace octavo::app
