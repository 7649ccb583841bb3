// octavo embed: texts to vectors with an encoder. Vectors go to stdout, one line a text, everything else to stderr.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <sstream>

#include "command.h"
#include "engine/embedder.h"
#include "formats/json_file.h"
#include "model_options.h"
#include "terminal.h"

namespace octavo::app {
namespace {

struct Options {
  ModelOptions model;
  std::vector<std::string> texts;
  std::string file, pooling;
  bool truncate = false, raw = false, json = false, quiet = false;
};

// The texts of the command line, then one of every line of the file.
std::vector<std::string> read_texts(const Options& o) {
  std::vector<std::string> texts = o.texts;
  if (!o.file.empty()) {
    std::istringstream lines(o.file == "-" ? std::string(std::istreambuf_iterator<char>(std::cin), {})
                                           : read_text_file(o.file, int64_t{1} << 30));
    for (std::string line; std::getline(lines, line); texts.push_back(line))
      if (line.ends_with('\r')) line.pop_back();
  }
  if (texts.empty()) throw Error(ErrorKind::usage, "embed: no text; give some, or a file with -f (-: stdin)");
  return texts;
}

// The shape of OpenAI's answer, so that what reads one reads the other.
nlohmann::ordered_json to_json(const std::vector<std::vector<float>>& vectors, const Embedder& embedder) {
  nlohmann::ordered_json j;
  j["object"] = "list", j["data"] = nlohmann::ordered_json::array();
  for (size_t i = 0; i < vectors.size(); ++i)
    j["data"].push_back({{"object", "embedding"}, {"index", i}, {"embedding", vectors[i]}});
  j["model"] = embedder.model().config().architecture;
  j["usage"] = {{"prompt_tokens", embedder.tokens_seen()}, {"total_tokens", embedder.tokens_seen()}};
  return j;
}

int run(const Options& o) {
  const std::vector<std::string> texts = read_texts(o);
  EmbedderOptions options;
  options.engine = o.model.engine_options();
  if (!o.pooling.empty()) options.pooling = parse_pooling(o.pooling);
  options.truncate = o.truncate, options.normalize = !o.raw;
  Embedder embedder = Embedder::load(
      o.model.folder(), options, [](int64_t done, int64_t total) { show_progress("loading", done, total); });
  const auto vectors = embedder.embed(texts, [&](int64_t done) {
    show_progress("embedding", done, static_cast<int64_t>(texts.size()));
    if (interrupted()) throw Error(ErrorKind::interrupted, "interrupted");
  });
  clear_progress();
  if (o.json) {
    write_stdout(to_json(vectors, embedder).dump() + "\n");
  } else {
    for (const std::vector<float>& vector : vectors)
      write_stdout(fmt::format("{}\n", fmt::join(vector, " ")));
  }
  if (!o.quiet)
    fmt::print(stderr, "{} texts, {} tokens, vectors of {} | {} | {} pooling{}\n", texts.size(),
               embedder.tokens_seen(), embedder.width(), name_of(options.engine.quantization),
               *embedder.options().pooling == Pooling::mean ? "mean" : "cls",
               embedder.texts_cut() > 0 ? fmt::format(" | {} texts were cut to {} tokens",
                                                      embedder.texts_cut(), embedder.max_tokens())
                                        : "");
  return 0;
}

}  // namespace

std::function<int()> setup_embed(Arguments& app) {
  auto o = std::make_shared<Options>();
  app.add_option("texts", o->texts, "texts to embed");
  app.add_option("-f,--file", o->file, "one text a line from a file (-: stdin)");
  app.add_option("-m,--model,--model-path", o->model.model,
                 "encoder: Hugging Face folder, or org/name in the Hugging Face cache")
      .required();
  app.add_option("--tokenizer", o->model.tokenizer,
                 "folder or file to take the tokenizer from (default: the model's own)");
  app.add_option("--pooling", o->pooling, "mean | cls (default: the model's, else mean)");
  app.add_flag("--truncate", o->truncate, "cut texts that are too long; else they are an error");
  app.add_flag("--no-normalize", o->raw, "vectors as pooled, not of length 1");
  app.add_option("--quantization", o->model.quantization, "auto (w8a8) | w8a8 | w8a16 | none")
      .capture_default_str();
  app.add_option("-c,--ctx-size,--max-model-len,--context-length", o->model.context,
                 "tokens of a text at most (default: the model's)");
  app.add_option("--memory-budget", o->model.memory_budget, "hard limit for the plan's total, e.g. 6GiB");
  app.add_option("-t,--threads", o->model.threads, "threads (default: all cores)");
  app.add_option("--isa", o->model.isa, "auto | reference | avx2 | avx512").capture_default_str();
  app.add_flag("--json", o->json, "one JSON object, as OpenAI's /v1/embeddings answers");
  app.add_flag("-q,--quiet", o->quiet, "no summary on stderr");
  return [o] { return run(*o); };
}

}  // namespace octavo::app
