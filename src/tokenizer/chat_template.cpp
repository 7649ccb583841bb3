#include "tokenizer/chat_template.h"

#include <fmt/format.h>

#include <algorithm>

#include "tokenizer/chat_template_interpreter.h"
#include "tokenizer/chat_template_parser.h"
#include "tokenizer/utf8.h"

namespace octavo {

using chat::CallArguments;
using chat::Dict;
using chat::RenderError;
using chat::Value;
using Kind = Value::Kind;

namespace {

constexpr size_t kLongestTemplate = size_t{1} << 20;
constexpr size_t kLongestInput = size_t{64} << 20;
constexpr const char* kReserved[] = {"messages", "tools", "documents", "add_generation_prompt"};

void check_utf8(std::string_view text, const std::string& what, ErrorKind kind) {
  const size_t bad = tokenizer::first_invalid_utf8(text);
  if (bad != text.npos)
    throw Error(kind, fmt::format("{}: invalid UTF-8 at byte {} of {}", what, bad, text.size()));
}

Value parse_input(std::string_view json, const char* what) {
  if (json.size() > kLongestInput)
    throw Error(ErrorKind::usage, fmt::format("{}: {} bytes, at most {}", what, json.size(), kLongestInput));
  return chat::from_json(json, what);
}

// As transformers prepares a message: members without a value are dropped, and reasoning stands under every name that
// templates read it by.
Value prepared(const Value& message) {
  Dict members;
  const Value* reasoning = nullptr;
  for (const char* name : {"reasoning_content", "thinking", "reasoning"}) {
    const Value* found = message.as_dict().find(std::string_view(name));
    if (!reasoning && found && !found->is(Kind::none)) reasoning = found;
  }
  if (reasoning) members.set(Value::text("thinking"), *reasoning);
  for (const auto& [key, v] : message.as_dict().items())
    if (!v.is(Kind::none)) members.set(key, v);
  if (reasoning) members.set(Value::text("reasoning_content"), *reasoning);
  return Value::dict(std::move(members));
}

Value prepared_messages(const Value& messages) {
  if (!messages.is(Kind::list) || messages.items().empty())
    throw Error(ErrorKind::usage, "messages: a non-empty array of objects is expected");
  std::vector<Value> all;
  for (size_t i = 0; i < messages.items().size(); ++i) {
    const Value& message = messages.items()[i];
    if (!message.is(Kind::dict))
      throw Error(ErrorKind::usage,
                  fmt::format("messages[{}]: is a {}, expected an object", i, message.type_name()));
    all.push_back(prepared(message));
  }
  return Value::list(std::move(all));
}

Value array_or_none(const std::string& json, const char* what) {
  if (json.empty()) return Value::none();
  Value v = parse_input(json, what);
  if (v.is(Kind::none)) return v;
  if (!v.is(Kind::list))
    throw Error(ErrorKind::usage, fmt::format("{}: is a {}, expected an array", what, v.type_name()));
  for (const Value& element : v.items())
    if (!element.is(Kind::dict))
      throw Error(ErrorKind::usage,
                  fmt::format("{}: an element is a {}, expected an object", what, element.type_name()));
  return v;
}

std::vector<std::pair<std::string, Value>> variables_of(const Value& messages, const ChatRenderOptions& o) {
  std::vector<std::pair<std::string, Value>> all;
  const auto set = [&](const std::string& name, Value v) {
    const auto old =
        std::find_if(all.begin(), all.end(), [&](const auto& known) { return known.first == name; });
    if (old != all.end())
      old->second = std::move(v);
    else
      all.emplace_back(name, std::move(v));
  };
  all.emplace_back("messages", prepared_messages(messages));
  all.emplace_back("tools", array_or_none(o.tools, "tools"));
  all.emplace_back("documents", array_or_none(o.documents, "documents"));
  all.emplace_back("add_generation_prompt", Value(o.add_generation_prompt));
  for (const auto& [name, token] : o.special_tokens) set(name, Value::text(token));
  if (o.variables.empty()) return all;
  const Value more = parse_input(o.variables, "template variables");
  if (!more.is(Kind::dict)) throw Error(ErrorKind::usage, "template variables: expected a JSON object");
  for (const auto& [key, v] : more.as_dict().items()) {
    if (std::find(std::begin(kReserved), std::end(kReserved), key.utf8()) != std::end(kReserved))
      throw Error(ErrorKind::usage, fmt::format("template variables: {} is reserved", key.utf8()));
    set(key.utf8(), v);
  }
  return all;
}

std::tm local_time() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  localtime_r(&now, &parts);
  return parts;
}

std::string render_values(const chat::ParsedTemplate& parsed, const std::string& name, const Value& messages,
                          const ChatRenderOptions& options) {
  auto variables = variables_of(messages, options);
  chat::Interpreter interpreter(options.limits, options.now.value_or(local_time()));
  try {
    return interpreter.run(parsed.body, std::move(variables));
  } catch (const RenderError& e) {
    if (e.reason() == RenderError::Reason::raised_by_template)
      throw Error(ErrorKind::usage, fmt::format("{}: the template refuses these messages (line {}): {}", name,
                                                interpreter.line(), e.what()));
    const char* limit = e.reason() == RenderError::Reason::limit ? "the template needs too much: " : "";
    throw Error(ErrorKind::bad_model,
                fmt::format("{}: line {}: {}{}", name, interpreter.line(), limit, e.what()));
  }
}

}  // namespace

ChatTemplate ChatTemplate::parse(std::string_view text, const std::string& name) {
  if (text.size() > kLongestTemplate)
    throw Error(ErrorKind::bad_model,
                fmt::format("{}: {} bytes, at most {}", name, text.size(), kLongestTemplate));
  check_utf8(text, name, ErrorKind::bad_model);
  return {std::make_shared<const chat::ParsedTemplate>(chat::parse_template(text, name)), name};
}

std::string ChatTemplate::render(std::span<const ChatMessage> messages,
                                 const ChatRenderOptions& options) const {
  std::vector<Value> all;
  for (const ChatMessage& m : messages) {
    check_utf8(m.role, "role", ErrorKind::usage);
    check_utf8(m.content, "message", ErrorKind::usage);
    Dict members;
    members.set(Value::text("role"), Value::text(m.role));
    members.set(Value::text("content"), Value::text(m.content));
    all.push_back(Value::dict(std::move(members)));
  }
  return render_values(*parsed_, name_, Value::list(std::move(all)), options);
}

std::string ChatTemplate::render_json(std::string_view messages, const ChatRenderOptions& options) const {
  return render_values(*parsed_, name_, parse_input(messages, "messages"), options);
}

}  // namespace octavo
