// octavo inspect: what a model folder holds, checked as a loader would check it.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <map>
#include <nlohmann/json.hpp>

#include "command.h"
#include "formats/tensor_folder.h"
#include "model_options.h"
#include "terminal.h"
#include "weights/weight_loader.h"

namespace octavo::app {
namespace {

struct Options {
  std::string model;
  bool tensors = false, json = false;
};

int run(const Options& o) {
  const std::string folder = find_model(o.model);
  const ModelConfig c = ModelConfig::load(folder);
  const WeightLoader loader = WeightLoader::open(folder, Context{});
  const Tokenizer tokenizer = load_tokenizer(folder);
  std::map<std::string, std::pair<int64_t, int64_t>> by_dtype;  // tensors, bytes
  for (const TensorInfo* t : loader.files().tensors()) {
    auto& [count, bytes] = by_dtype[t->dtype_name];
    ++count, bytes += t->bytes();
  }
  if (o.json) {
    nlohmann::ordered_json j;
    j["folder"] = folder, j["architecture"] = c.architecture, j["parameters"] = c.parameters();
    j["hidden_size"] = c.hidden, j["intermediate_size"] = c.ffn, j["num_hidden_layers"] = c.layers;
    j["num_attention_heads"] = c.heads, j["num_key_value_heads"] = c.kv_heads, j["head_dim"] = c.head_dim;
    j["vocab_size"] = c.vocab, j["max_position_embeddings"] = c.max_positions,
    j["tie_word_embeddings"] = c.tied_embeddings;
    j["quantized"] = loader.file_is_quantized();
    j["notes"] = checkpoint_notes(folder);
    for (const auto& [dtype, sums] : by_dtype)
      j["dtypes"][dtype] = {{"tensors", sums.first}, {"bytes", sums.second}};
    if (o.tensors)
      for (const TensorInfo* t : loader.files().tensors())
        j["tensors"].push_back({{"name", t->name}, {"dtype", t->dtype_name}, {"shape", t->shape}});
    write_stdout(j.dump(2) + "\n");
    return 0;
  }
  fmt::print("{}\n  {}, {} parameters{}\n", folder, c.architecture, c.parameters(),
             !loader.file_is_quantized() ? ""
             : loader.quantization().layout == QuantizationConfig::Layout::bitsandbytes
                 ? ", INT8 (bitsandbytes)"
                 : ", INT8 (compressed-tensors)");
  fmt::print("  {} layers, width {}, feed-forward {}, {} query heads and {} KV heads of {}\n", c.layers,
             c.hidden, c.ffn, c.heads, c.kv_heads, c.head_dim);
  fmt::print("  vocabulary {} ({} embeddings), tokenizer {} tokens, context {}\n", c.vocab,
             c.tied_embeddings ? "tied" : "untied", tokenizer.vocab_size(), c.max_positions);
  for (const auto& [dtype, sums] : by_dtype)
    fmt::print("  {:>5} tensors of {}, {}\n", sums.first, dtype, human_bytes(sums.second));
  for (const std::string& note : checkpoint_notes(folder)) fmt::print("  note: {}\n", note);
  if (o.tensors)
    for (const TensorInfo* t : loader.files().tensors())
      fmt::print("  {:<5}{:<64}[{}]\n", t->dtype_name, t->name, fmt::join(t->shape, ", "));
  return 0;
}

}  // namespace

std::function<int()> setup_inspect(Arguments& app) {
  auto o = std::make_shared<Options>();
  app.add_option(
      "-m,--model,--model-path", o->model,
      "model: Hugging Face folder, .gguf file, or org/name in the Hugging Face cache (default: built-in)");
  app.add_flag("--tensors", o->tensors, "list every tensor");
  app.add_flag("--json", o->json, "machine-readable");
  return [o] { return run(*o); };
}

}  // namespace octavo::app
