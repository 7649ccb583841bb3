// Pre-tokenisers: cut a text into the words that the model encodes one by one.
#pragma once
#include <memory>

#include "tokenizer/json_node.h"
#include "tokenizer/pieces.h"

namespace octavo::tokenizer {

class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  // Gives the pieces of `in`, which is text and not empty. Empty pieces may be among them; the caller drops them.
  virtual void apply(const Piece& in, TextStore& store, const PieceSink& out) const = 0;
  virtual bool spells_bytes() const { return false; }  // as ByteLevel does, in some step
  // When its last step spells bytes as characters and no other does: leave that out from now on, and say so.
  virtual bool leave_bytes_raw() { return false; }
};

// Null for a null node; throws bad_model naming what is not supported.
std::unique_ptr<PreTokenizer> make_pre_tokenizer(const JsonNode& node);

}  // namespace octavo::tokenizer
