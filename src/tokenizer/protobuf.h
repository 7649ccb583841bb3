// The wire format of protocol buffers (https://protobuf.dev/programming-guides/encoding), as far as reading needs it: a flat
// walk over the fields of one message. Nothing is copied, nothing recurses, every length is checked. Errors: bad_model.
#pragma once
#include <bit>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/error.h"

namespace octavo::tokenizer {

struct ProtobufField {
  enum class Kind { varint, fixed64, bytes, fixed32 };
  uint32_t number = 0;
  Kind kind = Kind::varint;
  uint64_t value = 0;      // varint, fixed64, fixed32
  std::string_view bytes;  // length-delimited: a string or a message

  int64_t integer() const { return static_cast<int64_t>(value); }  // int32, int64, bool, enum
  float real() const { return std::bit_cast<float>(static_cast<uint32_t>(value)); }  // of fixed32
};

class ProtobufReader {
 public:
  // `name`: what messages call the file.
  ProtobufReader(std::string_view message, const std::string& name) : rest_(message), name_(name) {}

  // The next field; false at the end of the message.
  bool next(ProtobufField& field) {
    if (rest_.empty()) return false;
    const uint64_t tag = varint();
    if (tag >> 3 == 0 || tag >> 32 != 0) fail("field number " + std::to_string(tag >> 3));
    field = {.number = static_cast<uint32_t>(tag >> 3)};
    switch (tag & 7) {
      case 0: field.kind = ProtobufField::Kind::varint, field.value = varint(); break;
      case 1: field.kind = ProtobufField::Kind::fixed64, field.value = fixed(8); break;
      case 2: field.kind = ProtobufField::Kind::bytes, field.bytes = take(varint()); break;
      case 5: field.kind = ProtobufField::Kind::fixed32, field.value = fixed(4); break;
      default: fail("wire type " + std::to_string(tag & 7));
    }
    return true;
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw Error(ErrorKind::bad_model, name_ + ": no protocol buffer of SentencePiece (" + what + ")");
  }
  std::string_view take(uint64_t bytes) {
    if (bytes > rest_.size())
      fail("a field of " + std::to_string(bytes) + " bytes where " + std::to_string(rest_.size()) +
           " are left");
    const std::string_view taken = rest_.substr(0, bytes);
    rest_.remove_prefix(bytes);
    return taken;
  }
  uint64_t fixed(size_t bytes) {
    uint64_t value = 0;
    const std::string_view raw = take(bytes);
    for (size_t i = 0; i < bytes; ++i) value |= uint64_t{static_cast<uint8_t>(raw[i])} << 8 * i;
    return value;
  }
  uint64_t varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 70; shift += 7) {
      const auto byte = static_cast<uint8_t>(take(1)[0]);
      if (shift == 63 && byte > 1) break;
      value |= uint64_t{byte & 0x7fu} << shift;
      if (byte < 0x80) return value;
    }
    fail("a number of more than 64 bits");
  }
  std::string_view rest_;
  const std::string& name_;
};

}  // namespace octavo::tokenizer
