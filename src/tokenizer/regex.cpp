#include "tokenizer/regex.h"

#include <fmt/format.h>

#include <algorithm>
#include <mutex>
#include <stdexcept>

#include "tokenizer/utf8.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

namespace octavo::tokenizer {
namespace {

// Backtracking steps of one match, and the memory for them: far above what a real pattern needs on real text, which is in
// proportion to the text.
constexpr uint32_t kMatchLimit = 20'000'000, kHeapKibibytes = 256 * 1024;
uint32_t steps_for(size_t bytes) {
  return static_cast<uint32_t>(std::min<size_t>(kMatchLimit, 200'000 + 100 * bytes));
}
constexpr size_t kJitStackBytes = 64 << 20;

std::string message_of(int code) {
  PCRE2_UCHAR text[256] = {};
  pcre2_get_error_message(code, text, sizeof(text));
  return reinterpret_cast<const char*>(text);
}

template <auto free_function>
struct Free {
  template <class T>
  void operator()(T* p) const {
    free_function(p);
  }
};
template <class T, auto free_function>
using Owned = std::unique_ptr<T, Free<free_function>>;

}  // namespace

struct Regex::Code {
  Owned<pcre2_code, pcre2_code_free> code;
  Owned<pcre2_match_context, pcre2_match_context_free> limits;
  bool jit = false;
};

Regex::Regex(const std::string& pattern, const JsonNode& node) : pattern_(pattern) {
  std::string translated;
  try {
    translated = translate_pattern(pattern);
  } catch (const std::invalid_argument& problem) {
    node.fail(fmt::format("regular expression {}: {}", in_quotes(pattern), problem.what()));
  }
  auto code = std::make_shared<Code>();
  Owned<pcre2_compile_context, pcre2_compile_context_free> context(pcre2_compile_context_create(nullptr));
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  pcre2_set_parens_nest_limit(context.get(), 100);
  int error = 0;
  size_t offset = 0;
  code->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                                 PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error,
                                 &offset, context.get()));
  if (!code->code) node.fail(fmt::format("regular expression {}: {}", in_quotes(pattern), message_of(error)));
  code->jit = pcre2_jit_compile(code->code.get(), PCRE2_JIT_COMPLETE) == 0;
  code->limits.reset(pcre2_match_context_create(nullptr));
  pcre2_set_heap_limit(code->limits.get(), kHeapKibibytes);
  code_ = std::move(code);
}

void Regex::split(std::string_view text, std::vector<Span>& spans) const {
  // The stack of a thread's JIT-compiled matches; contexts are copied so that each match call names its own stack.
  thread_local Owned<pcre2_jit_stack, pcre2_jit_stack_free> jit_stack(
      pcre2_jit_stack_create(32 << 10, kJitStackBytes, nullptr));
  Owned<pcre2_match_context, pcre2_match_context_free> context(pcre2_match_context_copy(code_->limits.get()));
  pcre2_jit_stack_assign(context.get(), nullptr, jit_stack.get());
  pcre2_set_match_limit(context.get(), steps_for(text.size()));
  pcre2_set_depth_limit(context.get(), steps_for(text.size()));
  Owned<pcre2_match_data, pcre2_match_data_free> data(
      pcre2_match_data_create_from_pattern(code_->code.get(), nullptr));
  const auto subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  size_t at = 0, covered = 0;
  bool any = false;
  while (at <= text.size() && !text.empty()) {
    const int found = pcre2_match(code_->code.get(), subject, text.size(), at, PCRE2_NO_UTF_CHECK, data.get(),
                                  context.get());
    if (found == PCRE2_ERROR_NOMATCH) break;
    if (found < 0)
      throw Error(ErrorKind::usage,
                  fmt::format("tokenizer: regular expression {} gave up at byte {} of a text of {} bytes: {}",
                              in_quotes(pattern_), at, text.size(), message_of(found)));
    const size_t* match = pcre2_get_ovector_pointer(data.get());
    const size_t begin = match[0], end = match[1];
    if (begin == end && any && begin == covered) {  // an empty match right after the last one does not count
      at += begin < text.size() ? decode_utf8(text.data() + begin).bytes : 1;
      continue;
    }
    if (begin > covered)
      spans.push_back({static_cast<uint32_t>(covered), static_cast<uint32_t>(begin), false});
    spans.push_back({static_cast<uint32_t>(begin), static_cast<uint32_t>(end), true});
    at = covered = end;
    any = true;
  }
  if (covered < text.size())
    spans.push_back({static_cast<uint32_t>(covered), static_cast<uint32_t>(text.size()), false});
}

Pattern::Pattern(const JsonNode& node) {
  node.expect_object();
  if (node.has("String")) {
    literal_ = node.string("String");
    if (literal_.empty()) node.fail("an empty pattern is not supported");
  } else if (node.has("Regex")) {
    literal_ = node.string("Regex");
    regex_ = std::make_shared<Regex>(literal_, node);
  } else {
    node.fail("expected {\"String\": ...} or {\"Regex\": ...}");
  }
}

void Pattern::split(std::string_view text, std::vector<Span>& spans) const {
  if (regex_) return regex_->split(text, spans);
  size_t covered = 0;
  for (size_t at; (at = text.find(literal_, covered)) != std::string_view::npos;
       covered = at + literal_.size()) {
    if (at > covered) spans.push_back({static_cast<uint32_t>(covered), static_cast<uint32_t>(at), false});
    spans.push_back({static_cast<uint32_t>(at), static_cast<uint32_t>(at + literal_.size()), true});
  }
  if (covered < text.size())
    spans.push_back({static_cast<uint32_t>(covered), static_cast<uint32_t>(text.size()), false});
}

}  // namespace octavo::tokenizer
