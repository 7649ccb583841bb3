#include "suggest.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

namespace octavo::app {
namespace {

size_t edit_distance(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row.back();
}

std::vector<std::string> names_of(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options())
    for (const auto& name : option->get_lnames()) names.push_back("--" + name);
  for (const CLI::App* sub : app.get_subcommands({})) names.push_back(sub->get_name());
  return names;
}

}  // namespace

std::string nearest(const std::string& word, const std::vector<std::string>& candidates) {
  std::string best;
  size_t least = std::max<size_t>(2, word.size() / 3) + 1;
  for (const auto& candidate : candidates)
    if (const size_t distance = edit_distance(word, candidate); distance < least)
      least = distance, best = candidate;
  return best;
}

std::string explain_parse_error(const CLI::App& app, const CLI::ParseError& error,
                                const std::vector<std::string>& arguments) {
  if (dynamic_cast<const CLI::ExtrasError*>(&error) || dynamic_cast<const CLI::RequiredError*>(&error)) {
    const auto names = names_of(app);
    const std::vector<std::string> left = app.remaining();
    for (const auto& argument : left.empty() ? arguments : left) {
      const std::string word = argument.substr(0, argument.find('='));
      if (std::find(names.begin(), names.end(), word) != names.end()) continue;
      const std::string near = nearest(word, names);
      return near.empty() ? fmt::format("{} is unknown", word)
                          : fmt::format("{} is unknown; did you mean {}?", word, near);
    }
  }
  return error.what();
}

void add_environment_name(CLI::Option& option) {
  if (option.get_lnames().empty() || option.get_lnames().front() == "help") return;
  std::string name = "OCTAVO_";
  for (char c : option.get_lnames().front()) name += c == '-' ? '_' : static_cast<char>(std::toupper(c));
  option.envname(name);
}

}  // namespace octavo::app
