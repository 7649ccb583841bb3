#include "chat_session.h"

#include <fmt/format.h>

#include <filesystem>

#include "formats/gguf.h"
#include "tokenizer/utf8.h"

namespace octavo::app {
namespace {

void check_utf8(const std::string& text) {
  const size_t bad = tokenizer::first_invalid_utf8(text);
  if (bad != std::string::npos)
    throw Error(ErrorKind::usage,
                fmt::format("the message is not valid UTF-8 at byte {} of {}", bad, text.size()));
}

// NOTE: an object by name: inside of insert() and push_back() braces mean a list.
nlohmann::ordered_json message(const std::string& role, const std::string& text) {
  return nlohmann::ordered_json::object({{"role", role}, {"content", text}});
}

}  // namespace

void ChatSession::set_messages(const std::string& json) {
  auto parsed = nlohmann::ordered_json::parse(json, nullptr, false);
  if (!parsed.is_array() || parsed.empty())
    throw Error(ErrorKind::usage,
                "--messages: expected a JSON array of messages, [{\"role\": ..., \"content\": ...}, ...]");
  messages_ = std::move(parsed);
}

bool ChatSession::has_system() const {
  return !messages_.empty() && messages_[0].is_object() && messages_[0].value("role", "") == "system";
}

void ChatSession::set_system(const std::string& text) {
  check_utf8(text);
  if (has_system()) messages_.erase(0);
  if (!text.empty()) messages_.insert(messages_.begin(), message("system", text));
}

void ChatSession::add(const std::string& role, const std::string& text) {
  check_utf8(text);
  messages_.push_back(message(role, text));
}

void ChatSession::reset() {
  auto kept = nlohmann::ordered_json::array();
  if (has_system()) kept.push_back(messages_[0]);
  messages_ = std::move(kept);
}

std::string ChatSession::prompt() const { return template_.render_json(messages_.dump(), options_); }

ChatTemplate find_chat_template(const std::string& model, const std::string& choice) {
  if (!choice.empty() && std::filesystem::is_regular_file(choice)) return ChatTemplate::load_file(choice);
  if (std::filesystem::is_directory(model)) return ChatTemplate::load(model, choice);
  const std::string text = GgufFile::open(model).metadata().string_or("tokenizer.chat_template", "");
  if (text.empty() || !choice.empty())
    throw Error(
        ErrorKind::bad_model,
        text.empty()
            ? fmt::format("{}: the model has no chat template (tokenizer.chat_template); is it a chat "
                          "model? Give a template with --chat-template FILE",
                          model)
            : fmt::format("--chat-template {}: no such file", choice));
  return ChatTemplate::parse(text, model + ": tokenizer.chat_template");
}

}  // namespace octavo::app
