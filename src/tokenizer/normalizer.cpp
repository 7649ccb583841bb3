#include "tokenizer/normalizer.h"

#include <fmt/format.h>
#include <utf8proc.h>

#include <algorithm>
#include <stdexcept>
#include <vector>

#include "tokenizer/byte_level.h"
#include "tokenizer/charsmap.h"
#include "tokenizer/regex.h"
#include "tokenizer/unicode.h"
#include "tokenizer/utf8.h"

namespace octavo::tokenizer {
namespace {

template <class Body>
void for_each_character(std::string_view text, Body body) {
  for (const char *p = text.data(), *end = p + text.size(); p < end;) {
    const CodePoint c = decode_utf8(p);
    body(c.value);
    p += c.bytes;
  }
}

// Keeps the characters that pass. Without its first character a text no longer starts where the input did.
template <class Keep>
void filter(NormalizedText& t, Keep keep) {
  std::string out;
  out.reserve(t.text.size());
  bool first = true;
  for_each_character(t.text, [&](char32_t c) {
    const bool kept = keep(c);
    if (kept)
      append_utf8(out, c);
    else if (first)
      t.at_start = false;
    first = false;
  });
  t.text = std::move(out);
}

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

void to_normal_form(std::string& text, NormalForm form) {
  if (is_ascii(text)) return;
  std::u32string characters;
  characters.reserve(text.size());
  for_each_character(text, [&](char32_t c) { characters += c; });
  std::string out;
  out.reserve(text.size());
  for (const char32_t c : normalize(characters, form)) append_utf8(out, c);
  text = std::move(out);
}

void to_lowercase(std::string& text) {
  std::string out;
  out.reserve(text.size());
  for_each_character(text, [&](char32_t c) { append_lowercase(out, c); });
  text = std::move(out);
}

class Sequence : public Normalizer {
 public:
  explicit Sequence(const JsonNode& node) {
    for (const JsonNode& element : node.child("normalizers").elements())
      if (auto step = make_normalizer(element))
        steps_.push_back(std::move(step));
      else
        element.fail("is null, expected a normalizer");
  }
  void apply(NormalizedText& t) const override {
    for (const auto& step : steps_) step->apply(t);
  }

 private:
  std::vector<std::unique_ptr<Normalizer>> steps_;
};

class UnicodeForm : public Normalizer {
 public:
  explicit UnicodeForm(NormalForm form) : form_(form) {}
  void apply(NormalizedText& t) const override { to_normal_form(t.text, form_); }

 private:
  NormalForm form_;
};

class Lowercase : public Normalizer {
 public:
  void apply(NormalizedText& t) const override { to_lowercase(t.text); }
};

class StripAccents : public Normalizer {
 public:
  void apply(NormalizedText& t) const override {
    filter(t, [](char32_t c) { return !has_flag(c, kCombiningMark); });
  }
};

class Strip : public Normalizer {
 public:
  explicit Strip(const JsonNode& node)
      : left_(node.boolean("strip_left")), right_(node.boolean("strip_right")) {}
  void apply(NormalizedText& t) const override {
    const char *begin = t.text.data(), *end = begin + t.text.size();
    const char *first = begin, *last = end;
    for (; left_ && first < end; first += decode_utf8(first).bytes)
      if (!is_white_space(decode_utf8(first).value)) break;
    for (; right_ && last > first; last -= decode_utf8_before(first, last).bytes)
      if (!is_white_space(decode_utf8_before(first, last).value)) break;
    if (first > begin) t.at_start = false;
    t.text = t.text.substr(first - begin, last - first);
  }

 private:
  bool left_, right_;
};

class Prepend : public Normalizer {
 public:
  explicit Prepend(const JsonNode& node) : prefix_(node.string("prepend")) {}
  void apply(NormalizedText& t) const override {
    if (!t.text.empty()) t.text.insert(0, prefix_);
  }

 private:
  std::string prefix_;
};

class Replace : public Normalizer {
 public:
  explicit Replace(const JsonNode& node)
      : pattern_(node.child("pattern")), content_(node.string("content")) {}
  void apply(NormalizedText& t) const override {
    std::vector<Span> spans;
    pattern_.split(t.text, spans);
    std::string out;
    out.reserve(t.text.size());
    for (const Span& s : spans) {
      if (s.is_match)
        out += content_;
      else
        out.append(t.text, s.begin, s.end - s.begin);
    }
    t.text = std::move(out);
  }

 private:
  Pattern pattern_;
  std::string content_;
};

class Nmt : public Normalizer {
 public:
  void apply(NormalizedText& t) const override {
    filter(t, [](char32_t c) {
      return !((c >= 1 && c <= 8) || c == 0xb || (c >= 0xe && c <= 0x1f) || c == 0x7f || c == 0x8f ||
               c == 0x9f);
    });
    std::string out;
    for_each_character(t.text, [&](char32_t c) {
      const bool blank = c == 9 || c == 0xa || c == 0xc || c == 0xd || c == 0x1680 ||
                         (c >= 0x200b && c <= 0x200f) || c == 0x2028 || c == 0x2029 || c == 0x2581 ||
                         c == 0xfeff || c == 0xfffd;
      append_utf8(out, blank ? U' ' : c);
    });
    t.text = std::move(out);
  }
};

// SentencePiece's compiled rules as the `tokenizers` package applies them: not the longest rule at every place, but the
// shortest one to each short grapheme cluster as a whole, or to each of its characters.
class Precompiled : public Normalizer {
 public:
  explicit Precompiled(const JsonNode& node) {
    try {
      map_ = Charsmap(from_base64(node.string("precompiled_charsmap")));
    } catch (const std::invalid_argument& problem) {
      node.child("precompiled_charsmap").fail(problem.what());
    }
  }
  void apply(NormalizedText& t) const override {
    std::string out;
    out.reserve(t.text.size());
    for (std::string_view rest = t.text; !rest.empty();) {
      const std::string_view cluster = rest.substr(0, cluster_bytes(rest));
      rest.remove_prefix(cluster.size());
      append(cluster, out);
    }
    t.text = std::move(out);
  }

 private:
  static constexpr size_t kShortCluster = 5;  // bytes

  // NOTE: a rule for a part of the cluster replaces all of it.
  void append(std::string_view cluster, std::string& out) const {
    if (cluster.size() <= kShortCluster)
      if (const auto rule = map_.shortest(cluster)) {
        out += rule->replacement;
        return;
      }
    for (size_t bytes = 0; !cluster.empty(); cluster.remove_prefix(bytes)) {
      bytes = static_cast<size_t>(decode_utf8(cluster.data()).bytes);
      const std::string_view character = cluster.substr(0, bytes);
      const auto rule = map_.shortest(character);
      out += rule ? rule->replacement : character;
    }
  }

  static size_t cluster_bytes(std::string_view text) {
    const CodePoint first = decode_utf8(text.data());
    utf8proc_int32_t state = 0;
    auto before = static_cast<utf8proc_int32_t>(first.value);
    auto at = static_cast<size_t>(first.bytes);
    while (at < text.size()) {
      const CodePoint c = decode_utf8(text.data() + at);
      const auto after = static_cast<utf8proc_int32_t>(c.value);
      if (utf8proc_grapheme_break_stateful(before, after, &state)) break;
      before = after, at += static_cast<size_t>(c.bytes);
    }
    return at;
  }
  Charsmap map_;
};

class ByteSpelling : public Normalizer {
 public:
  void apply(NormalizedText& t) const override { t.text = to_byte_characters(t.text); }
};

class Bert : public Normalizer {
 public:
  explicit Bert(const JsonNode& node)
      : clean_text_(node.boolean("clean_text")),
        chinese_(node.boolean("handle_chinese_chars")),
        lowercase_(node.boolean("lowercase")),
        strip_accents_(node.boolean_or("strip_accents", lowercase_)) {}
  void apply(NormalizedText& t) const override {
    if (clean_text_) clean(t);
    if (chinese_) space_chinese(t.text);
    if (strip_accents_) {
      to_normal_form(t.text, NormalForm::nfd);
      filter(t, [](char32_t c) { return !has_flag(c, kNonspacingMark); });
    }
    if (lowercase_) to_lowercase(t.text);
  }

 private:
  static void clean(NormalizedText& t) {
    filter(t, [](char32_t c) { return !has_flag(c, kRemovedByClean); });
    std::string out;
    out.reserve(t.text.size());
    for_each_character(t.text, [&](char32_t c) { append_utf8(out, is_white_space(c) ? U' ' : c); });
    t.text = std::move(out);
  }
  // NOTE: the package's ranges, gaps of CJK extension E included.
  static bool is_chinese(char32_t c) {
    return (c >= 0x4e00 && c <= 0x9fff) || (c >= 0x3400 && c <= 0x4dbf) || (c >= 0x20000 && c <= 0x2a6df) ||
           (c >= 0x2a700 && c <= 0x2b73f) || (c >= 0x2b740 && c <= 0x2b81f) ||
           (c >= 0x2b920 && c <= 0x2ceaf) || (c >= 0xf900 && c <= 0xfaff) || (c >= 0x2f800 && c <= 0x2fa1f);
  }
  static void space_chinese(std::string& text) {
    std::string out;
    out.reserve(text.size());
    for_each_character(text, [&](char32_t c) {
      if (is_chinese(c)) out += ' ';
      append_utf8(out, c);
      if (is_chinese(c)) out += ' ';
    });
    text = std::move(out);
  }
  bool clean_text_, chinese_, lowercase_, strip_accents_;
};

}  // namespace

std::unique_ptr<Normalizer> make_normalizer(const JsonNode& node) {
  if (node.is_null()) return nullptr;
  node.expect_object();
  const std::string type = node.string("type");
  if (type == "Sequence") return std::make_unique<Sequence>(node);
  if (type == "NFC") return std::make_unique<UnicodeForm>(NormalForm::nfc);
  if (type == "NFD") return std::make_unique<UnicodeForm>(NormalForm::nfd);
  if (type == "NFKC") return std::make_unique<UnicodeForm>(NormalForm::nfkc);
  if (type == "NFKD") return std::make_unique<UnicodeForm>(NormalForm::nfkd);
  if (type == "Lowercase") return std::make_unique<Lowercase>();
  if (type == "StripAccents") return std::make_unique<StripAccents>();
  if (type == "Strip") return std::make_unique<Strip>(node);
  if (type == "Prepend") return std::make_unique<Prepend>(node);
  if (type == "Replace") return std::make_unique<Replace>(node);
  if (type == "BertNormalizer") return std::make_unique<Bert>(node);
  if (type == "ByteLevel") return std::make_unique<ByteSpelling>();
  if (type == "Nmt") return std::make_unique<Nmt>();
  if (type == "Precompiled") return std::make_unique<Precompiled>(node);
  node.fail(fmt::format("normalizer {} is not supported", in_quotes(type)));
}

}  // namespace octavo::tokenizer
