#include "generation.h"

#include <fmt/format.h>

#include <random>

#include "terminal.h"

namespace octavo::app {

void add_generation_options(Arguments& app, GenerationFlags& flags, const char* max_tokens,
                            const char* json) {
  app.add_option("-n,--max-tokens,--n-predict,--predict,--max-new-tokens", flags.max_tokens, max_tokens)
      .capture_default_str();
  app.add_option("--temp,--temperature", flags.temperature,
                 "0: always the most likely token (default: the model's, else 0.8)");
  app.add_option("--top-k", flags.top_k, "only the k most likely tokens (0: off)");
  app.add_option("--top-p", flags.top_p,
                 "only the most likely tokens that make up this probability (1: off)");
  app.add_option("--min-p", flags.min_p, "only tokens at least this likely relative to the best (0: off)");
  app.add_option("--repeat-penalty,--repetition-penalty", flags.repeat_penalty,
                 "divides the logits of tokens already seen (1: off)");
  app.add_option("-s,--seed", flags.seed, "the same seed gives the same text (default: random, printed)");
  app.add_option("--stop", flags.stop, "end at this text (may be repeated)");
  app.add_flag("--ignore-eos", flags.ignore_eos, "go on after the end-of-text token");
  app.add_flag("--json", flags.json, json);
  app.add_flag("-q,--quiet", flags.quiet, "no summary on stderr");
}

namespace {

SamplingOptions choose_sampling(const GenerationFlags& flags, const GenerationDefaults& model,
                                std::string& said) {
  SamplingOptions s;
  const auto pick = [&](const char* name, const auto& flag, const auto& from_model, auto& value) {
    if (flag)
      value = *flag;
    else if (from_model)
      value = *from_model;
    if (flag || from_model)
      said += fmt::format("{}{} {}{}", said.empty() ? "" : ", ", name, value, flag ? "" : " (model)");
  };
  s.temperature = 0.8f;
  pick("temperature", flags.temperature, model.temperature, s.temperature);
  pick("top-k", flags.top_k, model.top_k, s.top_k);
  pick("top-p", flags.top_p, model.top_p, s.top_p);
  pick("min-p", flags.min_p, model.min_p, s.min_p);
  pick("repeat-penalty", flags.repeat_penalty, model.repetition_penalty, s.repetition_penalty);
  if (said.empty()) said = fmt::format("temperature {}", s.temperature);
  return s;
}

}  // namespace

GenerateOptions generate_options(const GenerationFlags& flags, const std::string& model_folder,
                                 std::string& said) {
  GenerateOptions g;
  g.sampling = choose_sampling(flags, GenerationDefaults::load(model_folder), said);
  g.seed = flags.seed ? *flags.seed : std::random_device{}();
  g.max_tokens = flags.max_tokens, g.stop = flags.stop, g.ignore_eos = flags.ignore_eos;
  return g;
}

Generation generate_to_stdout(Engine& engine, std::span<const int32_t> ids, const GenerateOptions& options,
                              const GenerationFlags& flags) {
  bool reader_gone = false;
  const auto show = [&](std::string_view text) { reader_gone |= !flags.json && !write_stdout(text); };
  Generation result = engine.generate(ids, options, [&](std::string_view text) {
    show(text);
    return !reader_gone && !interrupted();
  });
  show("\n");
  if (reader_gone)
    throw Error(ErrorKind::runtime,
                "the output could not be written (is the reader gone, or the disk full?)");
  return result;
}

}  // namespace octavo::app
