#include "tokenizer/sentencepiece_file.h"

#include <fmt/format.h>

#include <cmath>

#include "formats/in_quotes.h"
#include "tokenizer/protobuf.h"
#include "tokenizer/utf8.h"
#include "tokenizer/vocabulary.h"

namespace octavo::tokenizer {
namespace {

using File = SentencePieceFile;

constexpr size_t kLongestPiece = 512;  // bytes; trainers stop at 16 characters unless told otherwise

[[noreturn]] void fail(const File& file, const std::string& problem) {
  throw Error(ErrorKind::bad_model, file.name + ": " + problem);
}

File::Piece read_piece(std::string_view message, const File& file) {
  File::Piece piece;
  ProtobufReader reader(message, file.name);
  int64_t type = 1;
  for (ProtobufField f; reader.next(f);) {
    if (f.number == 1) piece.text = f.bytes;
    if (f.number == 2) piece.score = f.real();
    if (f.number == 3) type = f.integer();
  }
  const auto problem = [&](const std::string& what) {
    fail(file, fmt::format("piece {} ({}): {}", file.pieces.size(), in_quotes(piece.text), what));
  };
  if (piece.text.empty()) problem("is empty");
  if (piece.text.size() > kLongestPiece)
    problem(fmt::format("has {} bytes, at most {}", piece.text.size(), kLongestPiece));
  if (first_invalid_utf8(piece.text) != std::string::npos) problem("is no UTF-8");
  if (!std::isfinite(piece.score)) problem(fmt::format("score {}", piece.score));
  if (type < 1 || type > 6) problem(fmt::format("type {} is not known (1 to 6)", type));
  piece.type = static_cast<File::Type>(type);
  if (piece.type == File::Type::unused) problem("unused pieces (a restricted vocabulary) are not supported");
  return piece;
}

void read_trainer_spec(std::string_view message, File& file) {
  ProtobufReader reader(message, file.name);
  for (ProtobufField f; reader.next(f);) {
    switch (f.number) {
      case 3:
        if (f.integer() != 1 && f.integer() != 2)
          fail(file, fmt::format("model_type {} is not supported (1 unigram, 2 bpe)", f.integer()));
        file.algorithm = static_cast<File::Algorithm>(f.integer());
        break;
      case 24:
        if (f.value) fail(file, "treat_whitespace_as_suffix is not supported");
        break;
      case 35: file.byte_fallback = f.value != 0; break;
      case 41: file.bos_id = static_cast<int32_t>(f.integer()); break;
      case 42: file.eos_id = static_cast<int32_t>(f.integer()); break;
      case 43: file.pad_id = static_cast<int32_t>(f.integer()); break;
      case 44: file.unk_surface = f.bytes; break;
      default: break;
    }
  }
}

void read_normalizer_spec(std::string_view message, File& file) {
  ProtobufReader reader(message, file.name);
  for (ProtobufField f; reader.next(f);) {
    switch (f.number) {
      case 2: file.charsmap = f.bytes; break;
      case 3: file.add_dummy_prefix = f.value != 0; break;
      case 4: file.remove_extra_whitespaces = f.value != 0; break;
      case 5: file.escape_whitespaces = f.value != 0; break;
      default: break;
    }
  }
}

void refuse_denormalizer(std::string_view message, const File& file) {
  ProtobufReader reader(message, file.name);
  for (ProtobufField f; reader.next(f);)
    if (f.number == 2 && !f.bytes.empty()) fail(file, "a denormalizer_spec with rules is not supported");
}

// The piece types decide; the trainer's ids are only defaults of whoever reads the file.
void find_special_ids(File& file) {
  int64_t unknown = 0;
  for (size_t id = 0; id < file.pieces.size(); ++id)
    if (file.pieces[id].type == File::Type::unknown) ++unknown, file.unk_id = static_cast<int32_t>(id);
  if (unknown != 1) fail(file, fmt::format("{} pieces of type unknown, expected 1", unknown));
  for (int32_t* id : {&file.bos_id, &file.eos_id, &file.pad_id})
    if (*id < 0 || *id >= static_cast<int64_t>(file.pieces.size())) *id = -1;
}

}  // namespace

SentencePieceFile SentencePieceFile::parse(std::string_view bytes, const std::string& name) {
  File file;
  file.name = name;
  file.bos_id = 1, file.eos_id = 2;  // where a trainer_spec leaves them out
  ProtobufReader reader(bytes, file.name);
  for (ProtobufField f; reader.next(f);) {
    switch (f.number) {
      case 1:
        if (static_cast<int64_t>(file.pieces.size()) > kLargestId)
          fail(file, fmt::format("more than {} pieces", kLargestId + 1));
        file.pieces.push_back(read_piece(f.bytes, file));
        break;
      case 2: read_trainer_spec(f.bytes, file); break;
      case 3: read_normalizer_spec(f.bytes, file); break;
      case 5: refuse_denormalizer(f.bytes, file); break;
      default: break;
    }
  }
  if (file.pieces.empty()) fail(file, "no pieces: this is no SentencePiece model");
  find_special_ids(file);
  if (first_invalid_utf8(file.unk_surface) != std::string::npos) fail(file, "unk_surface is no UTF-8");
  return file;
}

}  // namespace octavo::tokenizer
