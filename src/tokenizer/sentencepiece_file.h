// A SentencePiece model file ("tokenizer.model"): the ModelProto of sentencepiece/src/sentencepiece_model.proto, read by hand
// and checked. BPE and Unigram; what would change ids or texts and is not supported is named. Errors: bad_model.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace octavo::tokenizer {

struct SentencePieceFile {
  enum class Type { normal = 1, unknown = 2, control = 3, user_defined = 4, unused = 5, byte = 6 };
  struct Piece {
    std::string text;
    float score = 0;
    Type type = Type::normal;
    bool in_text() const { return type == Type::normal || type == Type::user_defined; }
  };
  enum class Algorithm { unigram = 1, bpe = 2 };

  std::string name;           // what messages call the file
  std::vector<Piece> pieces;  // by id
  Algorithm algorithm = Algorithm::unigram;
  bool byte_fallback = false;
  int32_t unk_id = 0, bos_id = -1, eos_id = -1, pad_id = -1;  // -1: none
  std::string unk_surface = " \xe2\x81\x87 ";                 // what an unknown piece is decoded to
  // Of the normaliser.
  std::string charsmap;
  bool add_dummy_prefix = true, remove_extra_whitespaces = true, escape_whitespaces = true;

  static SentencePieceFile parse(std::string_view bytes, const std::string& name);
};

inline constexpr char kSpaceMark[] = "\xe2\x96\x81";  // U+2581, how SentencePiece writes a blank

}  // namespace octavo::tokenizer
