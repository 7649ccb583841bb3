#include "tokenizer/tokenizer.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "formats/json_file.h"
#include "tokenizer/parts.h"
#include "tokenizer/utf8.h"

namespace octavo {

using tokenizer::DecoderChain;
using tokenizer::JsonNode;
using tokenizer::Parts;
using tokenizer::Piece;
using tokenizer::SentencePieceFile;

namespace {

constexpr size_t kLongestText = size_t{64} << 20;
constexpr int64_t kLargestSentencePiece = int64_t{64} << 20;  // published ones have some 5 MB

nlohmann::json read_if_present(const std::filesystem::path& path) {
  std::error_code problem;
  return std::filesystem::exists(path, problem) ? read_json_file(path) : nlohmann::json();
}

// The tokenizer of a folder; any other path is the file itself.
std::filesystem::path tokenizer_file(const std::filesystem::path& path) {
  std::error_code problem;
  if (!std::filesystem::is_directory(path, problem)) return path;
  for (const char* name : {"tokenizer.json", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model"})
    if (std::filesystem::exists(path / name, problem)) return path / name;
  return path / "tokenizer.json";  // and its absence is the error
}

void check_text(std::string_view text) {
  if (text.size() > kLongestText)
    throw Error(ErrorKind::usage, fmt::format("encode: text of {} bytes, at most {} at once; split it",
                                              text.size(), kLongestText));
  const size_t bad = tokenizer::first_invalid_utf8(text);
  if (bad != std::string_view::npos)
    throw Error(ErrorKind::usage,
                fmt::format("encode: invalid UTF-8 at byte {} of {} (0x{:02x}); convert the text to UTF-8",
                            bad, text.size(), static_cast<unsigned char>(text[bad])));
}

void check_id(const Parts& parts, int32_t id) {
  if (id < 0 || id >= parts.vocab_size)
    throw Error(ErrorKind::usage,
                fmt::format("decode: id {} is outside the vocabulary of {} tokens", id, parts.vocab_size));
}

// Added tokens split off, the rest normalised, normalised added tokens split off that, the rest cut into words.
void give_words(const Parts& parts, std::string_view text, bool parse_special, tokenizer::TextStore& store,
                const tokenizer::PieceSink& out) {
  std::vector<Piece> raw, normalized;
  parts.raw_matcher.split({text, -1, true}, parse_special, raw);
  for (Piece& piece : raw) {
    if (piece.id < 0 && parts.normalizer) {
      tokenizer::NormalizedText t{std::string(piece.text), piece.at_start};
      parts.normalizer->apply(t);
      piece.text = store.keep(std::move(t.text)), piece.at_start = t.at_start;
    }
    if (piece.id < 0)
      parts.normalized_matcher.split(piece, parse_special, normalized);
    else
      normalized.push_back(piece);
  }
  for (const Piece& piece : normalized) {
    if (piece.id < 0 && parts.pre_tokenizer)
      parts.pre_tokenizer->apply(piece, store, out);
    else
      out(piece);
  }
}

std::vector<int32_t> ids_of(const Parts& parts, std::string_view text, EncodeOptions options) {
  tokenizer::TextStore store;
  std::vector<int32_t> ids;
  auto scratch = parts.scratch.take(*parts.model);
  give_words(parts, text, options.parse_special, store, [&](const Piece& word) {
    if (word.id >= 0)
      ids.push_back(word.id);
    else if (!word.text.empty())
      parts.model->encode(word.text, *scratch, ids);
  });
  parts.scratch.give_back(std::move(scratch));
  return parts.post_processor.apply(std::move(ids), options.add_special_tokens);
}

std::string text_of(const Parts& parts, std::span<const int32_t> ids, bool skip_special) {
  DecoderChain chain(parts.decoder);
  for (const int32_t id : ids)
    if (const std::string* text = parts.decoded_text(id); text && !(skip_special && parts.special[id]))
      chain.token(*text);
  chain.finish();
  return chain.take();
}

// The self-check of load: a text of many kinds goes through once, so that what the file cannot do shows before it is used.
std::shared_ptr<const Parts> self_checked(std::shared_ptr<Parts> parts, const std::string& name) {
  static constexpr std::string_view kText =
      "Hello, world! It's 1234 o'clock.\n\n  \tx = [y] * 0.5; na\u00efve \u00df "
      "\u0431\u0443\u043a\u0432\u0430 \u4e2d\u6587 "
      "\ud55c\uad6d\uc5b4 \u0e44\u0e17\u0e22 e\u0301 \U0001f600\u200d";
  std::vector<int32_t> ids;
  try {
    ids = ids_of(*parts, kText, {.add_special_tokens = false, .parse_special = false});
  } catch (const Error& e) {
    if (e.kind() != ErrorKind::bad_model)  // a pattern that gives up on a hundred bytes is no use
      throw Error(ErrorKind::bad_model, fmt::format("{}: self-check: {}", name, e.what()));
    parts->warnings.push_back(fmt::format("{}: self-check: {}", name, e.what()));
    return parts;
  }
  for (const int32_t id : ids)
    if (id < 0 || id >= parts->vocab_size || !parts->decoded_text(id))
      throw Error(ErrorKind::bad_model, fmt::format("{}: self-check: id {} belongs to no token", name, id));
  const std::string back = text_of(*parts, ids, false);
  if (parts->spells_bytes && !parts->normalizer && !back.ends_with(kText))
    parts->warnings.push_back(fmt::format(
        "{}: self-check: decoding does not give the text back; \"decoder\" should be ByteLevel", name));
  return parts;
}

}  // namespace

Tokenizer Tokenizer::load(const std::filesystem::path& path) {
  const std::filesystem::path file = tokenizer_file(path), folder = file.parent_path();
  const nlohmann::json config = read_if_present(folder / "tokenizer_config.json");
  const nlohmann::json map = read_if_present(folder / "special_tokens_map.json");
  const JsonNode config_node(config, (folder / "tokenizer_config.json").string()),
      map_node(map, (folder / "special_tokens_map.json").string());
  if (file.extension() == ".model") {
    const std::string bytes = read_text_file(file, kLargestSentencePiece);
    return Tokenizer(self_checked(
        tokenizer::read_parts(SentencePieceFile::parse(bytes, file.string()), config_node, map_node),
        file.string()));
  }
  const nlohmann::json json = read_json_file(file);
  return Tokenizer(self_checked(tokenizer::read_parts(JsonNode(json, file.string()), config_node, map_node),
                                file.string()));
}

Tokenizer Tokenizer::parse_sentencepiece(std::string_view model, const std::string& name,
                                         std::string_view config_json) {
  const nlohmann::json config =
      config_json.empty() ? nlohmann::json() : parse_json(config_json, name + " (config)");
  const nlohmann::json map;
  return Tokenizer(
      self_checked(tokenizer::read_parts(SentencePieceFile::parse(model, name),
                                         JsonNode(config, name + " (config)"), JsonNode(map, name)),
                   name));
}

Tokenizer Tokenizer::parse(std::string_view tokenizer_json, const std::string& name,
                           std::string_view config_json) {
  const nlohmann::json json = parse_json(tokenizer_json, name);
  const nlohmann::json config =
      config_json.empty() ? nlohmann::json() : parse_json(config_json, name + " (config)");
  const nlohmann::json map;
  return Tokenizer(self_checked(
      tokenizer::read_parts(JsonNode(json, name), JsonNode(config, name + " (config)"), JsonNode(map, name)),
      name));
}

std::vector<int32_t> Tokenizer::encode(std::string_view utf8, EncodeOptions options) const {
  check_text(utf8);
  return ids_of(*parts_, utf8, options);
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool skip_special) const {
  for (const int32_t id : ids) check_id(*parts_, id);
  return text_of(*parts_, ids, skip_special);
}

int64_t Tokenizer::vocab_size() const { return parts_->vocab_size; }

std::optional<int32_t> Tokenizer::id_of(std::string_view token) const {
  const int32_t id = parts_->find(token);
  return id < 0 ? std::nullopt : std::optional(id);
}

std::string Tokenizer::token(int32_t id) const {
  const auto added = parts_->added_by_id.find(id);
  if (added != parts_->added_by_id.end()) return added->second->content;
  return parts_->model->vocabulary().has(id) ? parts_->model->vocabulary().text(id) : std::string();
}

bool Tokenizer::is_special(int32_t id) const {
  return id >= 0 && id < parts_->vocab_size && parts_->special[id];
}
std::optional<int32_t> Tokenizer::bos_id() const { return parts_->bos; }
std::optional<int32_t> Tokenizer::eos_id() const { return parts_->eos; }
std::optional<int32_t> Tokenizer::unk_id() const { return parts_->unk; }
std::optional<int32_t> Tokenizer::pad_id() const { return parts_->pad; }
const std::vector<std::string>& Tokenizer::warnings() const { return parts_->warnings; }

StreamDecoder::StreamDecoder(const Tokenizer& tokenizer, bool skip_special)
    : parts_(tokenizer.parts_),
      skip_special_(skip_special),
      chain_(std::make_unique<DecoderChain>(parts_->decoder)) {}
StreamDecoder::StreamDecoder(StreamDecoder&&) noexcept = default;
StreamDecoder& StreamDecoder::operator=(StreamDecoder&&) noexcept = default;
StreamDecoder::~StreamDecoder() = default;

std::string StreamDecoder::push(int32_t id) {
  check_id(*parts_, id);
  if (const std::string* text = parts_->decoded_text(id); text && !(skip_special_ && parts_->special[id]))
    chain_->token(*text);
  return chain_->take();
}

std::string StreamDecoder::finish() {
  chain_->finish();
  std::string text = chain_->take();
  chain_ = std::make_unique<DecoderChain>(parts_->decoder);
  return text;
}

}  // namespace octavo
