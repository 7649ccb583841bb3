#include "arguments.h"

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <vector>

namespace octavo::app {

Argument& Argument::capture_default_str() {
  option_->capture_default_str();
  return *this;
}

Argument& Argument::required() {
  option_->required();
  return *this;
}

Argument& Argument::positive() {
  option_->check(CLI::PositiveNumber);
  return *this;
}

template <class Value>
Argument Arguments::add_option(const std::string& names, Value& value, const std::string& text) {
  return Argument(app_.add_option(names, value, text));
}

Argument Arguments::add_flag(const std::string& names, bool& value, const std::string& text) {
  return Argument(app_.add_flag(names, value, text));
}

template Argument Arguments::add_option(const std::string&, std::string&, const std::string&);
template Argument Arguments::add_option(const std::string&, std::vector<std::string>&, const std::string&);
template Argument Arguments::add_option(const std::string&, int&, const std::string&);
template Argument Arguments::add_option(const std::string&, int64_t&, const std::string&);
template Argument Arguments::add_option(const std::string&, double&, const std::string&);
template Argument Arguments::add_option(const std::string&, std::optional<int>&, const std::string&);
template Argument Arguments::add_option(const std::string&, std::optional<float>&, const std::string&);
template Argument Arguments::add_option(const std::string&, std::optional<uint64_t>&, const std::string&);

}  // namespace octavo::app
