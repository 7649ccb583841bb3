// Where chat templates and the names of special tokens lie in a model folder.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "formats/in_quotes.h"
#include "formats/json_file.h"
#include "tokenizer/chat_template.h"

namespace octavo {

namespace fs = std::filesystem;

namespace {

constexpr int64_t kLargestFile = 4 << 20;
using Named = std::vector<std::pair<std::string, std::string>>;  // template by name

bool is_there(const fs::path& path) {
  std::error_code problem;
  return fs::exists(path, problem);
}

nlohmann::json read_if_present(const fs::path& path) {
  return is_there(path) ? read_json_file(path) : nlohmann::json();
}

[[noreturn]] void fail_shape(const fs::path& file, const std::string& what) {
  throw Error(ErrorKind::bad_model, fmt::format("{}: \"chat_template\": {}", file.string(), what));
}

// "chat_template": a string, [{"name": ..., "template": ...}, ...], or {name: template}.
Named templates_in(const nlohmann::json& config, const fs::path& file) {
  if (!config.is_object() || !config.contains("chat_template") || config["chat_template"].is_null())
    return {};
  const nlohmann::json& found = config["chat_template"];
  if (found.is_string()) return {{"default", found.get<std::string>()}};
  Named all;
  if (found.is_object()) {
    for (const auto& [name, text] : found.items()) {
      if (!text.is_string()) fail_shape(file, in_quotes(name) + " is no string");
      all.emplace_back(name, text.get<std::string>());
    }
    return all;
  }
  if (!found.is_array()) fail_shape(file, "expected a string or an array of named templates");
  for (const nlohmann::json& one : found) {
    const auto text = [&](const char* key) {
      if (!one.is_object() || !one.contains(key) || !one[key].is_string())
        fail_shape(file, "expected objects with \"name\" and \"template\"");
      return one[key].get<std::string>();
    };
    all.emplace_back(text("name"), text("template"));
  }
  return all;
}

Named templates_of(const fs::path& folder, fs::path& file) {
  Named all;
  file = folder / "chat_template.jinja";
  if (is_there(file)) all.emplace_back("default", read_text_file(file, kLargestFile));
  std::error_code problem;
  for (const auto& entry : fs::directory_iterator(folder / "additional_chat_templates", problem))
    if (entry.path().extension() == ".jinja")
      all.emplace_back(entry.path().stem().string(), read_text_file(entry.path(), kLargestFile));
  if (!all.empty()) return all;
  for (const char* name : {"tokenizer_config.json", "chat_template.json"}) {
    file = folder / name;
    if (all = templates_in(read_if_present(file), file); !all.empty()) break;
  }
  return all;
}

}  // namespace

ChatTemplate ChatTemplate::load_file(const fs::path& file) {
  return parse(read_text_file(file, kLargestFile), file.string());
}

ChatTemplate ChatTemplate::load(const fs::path& folder, const std::string& choice) {
  fs::path file;
  const Named all = templates_of(folder, file);
  if (all.empty())
    throw Error(
        ErrorKind::bad_model,
        fmt::format("{}: the model has no chat template (chat_template.jinja, \"chat_template\" in "
                    "tokenizer_config.json, or chat_template.json); is it a chat model? Give a template with "
                    "--chat-template FILE",
                    folder.string()));
  const std::string wanted = choice.empty() && all.size() > 1 ? "default" : choice;
  for (const auto& [name, text] : all)
    if (wanted.empty() || name == wanted)
      return parse(text, all.size() > 1 ? fmt::format("{}: template {}", file.string(), in_quotes(name))
                                        : file.string());
  std::string names;
  for (const auto& [name, text] : all) names += names.empty() ? name : fmt::format(", {}", name);
  throw Error(ErrorKind::bad_model, fmt::format("{}: there is no chat template {}; there are {}",
                                                file.string(), in_quotes(wanted), names));
}

std::vector<std::pair<std::string, std::string>> chat_special_tokens(const fs::path& folder) {
  constexpr const char* kNames[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                    "pad_token", "cls_token", "mask_token"};
  Named tokens;
  const auto take = [&](const std::string& name, const nlohmann::json& v) {
    const nlohmann::json* text = v.is_object() && v.contains("content") ? &v["content"] : &v;
    const auto old =
        std::find_if(tokens.begin(), tokens.end(), [&](const auto& known) { return known.first == name; });
    if (text->is_string() && old == tokens.end()) tokens.emplace_back(name, text->get<std::string>());
  };
  for (const char* file : {"tokenizer_config.json", "special_tokens_map.json"}) {
    const nlohmann::json config = read_if_present(folder / file);
    if (!config.is_object()) continue;
    for (const char* name : kNames)
      if (config.contains(name)) take(name, config[name]);
    if (config.contains("extra_special_tokens") && config["extra_special_tokens"].is_object())
      for (const auto& [name, v] : config["extra_special_tokens"].items()) take(name, v);
  }
  return tokens;
}

}  // namespace octavo
