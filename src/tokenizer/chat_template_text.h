// Python's str methods on UTF-8: lengths and positions count code points, white space and case are Unicode's.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/chat_template_value.h"

namespace octavo::chat {

bool is_space(char32_t c);  // str.isspace
std::string_view strip_left(std::string_view s);
std::string_view strip_right(std::string_view s);
std::string_view strip(std::string_view s);
// The characters of `set` instead of white space.
std::string_view strip(std::string_view s, std::string_view set, bool left, bool right);

int64_t length_of(std::string_view utf8);                // in code points
size_t byte_offset(const Text& text, int64_t index);     // of code point `index`, 0 <= index <= length
int64_t index_of_byte(const Text& text, size_t offset);  // its inverse
std::vector<std::string_view> characters(std::string_view s);

std::string upper(std::string_view s);
std::string lower(std::string_view s);
std::string title(std::string_view s);
std::string capitalize(std::string_view s);
std::string swapcase(std::string_view s);

// Whole strings: str.isalpha and its siblings.
enum class TextTest {
  alpha,
  alnum,
  decimal,
  digit,
  numeric,
  space,
  lower,
  upper,
  title,
  ascii,
  printable,
  identifier
};
bool passes(std::string_view s, TextTest test);

// All occurrences (count < 0) or the first `count`; charged before it grows.
std::string replace(std::string_view s, std::string_view from, std::string_view to, int64_t count);
std::vector<std::string_view> split_space(std::string_view s, int64_t most, bool from_right);
std::vector<std::string_view> split_at(std::string_view s, std::string_view separator, int64_t most,
                                       bool from_right);
std::vector<std::string_view> split_lines(std::string_view s, bool keep_ends);
std::string repeat(std::string_view s, int64_t times);
std::string escape_html(std::string_view s);  // as markupsafe

}  // namespace octavo::chat
