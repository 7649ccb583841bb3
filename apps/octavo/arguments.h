// The command line of one subcommand. Only arguments.cpp, main.cpp and suggest.cpp see CLI11: its headers cost a file 6 s to compile.
#pragma once
#include <string>

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace octavo::app {

class Argument {
 public:
  explicit Argument(CLI::Option* option) : option_(option) {}
  Argument& capture_default_str();  // the help shows the value at this moment as the default
  Argument& required();
  Argument& positive();

 private:
  CLI::Option* option_;
};

class Arguments {
 public:
  explicit Arguments(CLI::App& app) : app_(app) {}

  // Value: std::string, a number, an optional of a number, a vector of strings (arguments.cpp has the list).
  template <class Value>
  Argument add_option(const std::string& names, Value& value, const std::string& text);
  Argument add_flag(const std::string& names, bool& value, const std::string& text);

 private:
  CLI::App& app_;
};

}  // namespace octavo::app
