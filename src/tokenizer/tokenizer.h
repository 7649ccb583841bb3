// Text to token ids and back, with the ids of the Hugging Face `tokenizers` package: a C++ reading of tokenizer.json.
//   text -> added tokens split off -> normaliser -> added tokens again -> pre-tokeniser -> model -> post-processor -> ids
// The file is untrusted: whatever is damaged, contradictory or not supported is named in an Error(bad_model) at load.
// Truncation and padding that a tokenizer.json may carry are not applied: a prompt is never cut silently.
#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"

namespace octavo {

struct EncodeOptions {
  bool add_special_tokens = true;  // what the post-processor adds, e.g. <s> in front
  bool parse_special = true;  // false: special tokens spelled in the text are ordinary text (untrusted input)
};

namespace tokenizer {
struct Parts;
class DecoderChain;
}  // namespace tokenizer

// Immutable after load; every const member may be called from several threads at once.
class Tokenizer {
 public:
  // `path`: a model folder, a tokenizer.json or a SentencePiece model (*.model). In a folder tokenizer.json comes first, then
  // tokenizer.model, spiece.model, sentencepiece.bpe.model. Next to it tokenizer_config.json and special_tokens_map.json
  // are read when present (names of BOS, EOS and the others). Throws Error(bad_model) naming file and field.
  static Tokenizer load(const std::filesystem::path& path);
  // The same from memory; `name` stands for the file in messages, `config_json` may be empty.
  static Tokenizer parse(std::string_view tokenizer_json, const std::string& name,
                         std::string_view config_json = {});
  static Tokenizer parse_sentencepiece(std::string_view model, const std::string& name,
                                       std::string_view config_json = {});

  // Throws Error(usage) with the byte offset when `utf8` is not valid UTF-8.
  std::vector<int32_t> encode(std::string_view utf8, EncodeOptions options = {}) const;

  // Valid UTF-8 whatever the ids; bytes that form no character become U+FFFD as the package does it. An id that no
  // token has gives nothing. Throws Error(usage) for an id outside [0, vocab_size).
  std::string decode(std::span<const int32_t> ids, bool skip_special = true) const;

  int64_t vocab_size() const;  // largest id + 1, added tokens included
  std::optional<int32_t> id_of(std::string_view token) const;
  std::string token(int32_t id) const;    // as the vocabulary spells it; empty where no token has this id
  bool is_special(int32_t id) const;      // left out of decode with skip_special
  std::optional<int32_t> bos_id() const;  // as tokenizer_config.json says
  std::optional<int32_t> eos_id() const;
  std::optional<int32_t> unk_id() const;
  std::optional<int32_t> pad_id() const;
  const std::vector<std::string>& warnings() const;  // of load: what is odd but has a defined meaning

 private:
  friend class StreamDecoder;
  explicit Tokenizer(std::shared_ptr<const tokenizer::Parts> parts) : parts_(std::move(parts)) {}
  std::shared_ptr<const tokenizer::Parts>
      parts_;  // shared with stream decoders, which may outlive the tokenizer
};

// Incremental detokeniser: the texts returned by push(), in order, and by finish() form exactly decode() of all ids.
// Text is handed out as soon as no later id can change it, and never half a character.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer, bool skip_special = true);
  StreamDecoder(StreamDecoder&&) noexcept;
  StreamDecoder& operator=(StreamDecoder&&) noexcept;
  ~StreamDecoder();

  std::string push(
      int32_t id);       // throws Error(usage) for an id outside [0, vocab_size); nothing has changed then
  std::string finish();  // the rest; afterwards the decoder starts a new text

 private:
  std::shared_ptr<const tokenizer::Parts> parts_;
  bool skip_special_;
  std::unique_ptr<tokenizer::DecoderChain> chain_;
};

}  // namespace octavo
