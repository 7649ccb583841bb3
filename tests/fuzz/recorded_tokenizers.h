// The small tokenizers of tests/goldens/tokenizer_small.jsonl: every kind of component, few tokens.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace octavo::fuzz {

struct RecordedTokenizer {
  std::string name;
  Tokenizer tokenizer;
  bool lossless;  // decode gives the text back
};
const std::vector<RecordedTokenizer>& recorded_tokenizers();

// What a StreamDecoder makes of `ids`; requires that every part is whole characters, and that all are decode()'s text.
std::string streamed(const Tokenizer& tokenizer, std::span<const int32_t> ids, bool skip_special);

}  // namespace octavo::fuzz
