#include "tokenizer/splitters.h"

#include "tokenizer/unicode.h"
#include "tokenizer/utf8.h"

namespace octavo::tokenizer {
namespace {

enum class Kind : uint8_t { other, letter, number, space };

std::vector<uint32_t> kind_runs() {
  std::vector<uint32_t> runs;
  for (uint32_t c = 0; c < 0x110000; ++c) {
    const Kind kind = in_categories(c, kLetter)   ? Kind::letter
                      : in_categories(c, kNumber) ? Kind::number
                      : is_white_space(c)         ? Kind::space
                                                  : Kind::other;
    if (runs.empty() || (runs.back() & 0xff) != static_cast<uint32_t>(kind))
      runs.push_back(c << 8 | static_cast<uint32_t>(kind));
  }
  return runs;
}

class Scanner {
 public:
  explicit Scanner(std::string_view text) : begin_(text.data()), end_(begin_ + text.size()) {}

  template <class Match>  // end of the match that starts at `p`
  void split(std::vector<Span>& spans, Match match) const {
    for (const char* p = begin_; p < end_;) {
      const char* stop = match(p);
      spans.push_back({static_cast<uint32_t>(p - begin_), static_cast<uint32_t>(stop - begin_), true});
      p = stop;
    }
  }

  struct Character {
    Kind kind;
    int bytes;
  };
  Character at(const char* p) const {
    if (const auto b = static_cast<unsigned char>(*p); b < 0x80) return {static_cast<Kind>(kinds_[b]), 1};
    const CodePoint c = decode_utf8(p);
    return {static_cast<Kind>(kinds_[c.value]), c.bytes};
  }
  // End of the run of characters of `kind` from p, at most `most` of them.
  const char* run(const char* p, Kind kind, size_t most = SIZE_MAX) const {
    for (; most > 0 && p < end_; --most) {
      const Character c = at(p);
      if (c.kind != kind) break;
      p += c.bytes;
    }
    return p;
  }
  bool is(const char* p, Kind kind) const { return p < end_ && at(p).kind == kind; }

  // 's 't 'm 'd 're 've 'll at p; null when none.
  const char* contraction(const char* p, bool any_case) const {
    const auto letter = [&](const char* q) {
      const char c = q < end_ ? *q : '\0';
      return any_case && c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    };
    const char first = letter(p + 1), second = letter(p + 2);
    if (first == 's' || first == 't' || first == 'm' || first == 'd') return p + 2;
    if ((first == 'r' || first == 'v') && second == 'e') return p + 3;
    if (first == 'l' && second == 'l') return p + 3;
    // NOTE: without regard to case, s is also U+017F, the long s.
    if (any_case && end_ - p >= 3 && p[1] == '\xc5' && p[2] == '\xbf') return p + 3;
    return nullptr;
  }

  // \s+(?!\S)|\s+ : all of the white space at the end of the text, else all but its last character.
  const char* white_space(const char* p) const {
    const char* stop = run(p, Kind::space);
    if (stop == end_) return stop;
    const char* last = stop - 1;
    while ((static_cast<unsigned char>(*last) & 0xc0) == 0x80) --last;
    return last > p ? last : stop;
  }

  const char* line_breaks(const char* p) const {
    while (p < end_ && (*p == '\r' || *p == '\n')) ++p;
    return p;
  }

  // \s*[\r\n]+ : white space up to its last line break; null when there is none.
  const char* through_line_breaks(const char* p) const {
    for (const char* q = run(p, Kind::space); q > p; --q)
      if (q[-1] == '\r' || q[-1] == '\n') return q;
    return nullptr;
  }

 private:
  const char *begin_, *end_;
  const CodePointBytes& kinds_ = []() -> const CodePointBytes& {
    static const CodePointBytes table(kind_runs(), 8);
    return table;
  }();
};

void split_gpt2(std::string_view text, std::vector<Span>& spans) {
  const Scanner s(text);
  s.split(spans, [&](const char* p) {
    if (*p == '\'')
      if (const char* stop = s.contraction(p, false)) return stop;
    const char* word = *p == ' ' ? p + 1 : p;
    for (const Kind kind : {Kind::letter, Kind::number, Kind::other})
      if (s.is(word, kind)) return s.run(word, kind);
    return s.white_space(p);
  });
}

void split_llama3(std::string_view text, size_t digits, std::vector<Span>& spans) {
  const Scanner s(text);
  s.split(spans, [&](const char* p) {
    if (*p == '\'')
      if (const char* stop = s.contraction(p, true)) return stop;
    const auto first = s.at(p);
    if (first.kind == Kind::letter) return s.run(p, Kind::letter);
    if (first.kind == Kind::number) return s.run(p, Kind::number, digits);
    if (*p != '\r' && *p != '\n' && s.is(p + first.bytes, Kind::letter))
      return s.run(p + first.bytes, Kind::letter);
    const char* symbol = *p == ' ' ? p + 1 : p;
    if (s.is(symbol, Kind::other)) return s.line_breaks(s.run(symbol, Kind::other));
    if (const char* stop = s.through_line_breaks(p)) return stop;
    return s.white_space(p);
  });
}

}  // namespace

std::optional<Splitter> splitter_for(std::string_view pattern) {
  if (pattern == kGpt2Pattern) return Splitter::gpt2;
  if (pattern == kLlama3Pattern) return Splitter::llama3;
  if (pattern == kQwen2Pattern) return Splitter::qwen2;
  return std::nullopt;
}

void split_with(Splitter splitter, std::string_view text, std::vector<Span>& spans) {
  switch (splitter) {
    case Splitter::gpt2: return split_gpt2(text, spans);
    case Splitter::llama3: return split_llama3(text, 3, spans);
    case Splitter::qwen2: return split_llama3(text, 1, spans);
  }
}

}  // namespace octavo::tokenizer
