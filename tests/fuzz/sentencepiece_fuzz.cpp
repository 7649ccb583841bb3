// The input is a SentencePiece model file.
#include "fuzz/recorded_tokenizers.h"
#include "fuzz/targets.h"

namespace octavo::fuzz {

bool sentencepiece(std::string_view input) {
  return accepted({ErrorKind::bad_model}, [&] {
    const Tokenizer tokenizer = Tokenizer::parse_sentencepiece(input, "fuzz.model");
    for (const std::string_view text :
         {"", "a b  ab aab<s>abab", "  n\u00e4ive \u2581 \ufb01 e\u0301 \U0001f600\t"})
      // NOTE: bad_model: rules that point outside of the file's texts.
      accepted({ErrorKind::bad_model}, [&] {
        const auto ids = tokenizer.encode(text);
        for (const int32_t id : ids) require(id >= 0 && id < tokenizer.vocab_size(), "an id of no piece");
        for (const bool skip : {true, false}) streamed(tokenizer, ids, skip);
      });
  });
}

}  // namespace octavo::fuzz
