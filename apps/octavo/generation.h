// What generate and chat share: the flags that say how a text goes on (the command line, then the model's
// generation_config.json, then neutral values), and showing it while it is made.
#pragma once
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "arguments.h"
#include "engine/engine.h"

namespace octavo::app {

struct GenerationFlags {
  std::optional<float> temperature, top_p, min_p, repeat_penalty;
  std::optional<int> top_k;
  std::optional<uint64_t> seed;
  std::vector<std::string> stop;
  int64_t max_tokens;
  bool ignore_eos = false, json = false, quiet = false;
};

// `max_tokens` and `json` differ in what they mean: each command says it.
void add_generation_options(Arguments& app, GenerationFlags& flags, const char* max_tokens, const char* json);

// `said`: the sampling that was chosen and where it comes from, for people.
GenerateOptions generate_options(const GenerationFlags& flags, const std::string& model_folder,
                                 std::string& said);

// Goes on from `ids`; unless JSON is asked for, the text goes to stdout as it is made, with a line's end. Stops at an
// interrupt. Throws runtime when nobody reads stdout any more.
Generation generate_to_stdout(Engine& engine, std::span<const int32_t> ids, const GenerateOptions& options,
                              const GenerationFlags& flags);

}  // namespace octavo::app
