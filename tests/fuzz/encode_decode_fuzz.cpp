// First byte: the tokenizer; second: options; the rest: the text.
#include "fuzz/recorded_tokenizers.h"
#include "fuzz/targets.h"
#include "tokenizer/utf8.h"

namespace octavo::fuzz {

bool encode_decode(std::string_view input) {
  if (input.size() < 2) return false;
  const auto& all = recorded_tokenizers();
  const RecordedTokenizer& chosen = all[static_cast<uint8_t>(input[0]) % all.size()];
  const Tokenizer& tokenizer = chosen.tokenizer;
  const EncodeOptions options{.add_special_tokens = (input[1] & 1) != 0,
                              .parse_special = (input[1] & 2) != 0};
  const std::string_view text = input.substr(2);
  const bool is_text = tokenizer::first_invalid_utf8(text) == std::string::npos;
  const bool encoded = accepted({ErrorKind::usage}, [&] {
    const auto ids = tokenizer.encode(text, options);
    require(is_text, "invalid UTF-8 is encoded");
    for (const int32_t id : ids)
      require(id >= 0 && id < tokenizer.vocab_size() && !tokenizer.token(id).empty(), "an id of no token");
    require(tokenizer.encode(text, options) == ids, "the second encoding differs");
    streamed(tokenizer, ids, (input[1] & 4) != 0);
    if (chosen.lossless) {
      const auto plain = tokenizer.encode(text, {.add_special_tokens = false, .parse_special = false});
      require(tokenizer.decode(plain, false) == text, "the text does not come back");
    }
  });
  return encoded;
}

}  // namespace octavo::fuzz
