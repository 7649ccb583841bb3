// octavo: language models in eight bits. The table of subcommands, and how errors become exit codes (design 9).
#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include <csignal>
#include <cstdio>

#include "command.h"
#include "core/error.h"
#include "suggest.h"
#include "terminal.h"

namespace octavo::app {
namespace {

constexpr Command kCommands[] = {
    {"generate", "continue a prompt with a model", setup_generate},
    {"chat", "talk with a chat model, with its own chat template", setup_chat},
    {"embed", "vectors of texts with an encoder", setup_embed},
    {"plan", "the bytes that a model will need, before anything is loaded", setup_plan},
    {"inspect", "what a model folder holds", setup_inspect},
    {"quantize", "write an INT8 copy of a model (compressed-tensors)", setup_quantize},
    {"eval", "what INT8 costs: perplexity, KL divergence and agreement against the unquantised model",
     setup_eval},
    {"explain", "which kernel runs for which shape, and why", setup_explain},
    {"selftest", "every kernel of this CPU against the reference", setup_selftest},
    {"demo", "the built-in model in INT8: text, speed, memory, accuracy", setup_demo},
};

constexpr const char* kExamples = R"(
Examples:
  octavo demo
  octavo generate -p "Once upon a time" -n 100
  octavo generate -m path/to/hf-folder -p "Hello" --temp 0
  octavo chat -m path/to/hf-folder --system "You are terse."
  octavo plan -m path/to/hf-folder --memory-budget 6GiB
  octavo quantize -m path/to/hf-folder -o path/to/int8-folder)";

int report_usage(const CLI::App& app, const std::string& message) {
  fmt::print(stderr, "octavo: {}\nRun `{} --help` for the options.\n", message, app.get_name());
  return static_cast<int>(ErrorKind::usage);
}

// The subcommand that was parsed, or the program itself.
const CLI::App& parsed_app(const CLI::App& app) {
  const auto subcommands = app.get_subcommands();
  return subcommands.empty() ? app : *subcommands.front();
}

int run(int argc, char** argv) {
  CLI::App app{"octavo: language models in eight bits, at the speed of the machine", "octavo"};
  app.set_version_flag("--version", std::string("octavo ") + OCTAVO_VERSION);
  app.require_subcommand(1);
  app.footer(kExamples);
  std::vector<std::pair<CLI::App*, std::function<int()>>> commands;
  for (const Command& c : kCommands) {
    CLI::App* sub = app.add_subcommand(c.name, c.summary);
    Arguments arguments(*sub);
    commands.emplace_back(sub, c.setup(arguments));
    for (CLI::Option* option : sub->get_options()) add_environment_name(*option);
  }
  if (argc == 1) {
    fmt::print("{}", app.help());
    return 0;
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    fmt::print("{}", parsed_app(app).help());
    return 0;
  } catch (const CLI::CallForAllHelp&) {
    fmt::print("{}", app.help("", CLI::AppFormatMode::All));
    return 0;
  } catch (const CLI::CallForVersion& v) {
    fmt::print("{}\n", v.what());
    return 0;
  } catch (const CLI::ParseError& e) {
    const CLI::App& where = parsed_app(app);
    return report_usage(where, explain_parse_error(where, e, {argv + 1, argv + argc}));
  }
  for (auto& [sub, command] : commands)
    if (sub->parsed()) return command();
  return static_cast<int>(ErrorKind::usage);
}

}  // namespace
}  // namespace octavo::app

int main(int argc, char** argv) {
  octavo::app::watch_interrupts();
  std::signal(SIGPIPE, SIG_IGN);  // a closed pipe and a full disk quota are write errors, which say so
  std::signal(SIGXFSZ, SIG_IGN);
  try {
    const int code = octavo::app::run(argc, argv);
    return octavo::app::flush_stdout() ? code : static_cast<int>(octavo::ErrorKind::runtime);
  } catch (const octavo::Error& e) {
    octavo::app::clear_progress();
    fmt::print(stderr, "octavo: {}\n", e.what());
    return static_cast<int>(e.kind());
  } catch (const std::bad_alloc&) {
    fmt::print(stderr,
               "octavo: out of memory; try a smaller -c or --kv-cache-dtype int8, and see `octavo plan`\n");
    return static_cast<int>(octavo::ErrorKind::out_of_memory);
  } catch (const std::exception& e) {
    fmt::print(stderr, "octavo: unexpected error: {}\n", e.what());
    return static_cast<int>(octavo::ErrorKind::runtime);
  }
}
