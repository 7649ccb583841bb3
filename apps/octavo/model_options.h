// Options that every command with a model takes, and how they become an engine.
#pragma once
#include <string>

#include "arguments.h"
#include "engine/engine.h"

namespace octavo::app {

struct ModelOptions {
  std::string model;      // folder, .gguf file or org/name; empty: the built-in model
  std::string tokenizer;  // folder to take the tokenizer from; empty: the model's own
  std::string quantization = "auto", kv_dtype = "auto", isa = "auto", memory_budget;
  int64_t context = 0, prefill_chunk = 256;
  int threads = 0;

  EngineOptions engine_options() const;  // throws usage for values that nothing has
  std::string folder() const;            // where the model lies; throws bad_model when there is none
};

void add_model_options(Arguments& app, ModelOptions& options);

// A folder or .gguf file as given, org/name in the Hugging Face cache, or the built-in model for an empty name.
std::string find_model(const std::string& name);

// Loads with a progress bar.
Engine load_engine(const ModelOptions& options);

}  // namespace octavo::app
