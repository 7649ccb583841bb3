#include "tokenizer/decoder.h"

#include <fmt/format.h>

#include <optional>
#include <utility>

#include "tokenizer/byte_level.h"
#include "tokenizer/regex.h"
#include "tokenizer/utf8.h"

namespace octavo::tokenizer {
namespace {

// A stage that looks at whole tokens.
class WholeTokens : public DecoderStage {
 public:
  void fragment(std::string_view text) override { token_ += text; }
  void end_token() override { token(std::exchange(token_, {})); }
  virtual void token(std::string text) = 0;

 private:
  std::string token_;
};

// A step without state of its own beyond the stage's constructor arguments.
template <class Stage, class... Settings>
std::unique_ptr<DecoderStep> step_of(Settings... settings) {
  struct Step : DecoderStep {
    explicit Step(std::tuple<Settings...> s) : arguments(std::move(s)) {}
    std::unique_ptr<DecoderStage> make_stage() const override {
      return std::apply([](const auto&... a) { return std::make_unique<Stage>(a...); }, arguments);
    }
    std::tuple<Settings...> arguments;
  };
  return std::make_unique<Step>(std::tuple<Settings...>(std::move(settings)...));
}

// Without a decoder: "a b c".
class Join : public DecoderStage {
 public:
  void fragment(std::string_view text) override {
    if (std::exchange(between_, false)) next->fragment(" ");
    next->fragment(text);
  }
  void end_token() override {
    if (between_) next->fragment(" ");  // the token just ended was empty
    between_ = true;
  }

 private:
  bool between_ = false;
};

class Fuse : public DecoderStage {
 public:
  void fragment(std::string_view text) override { next->fragment(text); }
  void end_token() override {}
  void finish() override { next->end_token(), next->finish(); }
};

// All tokens' bytes as one text; what is not UTF-8 becomes U+FFFD, one for each maximal ill-formed part.
class ByteLevel : public WholeTokens {
 public:
  void token(std::string text) override {
    // NOTE: a token with a character that stands for no byte (an added token) is taken as it is, all of it.
    if (auto bytes = from_byte_characters(text))
      pending_ += *bytes;
    else
      pending_ += text;
    flush(false);
  }
  void finish() override {
    flush(true);
    next->end_token(), next->finish();
  }

 private:
  void flush(bool at_end) {
    std::string out;
    size_t at = 0;
    while (at < pending_.size()) {
      const Utf8Step step = next_utf8(std::string_view(pending_).substr(at));
      if (step.kind == Utf8Prefix::incomplete && !at_end) break;
      if (step.kind == Utf8Prefix::character)
        out.append(pending_, at, step.bytes);
      else
        out += kReplacementCharacter;
      at += step.bytes;
    }
    pending_.erase(0, at);
    if (!out.empty()) next->fragment(out);
  }
  std::string pending_;
};

// "<0x0A>" -> 10. NOTE: "<0x+A>" too, as the package reads it; "<0x-1>" is ordinary text.
std::optional<uint8_t> byte_of(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return std::nullopt;
  const auto digit = [](char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
  };
  const int high = token[3] == '+' ? 0 : digit(token[3]), low = digit(token[4]);
  if (high < 0 || low < 0) return std::nullopt;
  return static_cast<uint8_t>(high * 16 + low);
}

// Runs of byte tokens: the text they spell, or a U+FFFD for each when the run is not UTF-8.
class ByteFallback : public WholeTokens {
 public:
  void token(std::string text) override {
    if (const auto byte = byte_of(text)) {
      run_ += static_cast<char>(*byte);
    } else {
      flush();
      emit_token(text);
    }
  }
  void finish() override {
    flush();
    next->finish();
  }

 private:
  void flush() {
    if (run_.empty()) return;
    if (first_invalid_utf8(run_) == std::string_view::npos)
      emit_token(run_);
    else
      for (size_t i = 0; i < run_.size(); ++i) emit_token(kReplacementCharacter);
    run_.clear();
  }
  std::string run_;
};

// Cuts up to `start` characters `content` from the front of each token and up to `stop` from its end.
class Strip : public DecoderStage {
 public:
  Strip(std::string content, int64_t start, int64_t stop)
      : content_(std::move(content)), start_(start), stop_(stop) {}
  void fragment(std::string_view text) override {
    std::string out;
    for (size_t at = 0; at < text.size();) {
      const std::string_view c = text.substr(at, decode_utf8(text.data() + at).bytes);
      at += c.size();
      if (c == content_ && cut_ >= 0 && cut_ < start_) {
        ++cut_;
        continue;
      }
      cut_ = -1;  // the front is over
      if (c == content_ && held_ < stop_) {
        ++held_;
      } else if (c == content_) {
        out += c;  // one of the held ones; this one is held in its place
      } else {
        for (; held_ > 0; --held_) out += content_;
        out += c;
      }
    }
    if (!out.empty()) next->fragment(out);
  }
  void end_token() override {
    cut_ = held_ = 0;
    next->end_token();
  }

 private:
  std::string content_;
  int64_t start_, stop_;
  int64_t cut_ = 0;   // characters cut from the front so far; -1: the front is over
  int64_t held_ = 0;  // characters `content` that may be the end
};

class Replace : public WholeTokens {
 public:
  Replace(std::shared_ptr<const Pattern> pattern, std::string content)
      : pattern_(std::move(pattern)), content_(std::move(content)) {}
  void token(std::string text) override {
    std::vector<Span> spans;
    pattern_->split(text, spans);
    std::string out;
    for (const Span& s : spans)
      out +=
          s.is_match ? std::string_view(content_) : std::string_view(text).substr(s.begin, s.end - s.begin);
    emit_token(out);
  }

 private:
  std::shared_ptr<const Pattern> pattern_;
  std::string content_;
};

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
    text.replace(at, from.size(), to);
}

class Metaspace : public DecoderStage {
 public:
  Metaspace(std::string replacement, bool prepends)
      : replacement_(std::move(replacement)), in_first_(prepends) {}
  void fragment(std::string_view text) override {
    std::string out(text);
    replace_all(out, replacement_, in_first_ ? "" : " ");
    if (!out.empty()) next->fragment(out);
  }
  void end_token() override {
    in_first_ = false;
    next->end_token();
  }

 private:
  std::string replacement_;
  bool in_first_;  // in the first token, where the mark was put in front and nothing stands for it
};

// English of the tokenised kind back to ordinary spelling.
void clean_up(std::string& text) {
  static constexpr std::pair<std::string_view, std::string_view> kRules[] = {
      {" .", "."},   {" ?", "?"},           {" !", "!"},   {" ,", ","},     {" ' ", "'"},   {" n't", "n't"},
      {" 'm", "'m"}, {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
  for (const auto& [from, to] : kRules) replace_all(text, from, to);
}

class WordPiece : public WholeTokens {
 public:
  WordPiece(std::string prefix, bool cleanup) : prefix_(std::move(prefix)), cleanup_(cleanup) {}
  void token(std::string text) override {
    if (!std::exchange(first_, false)) {
      if (text.starts_with(prefix_))
        text.erase(0, prefix_.size());
      else
        text.insert(0, " ");
    }
    if (cleanup_) clean_up(text);
    emit_token(text);
  }

 private:
  std::string prefix_;
  bool cleanup_, first_ = true;
};

// A suffix marks the end of a word: a blank, but nothing after the last token.
class BpeSuffix : public WholeTokens {
 public:
  explicit BpeSuffix(std::string suffix) : suffix_(std::move(suffix)) {}
  void token(std::string text) override {
    flush(" ");
    held_ = std::move(text);
  }
  void finish() override {
    flush("");
    next->finish();
  }

 private:
  void flush(std::string_view replacement) {
    if (!held_) return;
    replace_all(*held_, suffix_, replacement);
    emit_token(*held_);
    held_.reset();
  }
  std::string suffix_;
  std::optional<std::string> held_;
};

class Ctc : public WholeTokens {
 public:
  Ctc(std::string pad, std::string delimiter, bool cleanup)
      : pad_(std::move(pad)), delimiter_(std::move(delimiter)), cleanup_(cleanup) {}
  void token(std::string text) override {
    if (last_ == text) return;
    last_ = text;
    replace_all(text, pad_, "");
    if (cleanup_) {
      clean_up(text);
      replace_all(text, delimiter_, " ");
    }
    if (!text.empty()) emit_token(text);
  }

 private:
  std::string pad_, delimiter_;
  bool cleanup_;
  std::optional<std::string> last_;
};

std::string not_empty(const JsonNode& node, const char* key, const char* fallback = nullptr) {
  std::string text = fallback ? node.string_or(key, fallback) : node.string(key);
  if (text.empty()) node.child(key).fail("an empty string is not supported");
  return text;
}

void append_steps(const JsonNode& node, std::vector<std::unique_ptr<DecoderStep>>& steps) {
  node.expect_object();
  const std::string type = node.string("type");
  if (type == "Sequence") {
    for (const JsonNode& element : node.child("decoders").elements()) append_steps(element, steps);
  } else if (type == "ByteLevel") {
    steps.push_back(step_of<ByteLevel>());
  } else if (type == "ByteFallback") {
    steps.push_back(step_of<ByteFallback>());
  } else if (type == "Fuse") {
    steps.push_back(step_of<Fuse>());
  } else if (type == "Strip") {
    std::string content;
    append_utf8(content, node.character("content"));
    steps.push_back(
        step_of<Strip>(content, node.integer("start", 0, INT32_MAX), node.integer("stop", 0, INT32_MAX)));
  } else if (type == "Replace") {
    steps.push_back(
        step_of<Replace>(std::make_shared<const Pattern>(node.child("pattern")), node.string("content")));
  } else if (type == "Metaspace") {
    std::string replacement;
    append_utf8(replacement, node.character("replacement"));
    const bool prepends =
        node.string_or("prepend_scheme", "always") != "never" && node.boolean_or("add_prefix_space", true);
    steps.push_back(step_of<Metaspace>(replacement, prepends));
  } else if (type == "WordPiece") {
    steps.push_back(step_of<WordPiece>(node.string("prefix"), node.boolean("cleanup")));
  } else if (type == "BPEDecoder") {
    steps.push_back(step_of<BpeSuffix>(not_empty(node, "suffix", "</w>")));
  } else if (type == "CTC") {
    steps.push_back(step_of<Ctc>(not_empty(node, "pad_token"), not_empty(node, "word_delimiter_token"),
                                 node.boolean("cleanup")));
  } else {
    node.fail(fmt::format("decoder {} is not supported", in_quotes(type)));
  }
}

}  // namespace

std::vector<std::unique_ptr<DecoderStep>> make_decoder(const JsonNode& node) {
  std::vector<std::unique_ptr<DecoderStep>> steps;
  if (node.is_null())
    steps.push_back(step_of<Join>());
  else
    append_steps(node, steps);
  return steps;
}

DecoderChain::DecoderChain(const std::vector<std::unique_ptr<DecoderStep>>& steps) {
  for (const auto& step : steps) stages_.push_back(step->make_stage());
  for (size_t i = 0; i < stages_.size(); ++i)
    stages_[i]->next = i + 1 < stages_.size() ? stages_[i + 1].get() : &sink_;
  if (!stages_.empty()) first_ = stages_[0].get();
}

}  // namespace octavo::tokenizer
