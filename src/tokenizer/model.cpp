#include "tokenizer/model.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "tokenizer/bpe.h"
#include "tokenizer/unigram.h"
#include "tokenizer/word_models.h"

namespace octavo::tokenizer {

void read_vocabulary(const JsonNode& node, Vocabulary& vocabulary) {
  node.expect_object();
  for (const auto& [text, id] : node.json().items()) {
    if (!id.is_number_integer()) node.fail(fmt::format("the id of {} is no integer", in_quotes(text)));
    const bool huge = id.is_number_unsigned() && id.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX);
    vocabulary.add(text, huge ? INT64_MAX : id.get<int64_t>(), node);
  }
}

void read_vocabulary(const SentencePieceFile& file, Vocabulary& vocabulary) {
  const nlohmann::json nothing;
  const JsonNode node(nothing, file.name, "pieces");
  for (size_t id = 0; id < file.pieces.size(); ++id)
    vocabulary.add(file.pieces[id].text, static_cast<int64_t>(id), node);
}

std::array<int32_t, 256> byte_fallback_ids(const JsonNode& node, const Vocabulary& vocabulary) {
  std::array<int32_t, 256> ids;
  for (int byte = 0; byte < 256; ++byte) {
    const std::string token = fmt::format("<0x{:02X}>", byte);
    ids[byte] = vocabulary.find(token);
    if (ids[byte] < 0)
      node.fail(fmt::format("byte_fallback needs a token for each of the 256 bytes, {} is missing", token));
  }
  return ids;
}

std::unique_ptr<Model> make_model(const JsonNode& node) {
  node.expect_object();
  // NOTE: files older than the "type" of models, GPT-2's own among them, hold BPE.
  const std::string type = node.has("type") ? node.string("type") : node.has("merges") ? "BPE" : "";
  if (type == "BPE") return std::make_unique<BpeModel>(node);
  if (type == "WordPiece") return std::make_unique<WordPieceModel>(node);
  if (type == "WordLevel") return std::make_unique<WordLevelModel>(node);
  if (type == "Unigram") return std::make_unique<UnigramModel>(node);
  if (type.empty()) node.fail("\"type\" is missing");
  node.fail(fmt::format("model {} is not supported (BPE, WordPiece, WordLevel, Unigram)", in_quotes(type)));
}

std::unique_ptr<Model> make_model(const SentencePieceFile& file) {
  if (file.algorithm == SentencePieceFile::Algorithm::bpe) return std::make_unique<BpeModel>(file);
  return std::make_unique<UnigramModel>(file);
}

}  // namespace octavo::tokenizer
