// A subcommand of the program: main.cpp has the table, every cmd_<name>.cpp one entry.
#pragma once
#include <CLI/CLI.hpp>
#include <functional>

namespace octavo::app {

struct Command {
  const char* name;
  const char* summary;
  // Adds the options to `app` and returns what runs once they are parsed; it returns the exit code.
  std::function<int()> (*setup)(CLI::App& app);
};

std::function<int()> setup_generate(CLI::App& app);
std::function<int()> setup_chat(CLI::App& app);
std::function<int()> setup_embed(CLI::App& app);
std::function<int()> setup_plan(CLI::App& app);
std::function<int()> setup_inspect(CLI::App& app);
std::function<int()> setup_quantize(CLI::App& app);
std::function<int()> setup_eval(CLI::App& app);
std::function<int()> setup_explain(CLI::App& app);
std::function<int()> setup_selftest(CLI::App& app);
std::function<int()> setup_demo(CLI::App& app);

}  // namespace octavo::app
