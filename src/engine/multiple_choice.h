// Multiple choice by log-likelihood, as the Language Model Evaluation Harness scores it: the answer is the choice whose
// tokens the model finds most likely after the question.
//
// One JSON object a line (other fields are not looked at):
//   {"question": "The sky is", "choices": ["green", "blue"], "answer": 1}
// "question" may be called "context" or "ctx", "choices" "endings", "answer" "label" or "gold"; the answer is an index from
// 0, as a number or in a string, or a letter from "A". A blank is put between question and choice where neither has one.
// Errors: bad_model naming file, line and field; usage for a choice that does not fit the context.
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "engine/engine.h"

namespace octavo {

struct ChoiceQuestion {
  std::string question;
  std::vector<std::string> choices;  // at least two
  size_t answer = 0;                 // index into choices
};

std::vector<ChoiceQuestion> read_choice_questions(const std::filesystem::path& json_lines);

struct ChoiceScores {
  int64_t questions = 0;
  double accuracy = 0;             // share of questions where the right choice has the largest log-likelihood
  double accuracy_normalized = 0;  // ... the largest log-likelihood for each character of the choice
  double standard_error = 0, standard_error_normalized = 0;
};

// Sum of the log-likelihoods of the tokens of `choice` after `question`, teacher-forced. The engine needs
// logit_rows >= prefill_chunk.
double choice_log_likelihood(Engine& engine, const std::string& question, const std::string& choice);

ChoiceScores score_choices(Engine& engine, const std::vector<ChoiceQuestion>& questions,
                           const std::function<void(int64_t done, int64_t total)>& progress = {});

}  // namespace octavo
