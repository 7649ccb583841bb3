// Chat templates: the text that a chat model expects, rendered from messages by the Jinja template that it was published
// with. The result is what transformers' apply_chat_template(tokenize=False) gives (jinja2 3.1 in its immutable sandbox,
// trim_blocks, lstrip_blocks, break and continue, raise_exception, strftime_now, tojson, {% generation %}).
// Templates are untrusted: they see no objects, files or environment, and RenderLimits bound what a render may cost.
#pragma once
#include <ctime>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/error.h"
#include "tokenizer/chat_template_budget.h"

namespace octavo {

struct ChatMessage {
  std::string role, content;  // UTF-8
};

struct ChatRenderOptions {
  bool add_generation_prompt = true;  // end with what comes before an answer of the assistant
  // Variables of the template that hold special tokens: {"bos_token", "<s>"}, ...
  std::vector<std::pair<std::string, std::string>> special_tokens;
  std::string tools, documents;  // JSON arrays; empty: none
  std::string variables;         // JSON object of more variables, e.g. {"enable_thinking": false}
  std::optional<std::tm> now;    // of strftime_now; absent: local time
  RenderLimits limits;
};

namespace chat {
struct ParsedTemplate;
}

// Immutable; render may be called from several threads at once.
class ChatTemplate {
 public:
  // `name` stands for the template in messages. Errors: bad_model with name and line for what is no template, and for what
  // octavo does not support (named).
  static ChatTemplate parse(std::string_view text, const std::string& name = "chat template");

  // The template of a model folder: chat_template.jinja, else "chat_template" of tokenizer_config.json (a string, or several
  // with names), else chat_template.json. `choice` names one of several; empty: "default", the only one, or an error that
  // lists them. Errors: bad_model when there is none, with what to do.
  static ChatTemplate load(const std::filesystem::path& folder, const std::string& choice = {});
  static ChatTemplate load_file(const std::filesystem::path& file);

  // Errors: usage for what the template itself refuses (raise_exception) and for bad input; bad_model, with the line, for
  // faults and exceeded limits.
  std::string render(std::span<const ChatMessage> messages, const ChatRenderOptions& options = {}) const;
  // `messages`: a JSON array of objects, with whatever the template knows: tool_calls, parts of content, ...
  // As transformers does it, null members are left out and reasoning is given under each of its names.
  std::string render_json(std::string_view messages, const ChatRenderOptions& options = {}) const;

  const std::string& name() const { return name_; }

 private:
  ChatTemplate(std::shared_ptr<const chat::ParsedTemplate> parsed, std::string name)
      : parsed_(std::move(parsed)), name_(std::move(name)) {}
  std::shared_ptr<const chat::ParsedTemplate> parsed_;
  std::string name_;
};

// bos_token, eos_token, ... as special_tokens_map.json and tokenizer_config.json of a model folder name them.
std::vector<std::pair<std::string, std::string>> chat_special_tokens(const std::filesystem::path& folder);

}  // namespace octavo
