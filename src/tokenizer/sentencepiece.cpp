#include "tokenizer/sentencepiece.h"

#include <stdexcept>
#include <string_view>

#include "core/error.h"
#include "tokenizer/byte_trie.h"
#include "tokenizer/charsmap.h"
#include "tokenizer/utf8.h"

namespace octavo::tokenizer {
namespace {

constexpr std::string_view kMark = kSpaceMark;

class SentencePieceNormalizer : public Normalizer {
 public:
  explicit SentencePieceNormalizer(const SentencePieceFile& file)
      : prefix_(file.add_dummy_prefix),
        squeeze_(file.remove_extra_whitespaces),
        blank_(file.escape_whitespaces ? kMark : " ") {
    try {
      if (!file.charsmap.empty()) charsmap_ = Charsmap(file.charsmap);
    } catch (const std::invalid_argument& problem) {
      throw Error(ErrorKind::bad_model, file.name + ": precompiled_charsmap: " + problem.what());
    }
    std::vector<ByteTrie::Entry> entries;
    for (size_t id = 0; id < file.pieces.size(); ++id)
      if (file.pieces[id].type == SentencePieceFile::Type::user_defined)
        entries.emplace_back(file.pieces[id].text, static_cast<int32_t>(id));
    user_defined_ = ByteTrie(std::move(entries));
  }

  void apply(NormalizedText& t) const override {
    std::string_view rest = t.text;
    while (squeeze_ && !rest.empty()) {
      const Charsmap::Rule rule = next(rest);
      if (rule.replacement != " ") break;
      rest.remove_prefix(rule.length);
    }
    std::string out;
    out.reserve(rest.size() + rest.size() / 2);
    if (prefix_ && !rest.empty()) out += blank_;
    bool after_blank = squeeze_;
    while (!rest.empty()) {
      auto [length, text] = next(rest);
      while (after_blank && text.starts_with(' ')) text.remove_prefix(1);
      for (const char c : text) {
        if (c == ' ')
          out += blank_;
        else
          out += c;
      }
      if (!text.empty()) after_blank = squeeze_ && text.ends_with(' ');
      rest.remove_prefix(length);
    }
    while (squeeze_ && out.ends_with(blank_)) out.resize(out.size() - blank_.size());
    t.text = std::move(out);
  }

 private:
  // What the beginning of `text` (not empty) becomes: a user-defined piece stays, then the longest rule, then a character.
  Charsmap::Rule next(std::string_view text) const {
    if (const auto piece = user_defined_.longest(text); piece.value >= 0)
      return {piece.length, text.substr(0, piece.length)};
    if (const auto rule = charsmap_.longest(text)) return *rule;
    if ((static_cast<uint8_t>(text[0]) & 0xc0) == 0x80)
      return {1, "\ufffd"};  // a rule ended inside a character
    const auto bytes = static_cast<size_t>(decode_utf8(text.data()).bytes);
    return {bytes, text.substr(0, bytes)};
  }

  bool prefix_, squeeze_;
  std::string_view blank_;
  Charsmap charsmap_;
  ByteTrie user_defined_;
};

// "<0x0A>" -> 10; -1: no byte piece.
int byte_piece(std::string_view text) {
  if (text.size() != 6 || !text.starts_with("<0x") || text[5] != '>') return -1;
  int value = 0;
  for (const char c : text.substr(3, 2)) {
    const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
    if (digit < 0) return -1;
    value = value * 16 + digit;
  }
  return value;
}

class SentencePieceStage : public DecoderStage {
 public:
  SentencePieceStage(std::string unk, std::string unk_surface, bool cuts_prefix, bool cuts_all)
      : unk_(std::move(unk)),
        unk_surface_(std::move(unk_surface)),
        at_start_(cuts_prefix || cuts_all),
        cuts_all_(cuts_all) {}

  void fragment(std::string_view text) override { token_ += text; }
  void end_token() override {
    std::string_view text = token_;
    if (const int byte = byte_piece(text); byte >= 0) {
      bytes_ += static_cast<char>(byte);
      hand_out_bytes(false);
    } else {
      hand_out_bytes(true);
      if (text == unk_) text = unk_surface_;
      hand_out_piece(text);
    }
    token_.clear();
  }
  void finish() override {
    hand_out_bytes(true);
    next->end_token(), next->finish();
  }

 private:
  void hand_out_piece(std::string_view text) {
    bool cut = false;
    if (at_start_ && text.starts_with(kMark)) text.remove_prefix(kMark.size()), cut = true;
    std::string out;
    for (size_t at = 0; at < text.size();) {
      const bool blank = text.substr(at).starts_with(kMark);
      out += blank ? ' ' : text[at];
      at += blank ? kMark.size() : 1;
    }
    hand_out(out);
    if (cut && !cuts_all_) at_start_ = false;
  }
  // Whole characters; a byte that can be part of none becomes U+FFFD.
  void hand_out_bytes(bool all) {
    std::string out;
    size_t at = 0;
    while (at < bytes_.size()) {
      const Utf8Step step = next_utf8(std::string_view(bytes_).substr(at));
      if (step.kind == Utf8Prefix::incomplete && !all) break;
      const bool character = step.kind == Utf8Prefix::character;
      out += character ? std::string_view(bytes_).substr(at, step.bytes)
                       : std::string_view(kReplacementCharacter);
      at += character ? step.bytes : 1;
    }
    bytes_.erase(0, at);
    hand_out(out);
  }
  void hand_out(std::string_view text) {
    if (text.empty()) return;
    at_start_ = false;
    next->fragment(text);
  }

  std::string unk_, unk_surface_;
  bool at_start_;  // a mark that comes now stands for no blank
  bool cuts_all_;  // every mark in front, not only the first
  std::string token_, bytes_;
};

struct SentencePieceStep : DecoderStep {
  explicit SentencePieceStep(const SentencePieceFile& file)
      : unk(file.pieces[file.unk_id].text),
        unk_surface(file.unk_surface),
        cuts_prefix(file.add_dummy_prefix),
        cuts_all(file.remove_extra_whitespaces) {}
  std::unique_ptr<DecoderStage> make_stage() const override {
    return std::make_unique<SentencePieceStage>(unk, unk_surface, cuts_prefix, cuts_all);
  }
  std::string unk, unk_surface;
  bool cuts_prefix, cuts_all;
};

}  // namespace

std::unique_ptr<Normalizer> make_sentencepiece_normalizer(const SentencePieceFile& file) {
  return std::make_unique<SentencePieceNormalizer>(file);
}

std::unique_ptr<DecoderStep> make_sentencepiece_decoder(const SentencePieceFile& file) {
  return std::make_unique<SentencePieceStep>(file);
}

}  // namespace octavo::tokenizer
