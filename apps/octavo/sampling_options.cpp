#include "sampling_options.h"

#include <fmt/format.h>

namespace octavo::app {

void add_sampling_options(Arguments& app, SamplingFlags& flags) {
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
}

SamplingOptions choose_sampling(const SamplingFlags& flags, const GenerationDefaults& model,
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
  return s;
}

}  // namespace octavo::app
