// octavo chat: talks with a chat model in its own template. Answers go to stdout as they are made, everything else to stderr.
#include <fmt/format.h>

#include <iostream>
#include <iterator>

#include "chat_session.h"
#include "command.h"
#include "formats/json_file.h"
#include "generation.h"
#include "line_editor.h"
#include "model_options.h"
#include "terminal.h"

namespace octavo::app {
namespace {

constexpr int64_t kLargestInput = 64 << 20;

constexpr const char* kHelp =
    "/reset         forget the conversation, keep the system message\n"
    "/system TEXT   set the system message (without TEXT: remove it)\n"
    "/exit          leave (also /quit, Ctrl-D)\n"
    "//text         a message that begins with a slash; a line that ends with \\ goes on\n"
    "Ctrl-C stops an answer; pressed again it leaves.\n";

struct Options {
  ModelOptions model;
  GenerationFlags generation{.max_tokens = -1};
  std::string prompt, system, chat_template, messages_file, tools_file, documents_file, variables;
  bool show_prompt = false;
};

std::string read_input(const std::string& file) {
  if (file.empty()) return "";
  if (file == "-") return {std::istreambuf_iterator<char>(std::cin), {}};
  return read_text_file(file, kLargestInput);
}

ChatSession make_session(const Options& o) {
  const std::string model = o.model.folder();
  ChatRenderOptions r;
  r.tools = read_input(o.tools_file), r.documents = read_input(o.documents_file), r.variables = o.variables;
  const std::string tokens_of = o.model.tokenizer.empty() ? model : o.model.tokenizer;
  r.special_tokens = chat_special_tokens(tokens_of);
  if (r.special_tokens.empty()) {  // a .gguf file, or a folder that leaves them to the tokenizer
    const Tokenizer tokenizer = load_tokenizer(model, o.model.tokenizer);
    if (tokenizer.bos_id()) r.special_tokens.emplace_back("bos_token", tokenizer.token(*tokenizer.bos_id()));
    if (tokenizer.eos_id()) r.special_tokens.emplace_back("eos_token", tokenizer.token(*tokenizer.eos_id()));
  }
  ChatSession session(find_chat_template(model, o.chat_template), std::move(r));
  if (!o.messages_file.empty()) session.set_messages(read_input(o.messages_file));
  if (!o.system.empty()) session.set_system(o.system);
  return session;
}

GenerateOptions chat_options(const Options& o, std::string& said) {
  GenerateOptions g = generate_options(o.generation, o.model.folder(), said);
  g.reuse_prefix = true;
  return g;
}

void print_summary(const Generation& g) {
  fmt::print(stderr, "[{} | prompt {} tokens, {} of them known | {} tokens, {:.1f} tok/s]\n",
             name_of(g.finish), g.timings.prompt_tokens, g.timings.reused_tokens, g.timings.generated_tokens,
             g.timings.decode_tokens_per_s());
}

// The model's answer to the session's messages, shown as it is made and added to them.
Generation answer(Engine& engine, ChatSession& session, const Options& o, const GenerateOptions& g) {
  const std::string prompt = session.prompt();
  if (o.show_prompt) fmt::print(stderr, "{}\n", prompt);
  // NOTE: the template has written the special tokens, the tokenizer adds none.
  const std::vector<int32_t> ids =
      engine.tokenizer().encode(prompt, {.add_special_tokens = false, .parse_special = true});
  Generation result = generate_to_stdout(engine, ids, g, o.generation);
  session.add("assistant", result.text);
  return result;
}

// One answer, to --messages or --prompt.
int run_once(const Options& o, ChatSession& session) {
  if (!o.prompt.empty()) session.add("user", o.prompt);
  if (o.generation.max_tokens == 0) {  // nothing but the prompt was asked for: no weights are read
    write_stdout(session.prompt());
    return 0;
  }
  session.prompt();  // what the template refuses is said before the weights are read
  Engine engine = load_engine(o.model);
  std::string said;
  const GenerateOptions g = chat_options(o, said);
  const Generation result = answer(engine, session, o, g);
  if (o.generation.json) {
    const nlohmann::ordered_json j = {{"message", {{"role", "assistant"}, {"content", result.text}}},
                                      {"finish_reason", name_of(result.finish)},
                                      {"prompt_tokens", result.timings.prompt_tokens},
                                      {"generated_tokens", result.timings.generated_tokens},
                                      {"seed", g.seed}};
    write_stdout(j.dump(2) + "\n");
  } else if (!o.generation.quiet) {
    print_summary(result);
  }
  return interrupted() ? static_cast<int>(ErrorKind::interrupted) : 0;
}

// True when the line was a command.
bool run_command(const std::string& line, ChatSession& session) {
  if (!line.starts_with('/') || line.starts_with("//")) return false;
  const std::string name = line.substr(0, line.find(' '));
  const std::string rest = name.size() < line.size() ? line.substr(name.size() + 1) : "";
  if (name == "/reset") {
    session.reset();
    fmt::print(stderr, "(the conversation starts anew)\n");
  } else if (name == "/system") {
    session.set_system(rest);
    fmt::print(stderr, "({})\n", rest.empty() ? "no system message" : "system message set");
  } else if (name == "/help") {
    fmt::print(stderr, "{}", kHelp);
  } else {
    fmt::print(stderr, "(unknown command {}; /help lists them)\n", name);
  }
  return true;
}

// A message: lines that end with a backslash go on.
bool read_message(LineEditor& editor, std::string& message) {
  if (!editor.read("> ", message)) return false;
  for (std::string line; message.ends_with('\\') && editor.read(". ", line);) {
    message.back() = '\n';
    message += line;
  }
  return true;
}

void talk(Engine& engine, ChatSession& session, const Options& o, GenerateOptions& g,
          const std::string& message) {
  const size_t before = session.size();
  try {
    if (run_command(message, session)) return;
    session.add("user", message.starts_with("//") ? message.substr(1) : message);
    const Generation result = answer(engine, session, o, g);
    if (result.finish == FinishReason::cancelled)
      fmt::print(stderr, "(stopped; Ctrl-C again leaves)\n");
    else if (!o.generation.quiet)
      print_summary(result);
    ++g.seed;  // the same question again may get another answer
  } catch (const Error& e) {
    if (e.kind() != ErrorKind::usage) throw;
    while (session.size() > before) session.drop_last();
    fmt::print(stderr, "(not sent: {})\n", e.what());
  }
}

int run(const Options& o) {
  ChatSession session = make_session(o);
  if (!o.prompt.empty() || !o.messages_file.empty()) return run_once(o, session);
  if (o.generation.json)
    throw Error(ErrorKind::usage, "--json needs --prompt or --messages: it is for one answer");
  LineEditor editor;
  Engine engine = load_engine(o.model);
  std::string said;
  GenerateOptions g = chat_options(o, said);
  if (editor.interactive())
    fmt::print(stderr, "{} | context {} tokens | {} | seed {} | /help\n", o.model.folder(),
               engine.options().context, said, g.seed);
  for (std::string message; read_message(editor, message);) {
    clear_interrupt();
    if (message == "/exit" || message == "/quit") break;
    if (!message.empty()) talk(engine, session, o, g, message);
  }
  return 0;
}

}  // namespace

std::function<int()> setup_chat(Arguments& app) {
  auto o = std::make_shared<Options>();
  add_model_options(app, o->model);
  app.add_option("--system", o->system, "the system message");
  app.add_option("-p,--prompt", o->prompt, "one message: answer it and end");
  app.add_option("--messages", o->messages_file, "a JSON array of messages (-: stdin): answer it and end");
  app.add_option("--chat-template", o->chat_template, "a file, or the name of one of the model's templates");
  app.add_option("--chat-template-kwargs", o->variables, "JSON object of more variables of the template");
  app.add_option("--tools", o->tools_file, "JSON array of tools that the template describes to the model");
  app.add_option("--documents", o->documents_file, "JSON array of documents for templates that take them");
  app.add_flag("--show-prompt", o->show_prompt,
               "print the text that the model gets; with -n 0 nothing else happens");
  add_generation_options(app, o->generation,
                         "tokens of an answer; -1: until its end; 0: only print the prompt",
                         "one JSON object instead of text (with --prompt or --messages)");
  return [o] { return run(*o); };
}

}  // namespace octavo::app
