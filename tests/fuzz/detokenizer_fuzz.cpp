// First byte: the tokenizer; second: whether special tokens are left out; then two bytes an id, some outside the vocabulary.
#include "fuzz/recorded_tokenizers.h"
#include "fuzz/targets.h"

namespace octavo::fuzz {

bool detokenizer(std::string_view input) {
  if (input.size() < 2) return false;
  const auto& all = recorded_tokenizers();
  const Tokenizer& tokenizer = all[static_cast<uint8_t>(input[0]) % all.size()].tokenizer;
  const bool skip_special = (input[1] & 1) != 0;
  std::vector<int32_t> ids;
  bool in_range = true;
  for (size_t i = 2; i + 1 < input.size(); i += 2) {
    const int32_t number = static_cast<uint8_t>(input[i]) | static_cast<uint8_t>(input[i + 1]) << 8;
    ids.push_back(number % static_cast<int32_t>(tokenizer.vocab_size() + 1) - (number == 0xffff));
    in_range = in_range && ids.back() >= 0 && ids.back() < tokenizer.vocab_size();
  }
  return accepted({ErrorKind::usage}, [&] {
    streamed(tokenizer, ids, skip_special);
    require(in_range, "an id outside the vocabulary is decoded");
  });
}

}  // namespace octavo::fuzz
