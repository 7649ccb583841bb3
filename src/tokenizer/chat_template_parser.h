// Tokens to statements, with jinja2's grammar. Unknown filters and tests and the constructs that octavo does not have
// (include, extends, recursive loops, ...) are refused here by name. Errors: octavo::Error(bad_model) with name and line.
#pragma once
#include <string>
#include <string_view>

#include "tokenizer/chat_template_ast.h"

namespace octavo::chat {

struct ParsedTemplate {
  Block body;
};

ParsedTemplate parse_template(std::string_view text, const std::string& name);

}  // namespace octavo::chat
