// A subcommand of the program: main.cpp has the table, every cmd_<name>.cpp one entry.
#pragma once
#include <functional>

#include "arguments.h"

namespace octavo::app {

struct Command {
  const char* name;
  const char* summary;
  // Adds the options to `app` and returns what runs once they are parsed; it returns the exit code.
  std::function<int()> (*setup)(Arguments& app);
};

std::function<int()> setup_generate(Arguments& app);
std::function<int()> setup_chat(Arguments& app);
std::function<int()> setup_embed(Arguments& app);
std::function<int()> setup_plan(Arguments& app);
std::function<int()> setup_inspect(Arguments& app);
std::function<int()> setup_quantize(Arguments& app);
std::function<int()> setup_eval(Arguments& app);
std::function<int()> setup_explain(Arguments& app);
std::function<int()> setup_selftest(Arguments& app);
std::function<int()> setup_demo(Arguments& app);

}  // namespace octavo::app
