// Renders chat templates for tools/chat_template_parity.py. Each line of stdin is a JSON object
//   {"template": "...", "messages": [...], "tools": [...], "documents": [...], "variables": {...},
//    "special_tokens": {...}, "add_generation_prompt": true}
// and becomes a line {"text": "..."} or {"error": "..."} of stdout. The time is fixed to 26 July 2024, 12:34:56.
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>

#include "tokenizer/chat_template.h"

namespace {

using Json = nlohmann::ordered_json;

std::string dump_or_empty(const Json& request, const char* key) {
  return request.contains(key) && !request[key].is_null() ? request[key].dump() : "";
}

std::string render(const Json& request) {
  octavo::ChatRenderOptions o;
  o.add_generation_prompt = request.value("add_generation_prompt", false);
  o.tools = dump_or_empty(request, "tools");
  o.documents = dump_or_empty(request, "documents");
  o.variables = dump_or_empty(request, "variables");
  if (request.contains("special_tokens"))
    for (const auto& [name, token] : request["special_tokens"].items())
      o.special_tokens.emplace_back(name, token);
  std::tm now{};
  now.tm_year = 124, now.tm_mon = 6, now.tm_mday = 26, now.tm_hour = 12, now.tm_min = 34, now.tm_sec = 56;
  now.tm_wday = 5, now.tm_yday = 207;
  o.now = now;
  const auto chat = octavo::ChatTemplate::parse(request["template"].get<std::string>());
  return chat.render_json(request["messages"].dump(), o);
}

}  // namespace

int main() {
  for (std::string line; std::getline(std::cin, line);) {
    Json answer;
    try {
      answer["text"] = render(Json::parse(line));
    } catch (const std::exception& e) {
      answer["error"] = e.what();
    }
    std::cout << answer.dump(-1, ' ', true) << std::endl;
  }
}
