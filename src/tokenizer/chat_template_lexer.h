// Splits a template into tokens as jinja2 3.1 does with trim_blocks and lstrip_blocks on. Errors: octavo::Error(bad_model)
// with name and line.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace octavo::chat {

struct Token {
  enum class Kind {
    data,
    block_begin,
    block_end,
    variable_begin,
    variable_end,
    name,
    string,
    integer,
    number,
    op,
    end
  };
  Kind kind = Kind::end;
  int line = 1;
  std::string text;  // data, name, decoded string, spelling of an operator
  int64_t integer = 0;
  double number = 0;
};

// `template_text` is valid UTF-8; the last token is `end`.
std::vector<Token> tokenize(std::string_view template_text, const std::string& name);

std::string describe(const Token& token);  // for messages: "'%}'", "end of template", ...
[[noreturn]] void fail_at(const std::string& name, int line, const std::string& problem);

}  // namespace octavo::chat
