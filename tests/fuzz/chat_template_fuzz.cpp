// The input is a chat template; it renders three conversations.
#include "tokenizer/chat_template.h"

#include "fuzz/targets.h"

namespace octavo::fuzz {
namespace {

constexpr std::string_view kConversations[] = {
    R"([{"role": "user", "content": "Hi <b>'x'</b>"}])",
    R"([{"role": "system", "content": "Be \u00e9."}, {"role": "user", "content": "1 + 1?"},
        {"role": "assistant", "content": "2"}, {"role": "user", "content": ""}])",
    R"([{"role": "user", "content": [{"type": "text", "text": "a"}]},
        {"role": "assistant", "content": null, "tool_calls":
          [{"id": "1", "type": "function", "function": {"name": "f", "arguments": {"x": [1, 2.5, true, null]}}}]},
        {"role": "tool", "tool_call_id": "1", "content": "{}"}])"};

}  // namespace

bool chat_template(std::string_view input) {
  ChatRenderOptions options;
  options.special_tokens = {{"bos_token", "<s>"}, {"eos_token", "</s>"}};
  options.tools = R"([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}])";
  options.now = std::tm{};
  bool rendered = false;
  const bool parsed = accepted({ErrorKind::bad_model, ErrorKind::usage}, [&] {
    const ChatTemplate parsed_template = ChatTemplate::parse(input, "fuzz");
    for (const std::string_view conversation : kConversations)
      rendered |= accepted({ErrorKind::bad_model, ErrorKind::usage}, [&] {
        const std::string text = parsed_template.render_json(conversation, options);
        require(static_cast<int64_t>(text.size()) <= options.limits.output, "more output than the limit");
      });
  });
  return parsed && rendered;
}

}  // namespace octavo::fuzz
