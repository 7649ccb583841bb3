#include "tokenizer/added_tokens.h"

#include <algorithm>

#include "tokenizer/unicode.h"
#include "tokenizer/utf8.h"

namespace octavo::tokenizer {
namespace {

size_t white_space_before(std::string_view text, size_t end) {
  while (end > 0) {
    const CodePoint c = decode_utf8_before(text.data(), text.data() + end);
    if (!is_white_space(c.value)) break;
    end -= c.bytes;
  }
  return end;
}

size_t white_space_after(std::string_view text, size_t at) {
  while (at < text.size()) {
    const CodePoint c = decode_utf8(text.data() + at);
    if (!is_white_space(c.value)) break;
    at += c.bytes;
  }
  return at;
}

bool is_word_alone(std::string_view text, size_t begin, size_t end) {
  const bool word_before =
      begin > 0 && has_flag(decode_utf8_before(text.data(), text.data() + begin).value, kWord);
  const bool word_after = end < text.size() && has_flag(decode_utf8(text.data() + end).value, kWord);
  return !word_before && !word_after;
}

}  // namespace

TokenMatcher::TokenMatcher(std::vector<const AddedToken*> tokens) : tokens_(std::move(tokens)) {
  std::vector<ByteTrie::Entry> entries;
  for (size_t i = 0; i < tokens_.size(); ++i)
    entries.emplace_back(tokens_[i]->matched, static_cast<int32_t>(i));
  trie_ = ByteTrie(std::move(entries));
}

void TokenMatcher::split(const Piece& in, bool parse_special, std::vector<Piece>& out) const {
  if (trie_.empty()) {
    if (!in.text.empty()) out.push_back(in);
    return;
  }
  const std::string_view text = in.text;
  size_t covered = 0;
  const auto emit = [&](size_t begin, size_t end, int32_t id) {
    out.push_back({text.substr(begin, end - begin), id, in.at_start && begin == 0});
  };
  for (size_t at = 0; at < text.size();) {
    const bool possible = trie_.has_child(static_cast<uint8_t>(text[at]));
    const ByteTrie::Found found = possible ? trie_.longest(text.substr(at)) : ByteTrie::Found{};
    if (found.value < 0) {
      ++at;
      continue;
    }
    const AddedToken* token = tokens_[found.value];
    size_t begin = at, end = at + found.length;
    at = end;  // NOTE: the search goes on behind a match even when the match does not count
    if (token->special && !parse_special) continue;
    if (token->single_word && !is_word_alone(text, begin, end)) continue;
    if (token->lstrip) begin = std::max(white_space_before(text, begin), covered);
    if (token->rstrip) end = white_space_after(text, end);
    if (begin > end) continue;  // swallowed by the token before
    if (covered < begin) emit(covered, begin, -1);
    emit(begin, end, token->id);
    covered = end;
  }
  if (covered < text.size()) emit(covered, text.size(), -1);
}

}  // namespace octavo::tokenizer
