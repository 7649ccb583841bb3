// Encoding on one core: MB/s of UTF-8 over real texts, GPT-2's tokenizer and others under ../shared/data. Writes
// bench/results/cpu/tokenizer.json; `best` of each row is the time of one pass over the text.
#include <fmt/format.h>
#include <stdio.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "harness/bench_report.h"
#include "harness/timing.h"
#include "tokenizer/tokenizer.h"

namespace octavo {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::string data = std::string(OCTAVO_SOURCE_DIR) + "/../shared/data";
  std::string out = std::string(OCTAVO_SOURCE_DIR) + "/bench/results/cpu";
  int rounds = 5;
  size_t most_bytes = 8 << 20;  // of each text
};

std::string output_of(const std::string& command, size_t most_bytes) {
  FILE* pipe = popen(command.c_str(), "r");
  std::string text(most_bytes, '\0');
  text.resize(pipe ? fread(text.data(), 1, most_bytes, pipe) : 0);
  if (pipe) pclose(pipe);
  return text;
}

// The first bytes of a text up to a whole line, so that no character is cut.
std::string text_of(const fs::path& path, size_t most_bytes) {
  std::string text;
  if (path.extension() == ".xz") {
    text = output_of("xz -dc '" + path.string() + "'", most_bytes);
  } else {
    std::ifstream in(path, std::ios::binary);
    std::stringstream all;
    all << in.rdbuf();
    text = all.str().substr(0, most_bytes);
  }
  text.resize(text.rfind('\n') + 1);
  if (text.empty()) throw std::runtime_error("no text in " + path.string());
  return text;
}

int run(const Options& o) {
  const std::pair<const char*, std::string> tokenizers[] = {
      {"gpt2", o.data + "/gpt2-tokenizer"},
      {"neox", o.data + "/neox-tokenizer"},
      {"stories260K", o.data + "/stories260K/hf"},
      {"demo", std::string(OCTAVO_SOURCE_DIR) + "/models/demo"}};
  const std::pair<const char*, std::string> texts[] = {
      {"prose", o.data + "/text/prose.txt.xz"},
      {"children", o.data + "/text/children.txt.xz"},
      {"tinyshakespeare", o.data + "/text/tinyshakespeare.txt"}};
  harness::BenchReport report("tokenizer", 1);
  for (const auto& [name, folder] : tokenizers) {
    const Tokenizer tokenizer = Tokenizer::load(folder);
    for (const auto& [text_name, path] : texts) {
      const std::string text = text_of(path, o.most_bytes);
      size_t tokens = 0;
      const auto timing = harness::time_interleaved({[&] { tokens = tokenizer.encode(text).size(); }},
                                                    {.rounds = o.rounds, .seconds_per_round = 0.5});
      const double seconds = timing[0].best();
      report.add(
          {.name = fmt::format("{}/{}", name, text_name),
           .shape = {{"bytes", static_cast<int64_t>(text.size())}, {"tokens", static_cast<int64_t>(tokens)}},
           .variant = "encode",
           .timing = timing[0],
           .bytes = static_cast<int64_t>(text.size()),
           .more = {{"mb_per_s", static_cast<double>(text.size()) / seconds * 1e-6},
                    {"tokens_per_s", static_cast<double>(tokens) / seconds}}});
    }
  }
  report.write(o.out);
  return 0;
}

}  // namespace
}  // namespace octavo

int main(int argc, char** argv) {
  octavo::Options o;
  CLI::App app{"encoding speed of real tokenizers on real texts, one core"};
  app.add_option("--data", o.data, "folder of the tokenizers and texts")->capture_default_str();
  app.add_option("--rounds", o.rounds, "the best counts")->capture_default_str();
  app.add_option("--out", o.out, "folder of the JSON")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  try {
    return octavo::run(o);
  } catch (const std::exception& e) {
    fmt::print(stderr, "tokenizer_bench: {}\n", e.what());
    return 1;
  }
}
