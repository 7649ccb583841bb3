// The input is a tokenizer.json. Whatever loads must encode and decode, or say why not.
#include "fuzz/recorded_tokenizers.h"
#include "fuzz/targets.h"

namespace octavo::fuzz {
namespace {

const std::string_view kTexts[] = {
    "",
    "a",
    "Hello world, it's 1234 o'clock!\n\n  aaab\tabab <s>x</s>",
    "n\u00e4ive \uac01 e\u0301\u0323 \ufb01 \u4e2d\u6587\u3000\u0e44\u0e17\u0e22 \U0001f600\u200d\u2581_",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab",
};

}  // namespace

bool tokenizer_json(std::string_view input) {
  return accepted({ErrorKind::bad_model}, [&] {
    const Tokenizer tokenizer = Tokenizer::parse(input, "tokenizer.json");
    for (const std::string_view text : kTexts)
      // NOTE: usage: a pattern that backtracks without end; bad_model: a character that has neither token nor unk_token.
      accepted({ErrorKind::usage, ErrorKind::bad_model}, [&] {
        const auto ids = tokenizer.encode(text);
        for (const int32_t id : ids) require(id >= 0 && id < tokenizer.vocab_size(), "an id of no token");
        for (const bool skip : {true, false}) streamed(tokenizer, ids, skip);
      });
  });
}

}  // namespace octavo::fuzz
