// The three pre-tokeniser patterns that most byte-level models use, as single passes over the text; they are recognised by
// their exact text. Every character of a text is in some match.
#pragma once
#include <optional>
#include <string_view>
#include <vector>

#include "tokenizer/regex.h"

namespace octavo::tokenizer {

enum class Splitter { gpt2, llama3, qwen2 };

inline constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
inline constexpr std::string_view kLlama3Pattern =  // also that of cl100k
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
inline constexpr std::string_view kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

std::optional<Splitter> splitter_for(std::string_view pattern);
void split_with(Splitter splitter, std::string_view text, std::vector<Span>& spans);

}  // namespace octavo::tokenizer
