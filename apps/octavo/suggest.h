// Helpful words for a command line that does not parse.
#pragma once
#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace octavo::app {

// What is wrong, and the nearest option or subcommand that exists.
std::string explain_parse_error(const CLI::App& app, const CLI::ParseError& error,
                                const std::vector<std::string>& arguments);
// The candidate with the least edit distance to `word`; empty when none is near.
std::string nearest(const std::string& word, const std::vector<std::string>& candidates);
// --max-tokens may be set by OCTAVO_MAX_TOKENS.
void add_environment_name(CLI::Option& option);

}  // namespace octavo::app
