// The sampling flags of generate and chat: the command line, then the model's generation_config.json, then neutral values.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "arguments.h"
#include "engine/engine.h"

namespace octavo::app {

struct SamplingFlags {
  std::optional<float> temperature, top_p, min_p, repeat_penalty;
  std::optional<int> top_k;
  std::optional<uint64_t> seed;
  std::vector<std::string> stop;
};

void add_sampling_options(Arguments& app, SamplingFlags& flags);

// `said` becomes what was chosen and where it comes from, for people.
SamplingOptions choose_sampling(const SamplingFlags& flags, const GenerationDefaults& model,
                                std::string& said);

}  // namespace octavo::app
