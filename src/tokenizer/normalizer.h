// Normalisers: rewrite a text before it is split into words.
#pragma once
#include <memory>
#include <string>

#include "tokenizer/json_node.h"

namespace octavo::tokenizer {

// A text on its way through the normalisers.
struct NormalizedText {
  std::string text;
  bool at_start = false;  // its first character comes from the first character of the input
};

class Normalizer {
 public:
  virtual ~Normalizer() = default;
  virtual void apply(NormalizedText& t) const = 0;
};

// Null for a null node; throws bad_model naming what is not supported.
std::unique_ptr<Normalizer> make_normalizer(const JsonNode& node);

}  // namespace octavo::tokenizer
