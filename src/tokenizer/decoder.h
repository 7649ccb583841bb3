// From token texts back to one text. Decoders work as a chain of streaming stages, so that decoding all at once and
// decoding id by id are the same code. A token is any number of fragments (each valid UTF-8) and then an end.
#pragma once
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tokenizer/json_node.h"

namespace octavo::tokenizer {

class DecoderStage {
 public:
  virtual ~DecoderStage() = default;
  virtual void fragment(std::string_view text) = 0;
  virtual void end_token() = 0;
  virtual void finish() { next->finish(); }  // no more tokens; called once

  DecoderStage* next = nullptr;

 protected:
  void emit_token(std::string_view text) {
    if (!text.empty()) next->fragment(text);
    next->end_token();
  }
};

// One step of the configured decoder; makes a fresh stage for each text.
class DecoderStep {
 public:
  virtual ~DecoderStep() = default;
  virtual std::unique_ptr<DecoderStage> make_stage() const = 0;
};

// The "decoder" of a tokenizer.json as a list of steps; for null: tokens joined with blanks. Throws bad_model naming what
// is not supported.
std::vector<std::unique_ptr<DecoderStep>> make_decoder(const JsonNode& node);

// The stages of one text, and what has come out of them.
class DecoderChain {
 public:
  explicit DecoderChain(const std::vector<std::unique_ptr<DecoderStep>>& steps);
  DecoderChain(const DecoderChain&) = delete;
  void token(std::string_view text) {
    if (!text.empty()) first_->fragment(text);
    first_->end_token();
  }
  void finish() { first_->finish(); }
  std::string take() { return std::exchange(sink_.text, {}); }

 private:
  struct Sink : DecoderStage {
    void fragment(std::string_view t) override { text += t; }
    void end_token() override {}
    void finish() override {}
    std::string text;
  };
  std::vector<std::unique_ptr<DecoderStage>> stages_;
  Sink sink_;
  DecoderStage* first_ = &sink_;
};

}  // namespace octavo::tokenizer
