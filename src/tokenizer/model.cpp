#include "tokenizer/model.h"

#include <fmt/format.h>

#include "tokenizer/bpe.h"

namespace octavo::tokenizer {

std::unique_ptr<Model> make_model(const JsonNode& node) {
  node.expect_object();
  // NOTE: files older than the "type" of models, GPT-2's own among them, hold BPE.
  const std::string type = node.has("type") ? node.string("type") : node.has("merges") ? "BPE" : "";
  if (type == "BPE") return std::make_unique<BpeModel>(node);
  if (type.empty()) node.fail("\"type\" is missing");
  node.fail(fmt::format("model {} is not supported", in_quotes(type)));
}

}  // namespace octavo::tokenizer
