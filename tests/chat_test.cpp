// octavo chat as its users run it: one answer, sessions on stdin, what is refused, and interrupts.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "harness/temp_folder.h"

namespace octavo {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* kTemplate =
    "{% for m in messages %}{% if m.role == 'tool' %}{{ raise_exception('no tools here') }}{% endif %}"
    "{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}";

struct Outcome {
  int code = -1;
  std::string out, err;
};

std::string slurp(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

class Chat : public ::testing::Test {
 protected:
  Chat() {
    std::signal(SIGPIPE, SIG_IGN);  // a program that ended early fails an expectation, not the test
    write("template.jinja", kTemplate);
    write("messages.json", R"([{"role": "system", "content": "S"}, {"role": "user", "content": "Grüße"}])");
  }
  fs::path write(const std::string& name, const std::string& text) {
    std::ofstream(folder.path() / name, std::ios::binary) << text;
    return folder.path() / name;
  }
  std::string file(const std::string& name) { return (folder.path() / name).string(); }

  Outcome run(const std::vector<std::string>& arguments, const std::string& input = "",
              bool with_template = true) {
    std::string command = OCTAVO_PROGRAM " chat -t 2";
    const bool brings_its_own =
        std::find(arguments.begin(), arguments.end(), "--chat-template") != arguments.end();
    if (with_template && !brings_its_own) command += " --chat-template " + file("template.jinja");
    for (const auto& a : arguments) command += " '" + a + "'";
    write("stdin", input);
    const int status = std::system(
        ("( " + command + " ) <" + file("stdin") + " >" + file("stdout") + " 2>" + file("stderr")).c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status), slurp(file("stdout")),
            slurp(file("stderr"))};
  }
  harness::TempFolder folder;
};

TEST_F(Chat, AModelWithoutATemplateIsRefused) {
  const Outcome r = run({"-p", "Hi"}, "", false);
  EXPECT_EQ(r.code, 3);
  EXPECT_THAT(r.err, HasSubstr("has no chat template"));
  EXPECT_THAT(r.err, HasSubstr("--chat-template FILE"));
}

TEST_F(Chat, PrintsOnlyThePromptWithoutAnAnswer) {
  const Outcome r = run({"--messages", file("messages.json"), "-n", "0"});
  EXPECT_EQ(r.code, 0) << r.err;
  EXPECT_EQ(r.out, "system: S\nuser: Grüße\nassistant:");
  EXPECT_EQ(run({"--messages", "-", "--system", "T", "-n", "0"}, R"([{"role": "user", "content": "x"}])").out,
            "system: T\nuser: x\nassistant:");
  EXPECT_EQ(run({"-p", "Hi", "-n", "0"}).out, "user: Hi\nassistant:");
}

TEST_F(Chat, AnswersOnce) {
  const std::vector<std::string> flags = {"--messages", file("messages.json"), "--temp", "0", "-n", "12"};
  const Outcome text = run(flags);
  EXPECT_EQ(text.code, 0) << text.err;
  EXPECT_THAT(text.err, HasSubstr("0 of them known"));
  auto with_json = flags;
  with_json.push_back("--json");
  const auto json = nlohmann::json::parse(run(with_json).out);
  EXPECT_EQ(json["message"]["role"], "assistant");
  EXPECT_EQ(json["message"]["content"].get<std::string>() + "\n", text.out);
  EXPECT_EQ(json["generated_tokens"], 12);
}

TEST_F(Chat, ASessionKeepsItsHistoryAndItsCache) {
  const Outcome r = run({"--temp", "0", "-n", "8", "--show-prompt", "--system", "S"}, "one\ntwo\n");
  EXPECT_EQ(r.code, 0) << r.err;
  const size_t two = r.err.find("\nuser: two\nassistant:\n"), from = r.err.rfind("assistant: ", two) + 11;
  ASSERT_NE(two, std::string::npos) << r.err;
  const std::string first = r.err.substr(from, two - from);  // as the second prompt repeats it
  EXPECT_THAT(r.err, HasSubstr("system: S\nuser: one\nassistant:\n"));
  EXPECT_FALSE(first.empty());
  EXPECT_THAT(r.out, ::testing::StartsWith(first + "\n"));
  const size_t second = r.err.rfind("prompt ");
  int prompt = 0, known = 0;
  ASSERT_EQ(std::sscanf(r.err.c_str() + second, "prompt %d tokens, %d of them known", &prompt, &known), 2)
      << r.err;
  EXPECT_GT(known, 5);
  EXPECT_GT(prompt, known);
}

TEST_F(Chat, Commands) {
  const Outcome r =
      run({"--temp", "0", "-n", "2", "--show-prompt", "-q"},
          "/help\n/nope\n/system Be kind\none\n/reset\n//two\\\nlines\n/system\nthree\n/exit\nnever\n");
  EXPECT_EQ(r.code, 0) << r.err;
  EXPECT_THAT(r.err, HasSubstr("/reset         forget"));
  EXPECT_THAT(r.err, HasSubstr("unknown command /nope"));
  EXPECT_THAT(r.err, HasSubstr("system: Be kind\nuser: one\nassistant:\n"));
  EXPECT_THAT(r.err, HasSubstr("system: Be kind\nuser: /two\nlines\nassistant:\n"));
  EXPECT_THAT(r.err, HasSubstr("(no system message)\nuser: /two\nlines\n"));
  EXPECT_THAT(r.err, Not(HasSubstr("never")));
}

TEST_F(Chat, ARefusedMessageIsTakenBack) {
  const Outcome r = run({"--temp", "0", "-n", "2", "-c", "128", "--show-prompt"},
                        std::string(2000, 'w') + "\n\xff\nfine\n");
  EXPECT_EQ(r.code, 0) << r.err;
  EXPECT_THAT(r.err, HasSubstr("(not sent: the prompt has"));
  EXPECT_THAT(r.err, HasSubstr("(not sent: the message is not valid UTF-8 at byte 0 of 1)"));
  EXPECT_THAT(r.err, HasSubstr("\nuser: fine\nassistant:\n"));
  EXPECT_THAT(r.err.substr(r.err.find("(not sent")), Not(HasSubstr("www\nuser: fine")));
}

TEST_F(Chat, WrongUseIsExplained) {
  const auto refused = [&](const std::vector<std::string>& arguments, int code, const std::string& says) {
    const Outcome r = run(arguments);
    EXPECT_EQ(r.code, code) << r.err;
    EXPECT_THAT(r.err, HasSubstr(says));
    EXPECT_EQ(r.out, "");
  };
  refused({"--json"}, 2, "--json needs --prompt or --messages");
  refused({"--messages", write("bad.json", "{}").string()}, 2, "expected a JSON array of messages");
  refused({"--messages", file("missing.json")}, 3, "missing.json");
  refused({"--messages", write("tool.json", R"([{"role": "tool", "content": "x"}])").string()}, 2,
          "no tools here");
  refused({"-p", "x", "--chat-template-kwargs", "[]"}, 2, "expected a JSON object");
  refused({"-p", "x", "--chat-template", write("broken.jinja", "\n{% if %}").string()}, 3,
          "broken.jinja: line 2");
}

// The program with pipes, for signals while it runs.
struct Running {
  pid_t pid;
  int in, out;
  std::string seen;

  bool send(const std::string& text) {
    return write(in, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  }
  void wait_for_output(size_t bytes) {
    for (pollfd p{out, POLLIN, 0}; seen.size() < bytes && poll(&p, 1, 120'000) > 0;) {
      char buffer[256];
      const ssize_t n = read(out, buffer, sizeof buffer);
      if (n <= 0) return;
      seen.append(buffer, static_cast<size_t>(n));
    }
  }
  int finish() {
    close(in);
    wait_for_output(SIZE_MAX);
    int status = 0;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }
};

Running start(const std::vector<std::string>& arguments) {
  int in[2], out[2];
  EXPECT_EQ(pipe(in), 0);
  EXPECT_EQ(pipe(out), 0);
  const pid_t pid = fork();
  if (pid == 0) {
    dup2(in[0], 0), dup2(out[1], 1), dup2(out[1], 2);
    for (int fd : {in[0], in[1], out[0], out[1]}) close(fd);
    std::vector<char*> argv = {const_cast<char*>(OCTAVO_PROGRAM)};
    for (const auto& a : arguments) argv.push_back(const_cast<char*>(a.c_str()));
    argv.push_back(nullptr);
    execv(OCTAVO_PROGRAM, argv.data());
    _exit(127);
  }
  close(in[0]), close(out[1]);
  return {pid, in[1], out[0], {}};
}

TEST_F(Chat, AnInterruptStopsTheAnswerAndKeepsTheSession) {
  Running r = start({"chat", "-t", "1", "--chat-template", file("template.jinja"), "--temp", "0", "-q", "-c",
                     "1024", "--ignore-eos"});
  ASSERT_TRUE(r.send("Once\n"));
  r.wait_for_output(40);
  kill(r.pid, SIGINT);
  ASSERT_TRUE(r.send("/nope\n/exit\n"));
  EXPECT_EQ(r.finish(), 0) << r.seen;
  EXPECT_THAT(r.seen, HasSubstr("(stopped; Ctrl-C again leaves)"));
  EXPECT_THAT(r.seen, HasSubstr("unknown command /nope"));
}

TEST_F(Chat, TwoInterruptsLeave) {
  Running r = start({"chat", "-t", "1", "--chat-template", file("template.jinja"), "-n", "1", "-q"});
  ASSERT_TRUE(r.send("Once\n"));
  r.wait_for_output(1);
  kill(r.pid, SIGINT);
  usleep(100'000);
  kill(r.pid, SIGINT);
  EXPECT_EQ(r.finish(), 130) << r.seen;
}

}  // namespace
}  // namespace octavo
