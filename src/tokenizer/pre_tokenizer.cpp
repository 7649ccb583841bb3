#include "tokenizer/pre_tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "tokenizer/byte_level.h"
#include "tokenizer/regex.h"
#include "tokenizer/splitters.h"
#include "tokenizer/unicode.h"
#include "tokenizer/utf8.h"

namespace octavo::tokenizer {
namespace {

enum class Behavior { removed, isolated, merged_with_previous, merged_with_next, contiguous };

Behavior behavior_of(const JsonNode& node, const char* key) {
  const std::string name = node.string(key);
  if (name == "Removed") return Behavior::removed;
  if (name == "Isolated") return Behavior::isolated;
  if (name == "MergedWithPrevious") return Behavior::merged_with_previous;
  if (name == "MergedWithNext") return Behavior::merged_with_next;
  if (name == "Contiguous") return Behavior::contiguous;
  node.child(key).fail(fmt::format(
      "behavior {} is not supported (Removed, Isolated, MergedWithPrevious, MergedWithNext, Contiguous)",
      in_quotes(name)));
}

void give_piece(const Piece& in, uint32_t begin, uint32_t end, const PieceSink& out) {
  out({in.text.substr(begin, end - begin), -1, in.at_start && begin == 0});
}

// `spans` cover the text of `in`; what becomes of the matches among them is the behavior.
void give_spans(const Piece& in, std::vector<Span>& spans, Behavior behavior, const PieceSink& out) {
  switch (behavior) {
    case Behavior::isolated:
      for (const Span& s : spans) give_piece(in, s.begin, s.end, out);
      return;
    case Behavior::removed:
      for (const Span& s : spans)
        if (!s.is_match) give_piece(in, s.begin, s.end, out);
      return;
    case Behavior::contiguous:
      for (size_t i = 0; i < spans.size();) {
        size_t last = i;
        while (last + 1 < spans.size() && spans[last + 1].is_match == spans[i].is_match) ++last;
        give_piece(in, spans[i].begin, spans[last].end, out);
        i = last + 1;
      }
      return;
    case Behavior::merged_with_previous:
      for (size_t i = 0; i < spans.size(); ++i) {
        const bool joins = !spans[i].is_match && i + 1 < spans.size() && spans[i + 1].is_match;
        give_piece(in, spans[i].begin, spans[i + joins].end, out);
        i += joins;
      }
      return;
    case Behavior::merged_with_next:
      for (size_t i = 0; i < spans.size(); ++i) {
        const bool joins = spans[i].is_match && i + 1 < spans.size() && !spans[i + 1].is_match;
        give_piece(in, spans[i].begin, spans[i + joins].end, out);
        i += joins;
      }
  }
}

template <class Test>
void split_characters(std::string_view text, Test test, std::vector<Span>& spans) {
  uint32_t covered = 0;
  for (uint32_t at = 0; at < text.size();) {
    const CodePoint c = decode_utf8(text.data() + at);
    if (test(c.value)) {
      if (at > covered) spans.push_back({covered, at, false});
      spans.push_back({at, at + c.bytes, true});
      covered = at + c.bytes;
    }
    at += c.bytes;
  }
  if (covered < text.size()) spans.push_back({covered, static_cast<uint32_t>(text.size()), false});
}

bool is_punctuation(char32_t c) { return has_flag(c, kPunctuation); }
bool is_numeric(char32_t c) { return has_flag(c, kNumeric); }

class Sequence : public PreTokenizer {
 public:
  explicit Sequence(const JsonNode& node) {
    for (const JsonNode& element : node.child("pretokenizers").elements())
      if (auto step = make_pre_tokenizer(element))
        steps_.push_back(std::move(step));
      else
        element.fail("is null, expected a pre-tokenizer");
  }
  void apply(const Piece& in, TextStore& store, const PieceSink& out) const override {
    from(0, in, store, out);
  }
  bool spells_bytes() const override {
    return std::any_of(steps_.begin(), steps_.end(), [](const auto& step) { return step->spells_bytes(); });
  }
  bool leave_bytes_raw() override {
    for (size_t i = 0; i + 1 < steps_.size(); ++i)
      if (steps_[i]->spells_bytes()) return false;
    return !steps_.empty() && steps_.back()->leave_bytes_raw();
  }

 private:
  // The steps from the given one on: what each gives goes through the next at once.
  void from(size_t step, const Piece& in, TextStore& store, const PieceSink& out) const {
    if (step == steps_.size()) return out(in);
    if (step + 1 == steps_.size()) return steps_[step]->apply(in, store, out);
    steps_[step]->apply(in, store, [&](const Piece& piece) {
      if (!piece.text.empty()) from(step + 1, piece, store, out);
    });
  }
  std::vector<std::unique_ptr<PreTokenizer>> steps_;
};

class ByteLevel : public PreTokenizer {
 public:
  explicit ByteLevel(const JsonNode& node)
      : add_prefix_space_(node.boolean_or("add_prefix_space", true)),
        use_regex_(node.boolean_or("use_regex", true)) {}
  void apply(const Piece& in, TextStore& store, const PieceSink& out) const override {
    Piece piece = in;
    if (add_prefix_space_ && !piece.text.starts_with(' '))
      piece.text = store.keep(" " + std::string(piece.text));
    const auto spell = [&](Piece word) {
      if (!raw_) word.text = store.keep(to_byte_characters(word.text));
      out(word);
    };
    if (!use_regex_) return spell(piece);
    std::vector<Span> spans;
    split_with(Splitter::gpt2, piece.text, spans);
    give_spans(piece, spans, Behavior::isolated, spell);
  }
  bool spells_bytes() const override { return true; }
  bool leave_bytes_raw() override { return raw_ = true; }

 private:
  bool add_prefix_space_, use_regex_, raw_ = false;
};

class Split : public PreTokenizer {
 public:
  explicit Split(const JsonNode& node)
      : behavior_(behavior_of(node, "behavior")), invert_(node.boolean("invert")) {
    const JsonNode pattern = node.child("pattern");
    if (pattern.has("Regex")) splitter_ = splitter_for(pattern.string("Regex"));
    if (!splitter_) pattern_.emplace(pattern);
  }
  void apply(const Piece& in, TextStore&, const PieceSink& out) const override {
    std::vector<Span> spans;
    if (splitter_)
      split_with(*splitter_, in.text, spans);
    else
      pattern_->split(in.text, spans);
    if (invert_)
      for (Span& s : spans) s.is_match = !s.is_match;
    give_spans(in, spans, behavior_, out);
  }

 private:
  Behavior behavior_;
  bool invert_;
  std::optional<Splitter> splitter_;
  std::optional<Pattern> pattern_;
};

// Splits at characters that a predicate picks.
class CharacterSplit : public PreTokenizer {
 public:
  CharacterSplit(bool (*test)(char32_t), Behavior behavior) : test_(test), behavior_(behavior) {}
  void apply(const Piece& in, TextStore&, const PieceSink& out) const override {
    std::vector<Span> spans;
    split_characters(in.text, test_, spans);
    give_spans(in, spans, behavior_, out);
  }

 private:
  bool (*test_)(char32_t);
  Behavior behavior_;
};

class Delimiter : public PreTokenizer {
 public:
  explicit Delimiter(const JsonNode& node) : delimiter_(node.character("delimiter")) {}
  void apply(const Piece& in, TextStore&, const PieceSink& out) const override {
    std::vector<Span> spans;
    split_characters(
        in.text, [&](char32_t c) { return c == delimiter_; }, spans);
    give_spans(in, spans, Behavior::removed, out);
  }

 private:
  char32_t delimiter_;
};

class Bert : public PreTokenizer {
 public:
  void apply(const Piece& in, TextStore& store, const PieceSink& out) const override {
    CharacterSplit(is_white_space, Behavior::removed).apply(in, store, [&](const Piece& word) {
      CharacterSplit(is_punctuation, Behavior::isolated).apply(word, store, out);
    });
  }
};

// \w+|[^\w\s]+ : runs of word characters and runs of neither words nor white space.
class Whitespace : public PreTokenizer {
 public:
  void apply(const Piece& in, TextStore&, const PieceSink& out) const override {
    enum class Run { space, word, other } run = Run::space;
    uint32_t begin = 0;
    for (uint32_t at = 0; at < in.text.size();) {
      const CodePoint c = decode_utf8(in.text.data() + at);
      const Run kind = has_flag(c.value, kWord)  ? Run::word
                       : is_white_space(c.value) ? Run::space
                                                 : Run::other;
      if (kind != run) {
        if (run != Run::space) give_piece(in, begin, at, out);
        begin = at, run = kind;
      }
      at += c.bytes;
    }
    if (run != Run::space) give_piece(in, begin, static_cast<uint32_t>(in.text.size()), out);
  }
};

// SentencePiece: blanks become a visible character, and each word starts with one.
class Metaspace : public PreTokenizer {
 public:
  explicit Metaspace(const JsonNode& node) : split_(node.boolean_or("split", true)) {
    append_utf8(replacement_, node.character("replacement"));
    const std::string scheme = node.string_or("prepend_scheme", "always");
    if (scheme != "always" && scheme != "first" && scheme != "never")
      node.child("prepend_scheme")
          .fail(fmt::format("{} is not supported (always, first, never)", in_quotes(scheme)));
    always_ = scheme == "always", first_ = scheme == "first";
    if (!node.boolean_or("add_prefix_space", true)) {
      if (node.has("prepend_scheme") && scheme != "never")
        node.fail(fmt::format("add_prefix_space is false, but prepend_scheme is {}", in_quotes(scheme)));
      always_ = first_ = false;
    }
  }
  void apply(const Piece& in, TextStore& store, const PieceSink& out) const override {
    std::string text;
    for (const char c : in.text) {
      if (c == ' ')
        text += replacement_;
      else
        text += c;
    }
    if ((always_ || (first_ && in.at_start)) && !text.starts_with(replacement_)) text.insert(0, replacement_);
    Piece piece = in;
    piece.text = store.keep(std::move(text));
    if (!split_) return out(piece);
    std::vector<Span> spans;
    const CodePoint mark = decode_utf8(replacement_.data());
    split_characters(
        piece.text, [&](char32_t c) { return c == mark.value; }, spans);
    give_spans(piece, spans, Behavior::merged_with_next, out);
  }

 private:
  std::string replacement_;
  bool split_, always_, first_;
};

// Runs of characters of one script; Hiragana and Katakana count as Han.
// NOTE: a blank and characters without a script belong to whatever is before them, and are lost at the start of a text.
class UnicodeScripts : public PreTokenizer {
 public:
  void apply(const Piece& in, TextStore&, const PieceSink& out) const override {
    std::optional<uint32_t> begin;
    uint8_t script = kAnyScript;
    for (uint32_t at = 0; at < in.text.size();) {
      const CodePoint c = decode_utf8(in.text.data() + at);
      const uint8_t here = script_table()[c.value];
      if (here != kAnyScript && here != script) {
        if (begin) give_piece(in, *begin, at, out);
        begin = at, script = here;
      }
      at += c.bytes;
    }
    if (begin) give_piece(in, *begin, static_cast<uint32_t>(in.text.size()), out);
  }
};

class FixedLength : public PreTokenizer {
 public:
  explicit FixedLength(const JsonNode& node)
      : length_(node.has("length") ? node.integer("length", 1, INT32_MAX) : 5) {}
  void apply(const Piece& in, TextStore&, const PieceSink& out) const override {
    uint32_t begin = 0, at = 0;
    for (int64_t count = 0; at < in.text.size();) {
      at += decode_utf8(in.text.data() + at).bytes;
      if (++count == length_) give_piece(in, begin, at, out), begin = at, count = 0;
    }
    if (begin < at) give_piece(in, begin, at, out);
  }

 private:
  int64_t length_;
};

}  // namespace

std::unique_ptr<PreTokenizer> make_pre_tokenizer(const JsonNode& node) {
  if (node.is_null()) return nullptr;
  node.expect_object();
  const std::string type = node.string("type");
  if (type == "Sequence") return std::make_unique<Sequence>(node);
  if (type == "ByteLevel") return std::make_unique<ByteLevel>(node);
  if (type == "Split") return std::make_unique<Split>(node);
  if (type == "Digits") {
    const bool single = node.boolean_or("individual_digits", false);
    return std::make_unique<CharacterSplit>(is_numeric, single ? Behavior::isolated : Behavior::contiguous);
  }
  if (type == "Punctuation")
    return std::make_unique<CharacterSplit>(
        is_punctuation, node.has("behavior") ? behavior_of(node, "behavior") : Behavior::isolated);
  if (type == "Metaspace") return std::make_unique<Metaspace>(node);
  if (type == "Whitespace") return std::make_unique<Whitespace>();
  if (type == "WhitespaceSplit") return std::make_unique<CharacterSplit>(is_white_space, Behavior::removed);
  if (type == "BertPreTokenizer") return std::make_unique<Bert>();
  if (type == "CharDelimiterSplit") return std::make_unique<Delimiter>(node);
  if (type == "UnicodeScripts") return std::make_unique<UnicodeScripts>();
  if (type == "FixedLength") return std::make_unique<FixedLength>(node);
  node.fail(fmt::format("pre-tokenizer {} is not supported", in_quotes(type)));
}

}  // namespace octavo::tokenizer
