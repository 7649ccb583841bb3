// Text in, ids out, for tools/tokenizer_differential.py: `tokenizer_ids PATH OPTIONS`, options as digits (1: add special
// tokens, 2: parse special tokens, 4: also decode). Frames on standard input: int32 bytes, the text. On standard output:
// int32 count, the ids, and with 4 int32 bytes, the text of decode without skipping; count -1: refused, then the message.
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace {

bool get(void* to, size_t bytes) { return std::fread(to, 1, bytes, stdin) == bytes; }
void put(const void* from, size_t bytes) {
  if (std::fwrite(from, 1, bytes, stdout) != bytes) std::exit(1);
}
void put_text(const std::string& text) {
  const auto bytes = static_cast<int32_t>(text.size());
  put(&bytes, 4), put(text.data(), text.size());
}

int run(const std::string& path, int flags) {
  const octavo::Tokenizer tokenizer = octavo::Tokenizer::load(path);
  const octavo::EncodeOptions options{.add_special_tokens = (flags & 1) != 0,
                                      .parse_special = (flags & 2) != 0};
  std::string text;
  for (int32_t bytes = 0; get(&bytes, 4);) {
    text.resize(static_cast<size_t>(bytes));
    if (!get(text.data(), text.size())) return 1;
    try {
      const std::vector<int32_t> ids = tokenizer.encode(text, options);
      const std::string back = flags & 4 ? tokenizer.decode(ids, false) : std::string();
      const auto count = static_cast<int32_t>(ids.size());
      put(&count, 4), put(ids.data(), 4 * ids.size());
      if (flags & 4) put_text(back);
    } catch (const octavo::Error& e) {
      const int32_t refused = -1;
      put(&refused, 4), put_text(e.what());
    }
    std::fflush(stdout);  // the other side may wait for this answer
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return std::fprintf(stderr, "usage: tokenizer_ids PATH OPTIONS\n"), 2;
  try {
    return run(argv[1], std::atoi(argv[2]));
  } catch (const std::exception& e) {
    return std::fprintf(stderr, "tokenizer_ids: %s\n", e.what()), 1;
  }
}
