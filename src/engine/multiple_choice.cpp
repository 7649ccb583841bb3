#include "engine/multiple_choice.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <sstream>

#include "engine/evaluate.h"
#include "formats/json_file.h"

namespace octavo {
namespace {

constexpr int64_t kMaxFileBytes = int64_t{1} << 30, kMaxLineBytes = 16 << 20;

// The first of these names that the object has; the first one where it has none, for the message.
std::string field(const ConfigObject& line, std::initializer_list<const char*> names) {
  for (const char* name : names)
    if (line.has(name)) return name;
  return *names.begin();
}

size_t read_answer(const ConfigObject& line, size_t choices) {
  const std::string name = field(line, {"answer", "label", "gold"});
  const std::string expected =
      fmt::format("the index of a choice, 0 to {}, or a letter from \"A\"", choices - 1);
  if (!line.has(name)) line.fail(name, expected);
  const nlohmann::json& value = line.json().at(name);
  size_t answer = choices;
  if (value.is_number_unsigned()) answer = value.get<size_t>();
  if (value.is_string()) {
    const std::string text = value.get<std::string>();
    if (text.size() == 1 && text[0] >= 'A' && text[0] <= 'Z') answer = static_cast<size_t>(text[0] - 'A');
    if (!text.empty() && text.size() <= 3 && text.find_first_not_of("0123456789") == text.npos)
      answer = static_cast<size_t>(std::stoi(text));
  }
  if (answer >= choices) line.fail(name, expected);
  return answer;
}

ChoiceQuestion read_question(const ConfigObject& line) {
  ChoiceQuestion q;
  q.question = line.string(field(line, {"question", "context", "ctx"}));
  const std::string choices = field(line, {"choices", "endings"});
  q.choices = line.strings(choices);
  if (q.choices.size() < 2) line.fail(choices, "at least two choices");
  if (std::any_of(q.choices.begin(), q.choices.end(), [](const std::string& c) { return c.empty(); }))
    line.fail(choices, "choices that are not empty");
  q.answer = read_answer(line, q.choices.size());
  return q;
}

bool is_blank(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }

int64_t characters(const std::string& utf8) {
  return std::count_if(utf8.begin(), utf8.end(), [](char c) { return (c & 0xc0) != 0x80; });
}

size_t best(const std::vector<double>& scores) {
  return static_cast<size_t>(std::max_element(scores.begin(), scores.end()) - scores.begin());
}

double standard_error(double share, int64_t count) {
  return count > 1 ? std::sqrt(share * (1 - share) / static_cast<double>(count - 1)) : 0;
}

}  // namespace

std::vector<ChoiceQuestion> read_choice_questions(const std::filesystem::path& path) {
  std::istringstream lines(read_text_file(path, kMaxFileBytes));
  std::vector<ChoiceQuestion> questions;
  int64_t number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    if (line.find_first_not_of(" \t\r") == line.npos) continue;
    questions.push_back(
        read_question(ConfigObject::parse(line, fmt::format("{}: line {}", path.string(), number),
                                          {.max_bytes = kMaxLineBytes, .max_depth = 16})));
  }
  if (questions.empty()) throw Error(ErrorKind::bad_model, path.string() + ": holds no question");
  return questions;
}

double choice_log_likelihood(Engine& engine, const std::string& question, const std::string& choice) {
  // Blanks at the end of the question belong to the choice: tokens begin with their blank.
  const size_t end = question.find_last_not_of(" \n\t\r") + 1;
  const bool separated = end < question.size() || question.empty() || is_blank(choice.front());
  const std::string head = question.substr(0, end),
                    tail = question.substr(end) + (separated ? "" : " ") + choice;
  const EncodeOptions plain{.add_special_tokens = true, .parse_special = false};
  const std::vector<int32_t> prompt =
      head.empty() ? engine.encode("") : engine.tokenizer().encode(head, plain);
  std::vector<int32_t> ids = engine.tokenizer().encode(head + tail, plain);
  // What stands behind the text (</s>) belongs to neither.
  const auto trailing = [&](const std::vector<int32_t>& all) {
    return !all.empty() && engine.tokenizer().eos_id() == all.back() && engine.ends_text(all.back());
  };
  if (trailing(ids)) ids.pop_back();
  size_t from = std::min(prompt.size() - (trailing(prompt) ? 1 : 0), ids.size() - 1);
  if (ids.empty() || from == 0)
    throw Error(ErrorKind::usage,
                "multiple choice: the model has no start token, so a question cannot be empty");

  engine.restart();
  const std::span<const int32_t> all(ids);
  const int64_t vocab = engine.model().config().vocab, chunk = engine.options().prefill_chunk;
  double sum =
      token_log_probability(engine.feed(all.first(from), Phase::prefill, 1).as<float>(), vocab, ids[from]);
  while (from + 1 < ids.size()) {
    const auto n = std::min(static_cast<size_t>(chunk), ids.size() - 1 - from);
    const float* logits =
        engine.feed(all.subspan(from, n), Phase::prefill, static_cast<int64_t>(n)).as<float>();
    for (size_t i = 0; i < n; ++i)
      sum += token_log_probability(logits + static_cast<int64_t>(i) * vocab, vocab, ids[from + i + 1]);
    from += n;
  }
  return sum;
}

ChoiceScores score_choices(Engine& engine, const std::vector<ChoiceQuestion>& questions,
                           const std::function<void(int64_t, int64_t)>& progress) {
  ChoiceScores scores;
  int64_t right = 0, right_normalized = 0;
  for (const ChoiceQuestion& q : questions) {
    std::vector<double> likelihood, normalized;
    for (const std::string& choice : q.choices) {
      likelihood.push_back(choice_log_likelihood(engine, q.question, choice));
      normalized.push_back(likelihood.back() / static_cast<double>(characters(choice)));
    }
    right += best(likelihood) == q.answer, right_normalized += best(normalized) == q.answer;
    ++scores.questions;
    if (progress) progress(scores.questions, static_cast<int64_t>(questions.size()));
  }
  const auto share = [&](int64_t n) {
    return static_cast<double>(n) / static_cast<double>(scores.questions);
  };
  scores.accuracy = share(right), scores.accuracy_normalized = share(right_normalized);
  scores.standard_error = standard_error(scores.accuracy, scores.questions);
  scores.standard_error_normalized = standard_error(scores.accuracy_normalized, scores.questions);
  return scores;
}

}  // namespace octavo
