#include "tokenizer/post_processor.h"

#include <fmt/format.h>

#include "tokenizer/vocabulary.h"

namespace octavo::tokenizer {
namespace {

int32_t known_id(const JsonNode& node, const std::function<bool(int64_t)>& is_known) {
  const int64_t id = node.integer(0, kLargestId);
  if (!is_known(id)) node.fail(fmt::format("id {} belongs to no token", id));
  return static_cast<int32_t>(id);
}

}  // namespace

PostProcessor::PostProcessor(const JsonNode& node, const std::function<bool(int64_t)>& is_known) {
  if (!node.is_null()) read(node, is_known);
}

void PostProcessor::read(const JsonNode& node, const std::function<bool(int64_t)>& is_known) {
  node.expect_object();
  const std::string type = node.string("type");
  if (type == "Sequence") {
    for (const JsonNode& element : node.child("processors").elements()) read(element, is_known);
  } else if (type == "TemplateProcessing") {
    read_template(node, is_known);
  } else if (type == "BertProcessing" || type == "RobertaProcessing") {
    const auto id = [&](const char* key) {
      const auto pair = node.child(key).elements();
      if (pair.size() != 2) node.child(key).fail("expected [token, id]");
      return known_id(pair[1], is_known);
    };
    set_template(node, {{false, {id("cls")}}, {true, {}}, {false, {id("sep")}}});
  } else if (type != "ByteLevel") {  // NOTE: ByteLevel only moves offsets, which are not kept here
    node.fail(fmt::format("post-processor {} is not supported", in_quotes(type)));
  }
}

void PostProcessor::set_template(const JsonNode& node, std::vector<Part> parts) {
  if (!parts_.empty()) node.fail("a second post-processor that adds tokens is not supported");
  parts_ = std::move(parts);
}

void PostProcessor::read_template(const JsonNode& node, const std::function<bool(int64_t)>& is_known) {
  constexpr size_t kMostParts = 64;
  std::vector<Part> parts;
  const std::vector<JsonNode> pieces = node.child("single").elements();
  if (pieces.size() > kMostParts)
    node.fail(fmt::format("a template of {} pieces, more than {}", pieces.size(), kMostParts));
  for (const JsonNode& piece : pieces) {
    if (piece.has("Sequence")) {
      if (piece.child("Sequence").string("id") != "A")
        piece.fail("the template of a single text asks for a second one");
      parts.push_back({true, {}});
    } else if (piece.has("SpecialToken")) {
      const std::string name = piece.child("SpecialToken").string("id");
      const JsonNode tokens = node.child("special_tokens");
      if (!tokens.has(name.c_str()))
        piece.fail(fmt::format("special token {} is not in special_tokens", in_quotes(name)));
      Part part{false, {}};
      for (const JsonNode& id : tokens.child(name.c_str()).child("ids").elements())
        part.ids.push_back(known_id(id, is_known));
      parts.push_back(std::move(part));
    } else {
      piece.fail("expected a Sequence or a SpecialToken");
    }
  }
  set_template(node, std::move(parts));
}

std::vector<int32_t> PostProcessor::apply(std::vector<int32_t> text_ids, bool add_special_tokens) const {
  if (parts_.empty()) return text_ids;
  std::vector<int32_t> ids;
  for (const Part& part : parts_) {
    if (part.is_text)
      ids.insert(ids.end(), text_ids.begin(), text_ids.end());
    else if (add_special_tokens)
      ids.insert(ids.end(), part.ids.begin(), part.ids.end());
  }
  return ids;
}

}  // namespace octavo::tokenizer
