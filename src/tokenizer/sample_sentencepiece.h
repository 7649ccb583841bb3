// For tests: builds the bytes of a SentencePiece model, right or wrong.
#pragma once
#include <bit>
#include <cstdint>
#include <string>

namespace octavo {

// One message, field by field.
struct ProtobufBytes {
  std::string bytes;

  void varint(uint64_t v) {
    for (; v >= 0x80; v >>= 7) bytes += static_cast<char>(v | 0x80);
    bytes += static_cast<char>(v);
  }
  ProtobufBytes& number(uint32_t field, uint64_t value) {
    varint(field << 3), varint(value);
    return *this;
  }
  ProtobufBytes& text(uint32_t field, const std::string& value) {
    varint(field << 3 | 2), varint(value.size());
    bytes += value;
    return *this;
  }
  ProtobufBytes& real(uint32_t field, float value) {
    varint(field << 3 | 5);
    const uint32_t bits = std::bit_cast<uint32_t>(value);
    for (int i = 0; i < 4; ++i) bytes += static_cast<char>(bits >> 8 * i & 0xff);
    return *this;
  }
};

// `type` as in sentencepiece_model.proto: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte.
inline std::string sample_piece(const std::string& text, float score, int type = 1) {
  return ProtobufBytes().text(1, text).real(2, score).number(3, static_cast<uint64_t>(type)).bytes;
}

// <unk>, <s>, </s>, a, b, ab, blank; `algorithm` 1 is unigram, 2 BPE.
inline ProtobufBytes sample_sentencepiece(int algorithm = 2) {
  ProtobufBytes file;
  file.text(1, sample_piece("<unk>", 0, 2)).text(1, sample_piece("<s>", 0, 3));
  file.text(1, sample_piece("</s>", 0, 3)).text(1, sample_piece("a", -2)).text(1, sample_piece("b", -3));
  file.text(1, sample_piece("ab", -1)).text(1, sample_piece("\u2581", -4));
  file.text(2, ProtobufBytes().number(3, static_cast<uint64_t>(algorithm)).bytes);
  return file;
}

}  // namespace octavo
