// Chat templates against jinja2 (goldens by tools/make_goldens_chat.py), input and options, messages of errors, and where
// templates are found in a model folder.
#include "tokenizer/chat_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "harness/temp_folder.h"

namespace octavo {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;
using Json = nlohmann::ordered_json;

std::tm golden_time() {
  std::tm now{};
  now.tm_year = 124, now.tm_mon = 6, now.tm_mday = 26, now.tm_hour = 12, now.tm_min = 34, now.tm_sec = 56;
  now.tm_wday = 5, now.tm_yday = 207;
  return now;
}

struct Refusal {
  ErrorKind kind = ErrorKind::runtime;
  std::string message;
};

template <class F>
Refusal refusal_of(F&& f) {
  try {
    f();
  } catch (const Error& e) {
    return {e.kind(), e.what()};
  }
  ADD_FAILURE() << "nothing was refused";
  return {};
}

std::string render(const std::string& text, const ChatRenderOptions& options = {}) {
  const std::vector<ChatMessage> messages = {{"user", "Hi"}, {"assistant", "Hello"}};
  return ChatTemplate::parse(text).render(messages, options);
}

TEST(ChatTemplate, RendersAsJinjaDoes) {
  std::ifstream file(std::string(OCTAVO_SOURCE_DIR) + "/tests/goldens/chat_templates.jsonl");
  std::string line;
  ASSERT_TRUE(std::getline(file, line));
  const Json shared = Json::parse(line);
  ChatRenderOptions o;
  o.add_generation_prompt = shared["add_generation_prompt"], o.variables = shared["variables"].dump();
  o.now = golden_time();
  for (const auto& [name, token] : shared["special_tokens"].items())
    o.special_tokens.emplace_back(name, token);
  int texts = 0, errors = 0;
  while (std::getline(file, line)) {
    const Json golden = Json::parse(line);
    const std::string text = golden["template"];
    const auto run = [&] { return ChatTemplate::parse(text).render_json(shared["messages"].dump(), o); };
    if (golden.contains("error")) {
      EXPECT_THAT(refusal_of(run).message, HasSubstr("line ")) << text;
      ++errors;
      continue;
    }
    try {
      EXPECT_EQ(run(), golden["text"].get<std::string>()) << text;
    } catch (const Error& e) {
      ADD_FAILURE() << text << "\n" << e.what();
    }
    ++texts;
  }
  EXPECT_GE(texts, 500);
  EXPECT_GE(errors, 80);
}

TEST(ChatTemplate, OptionsBecomeVariables) {
  ChatRenderOptions o;
  o.add_generation_prompt = false;
  o.special_tokens = {{"bos_token", "<s>"}};
  o.tools = R"([{"z": 1, "a": [true, null]}])", o.documents = R"([{"title": "T"}])";
  o.variables = R"({"date_string": "today", "bos_token": "<o>"})";
  EXPECT_EQ(render("{{ bos_token }}{{ add_generation_prompt }}{{ tools|tojson }}{{ documents[0].title }}{{ "
                   "date_string }}",
                   o),
            "<o>False[{\"z\": 1, \"a\": [true, null]}]Ttoday");
  EXPECT_EQ(render("{{ tools }}{{ documents }}{{ add_generation_prompt }}{{ bos_token is defined }}"),
            "NoneNoneTrueFalse");
}

TEST(ChatTemplate, NullMembersAreLeftOutAndReasoningHasAllItsNames) {
  const auto t = ChatTemplate::parse("{% for m in messages %}{{ m|tojson }};{% endfor %}");
  EXPECT_EQ(
      t.render_json(
          R"([{"role": "a", "x": null}, {"role": "b", "thinking": "t"}, {"role": "c", "reasoning": "r"}])"),
      "{\"role\": \"a\"};{\"thinking\": \"t\", \"role\": \"b\", \"reasoning_content\": \"t\"};"
      "{\"thinking\": \"r\", \"role\": \"c\", \"reasoning\": \"r\", \"reasoning_content\": \"r\"};");
}

TEST(ChatTemplate, TimeIsLocalTimeUnlessGiven) {
  std::tm now{};
  const std::time_t t = std::time(nullptr);
  localtime_r(&t, &now);
  EXPECT_EQ(render("{{ strftime_now('%Y') }}"), std::to_string(now.tm_year + 1900));
}

TEST(ChatTemplate, ErrorsNameTheLineAndWhatIsWrong) {
  const auto message = [](const std::string& text) { return refusal_of([&] { render(text); }); };
  EXPECT_EQ(message("\n\n{{ missing.x }}").message, "chat template: line 3: 'missing' is undefined");
  EXPECT_EQ(message("a\n{% include 'x' %}").message,
            "chat template: line 2: the tag include is not supported in chat templates");
  EXPECT_EQ(message("{% for a in b recursive %}").message,
            "chat template: line 1: recursive loops are not supported; use a macro that calls itself");
  EXPECT_EQ(message("{{ 1|pprint }}").message, "chat template: line 1: the filter 'pprint' is not supported");
  EXPECT_EQ(message("{{ 1 is odder }}").message, "chat template: line 1: the test 'odder' is not supported");
  EXPECT_EQ(message("\n{% if 1 %}").message,
            "chat template: line 2: the template ends, but elif or else or endif is missing");
  EXPECT_EQ(message("{{ lipsum() }}").message,
            "chat template: line 1: the function lipsum is not supported in chat templates");
  EXPECT_EQ(message("{{ 'a'.encode() }}").message,
            "chat template: line 1: the method encode of 'str' objects is not supported");
  EXPECT_EQ(message("{{ 9223372036854775807 + 1 }}").message,
            "chat template: line 1: an integer does not fit 64 bits");
  EXPECT_EQ(message("{{ '\\N{DASH}' }}").message,
            "chat template: line 1: characters by name, \\N{...}, are not supported");
  EXPECT_EQ(message("{{ '\\ud800' }}").message,
            "chat template: line 1: the escape U+D800 in a string is no character");
  EXPECT_EQ(message("{{ x }}\xff").kind, ErrorKind::bad_model);
  EXPECT_THAT(message("{{ x }}\xff").message, HasSubstr("invalid UTF-8 at byte 7"));
  EXPECT_THAT(message(std::string((1 << 20) + 1, 'x')).message, HasSubstr("1048577 bytes, at most 1048576"));
  const Refusal raised = message("{{ raise_exception('Only users') }}");
  EXPECT_EQ(raised.kind, ErrorKind::usage);
  EXPECT_EQ(raised.message, "chat template: the template refuses these messages (line 1): Only users");
}

TEST(ChatTemplate, BadInputIsRefused) {
  const auto t = ChatTemplate::parse("x");
  const auto message = [&](const std::string& json, const ChatRenderOptions& o = {}) {
    const Refusal r = refusal_of([&] { t.render_json(json, o); });
    EXPECT_EQ(r.kind, ErrorKind::usage);
    return r.message;
  };
  const std::string good = R"([{"role": "user"}])";
  EXPECT_THAT(message("[{"), StartsWith("messages: line 1"));
  EXPECT_EQ(message("[]"), "messages: a non-empty array of objects is expected");
  EXPECT_EQ(message("{}"), "messages: a non-empty array of objects is expected");
  EXPECT_EQ(message("[{}, 1]"), "messages[1]: is a int, expected an object");
  EXPECT_THAT(message("[{\"a\": 18446744073709551615}]"), HasSubstr("does not fit 64 bits"));
  EXPECT_THAT(message(std::string(100, '[') + std::string(100, ']')), HasSubstr("nested deeper than 56"));
  EXPECT_EQ(message(good, {.tools = "{}"}), "tools: is a dict, expected an array");
  EXPECT_EQ(message(good, {.documents = "[1]"}), "documents: an element is a int, expected an object");
  EXPECT_EQ(message(good, {.variables = "[]"}), "template variables: expected a JSON object");
  EXPECT_EQ(message(good, {.variables = R"({"messages": []})"}), "template variables: messages is reserved");
  const ChatMessage bad{"user", "\xc3"};
  EXPECT_THAT(refusal_of([&] { t.render(std::span(&bad, 1)); }).message,
              HasSubstr("message: invalid UTF-8 at byte 0 of 1"));
}

class ChatTemplateFolder : public ::testing::Test {
 protected:
  void write(const std::string& name, const std::string& text) {
    std::filesystem::create_directories((folder.path() / name).parent_path());
    std::ofstream(folder.path() / name) << text;
  }
  std::string rendered(const std::string& choice = {}) {
    const ChatMessage message{"user", "Hi"};
    return ChatTemplate::load(folder.path(), choice).render(std::span(&message, 1));
  }
  harness::TempFolder folder;
};

TEST_F(ChatTemplateFolder, IsSearchedInTheOrderOfTransformers) {
  EXPECT_THAT(refusal_of([&] { rendered(); }).message, HasSubstr("--chat-template FILE"));
  write("chat_template.json", R"({"chat_template": "json"})");
  EXPECT_EQ(rendered(), "json");
  write("tokenizer_config.json", R"({"chat_template": "config {{ messages[0].content }}"})");
  EXPECT_EQ(rendered(), "config Hi");
  write("chat_template.jinja", "jinja");
  EXPECT_EQ(rendered(), "jinja");
  write("additional_chat_templates/rag.jinja", "rag");
  EXPECT_EQ(rendered(), "jinja");
  EXPECT_EQ(rendered("rag"), "rag");
}

TEST_F(ChatTemplateFolder, NamedTemplates) {
  write(
      "tokenizer_config.json",
      R"({"chat_template": [{"name": "default", "template": "d"}, {"name": "tool_use", "template": "t"}]})");
  EXPECT_EQ(rendered(), "d");
  EXPECT_EQ(rendered("tool_use"), "t");
  EXPECT_THAT(refusal_of([&] { rendered("rag"); }).message,
              HasSubstr("there is no chat template \"rag\"; there are default, tool_use"));
  write("tokenizer_config.json", R"({"chat_template": [{"name": "one", "template": "1"}]})");
  EXPECT_EQ(rendered(), "1");
  write("tokenizer_config.json", R"({"chat_template": [{"name": "x"}]})");
  EXPECT_THAT(refusal_of([&] { rendered(); }).message,
              HasSubstr("expected objects with \"name\" and \"template\""));
  write("tokenizer_config.json", R"({"chat_template": 5})");
  EXPECT_THAT(refusal_of([&] { rendered(); }).message,
              HasSubstr("expected a string or an array of named templates"));
  write("tokenizer_config.json", R"({"chat_template": "{% if %}"})");
  EXPECT_THAT(refusal_of([&] { rendered(); }).message,
              HasSubstr("tokenizer_config.json: line 1: an expression is expected"));
}

TEST_F(ChatTemplateFolder, SpecialTokensByName) {
  using Tokens = std::vector<std::pair<std::string, std::string>>;
  EXPECT_EQ(chat_special_tokens(folder.path()), Tokens());
  write("special_tokens_map.json",
        R"({"bos_token": "<map>", "eos_token": {"content": "</s>", "lstrip": false}})");
  write("tokenizer_config.json",
        R"({"bos_token": "<s>", "pad_token": null, "extra_special_tokens": {"image_token": "<img>"}})");
  EXPECT_EQ(chat_special_tokens(folder.path()),
            (Tokens{{"bos_token", "<s>"}, {"image_token", "<img>"}, {"eos_token", "</s>"}}));
}

}  // namespace
}  // namespace octavo
