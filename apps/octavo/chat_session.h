// A conversation with a chat model: its messages, and the text that the model gets for them.
#pragma once
#include <nlohmann/json.hpp>
#include <string>

#include "tokenizer/chat_template.h"

namespace octavo::app {

class ChatSession {
 public:
  ChatSession(ChatTemplate chat_template, ChatRenderOptions options)
      : template_(std::move(chat_template)), options_(std::move(options)) {}

  // A JSON array of messages instead of what there is. Throws usage when it is none.
  void set_messages(const std::string& json);
  void set_system(const std::string& text);  // the first message; empty: without one
  void add(const std::string& role, const std::string& text);
  void drop_last() { messages_.erase(messages_.size() - 1); }
  void reset();  // to the system message, if there is one

  std::string prompt() const;  // throws what the template refuses
  size_t size() const { return messages_.size(); }

 private:
  bool has_system() const;
  ChatTemplate template_;
  ChatRenderOptions options_;
  nlohmann::ordered_json messages_ = nlohmann::ordered_json::array();
};

// `choice`: a file with a template, the name of one of the model's templates, or empty for the model's own.
// `model`: a Hugging Face folder or a .gguf file.
ChatTemplate find_chat_template(const std::string& model, const std::string& choice);

}  // namespace octavo::app
