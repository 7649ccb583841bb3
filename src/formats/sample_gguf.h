// For tests: builds the bytes of a GGUF file, right or wrong.
#pragma once
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace octavo {

class GgufBuilder {
 public:
  enum Type : uint32_t { kF32 = 0, kF16 = 1, kQ4K = 12, kQ8_0 = 8, kBF16 = 30 };

  std::string magic = "GGUF";
  uint32_t version = 3;
  int64_t alignment = 32;                         // of the data; say it in the metadata too when it is not 32
  uint64_t extra_tensors = 0, extra_entries = 0;  // added to the counts, without anything behind them

  template <class T>
  static std::string bytes_of(T value) {
    std::string bytes(sizeof(T), '\0');
    std::memcpy(bytes.data(), &value, sizeof(T));
    return bytes;
  }
  static std::string text(std::string_view s) { return bytes_of<uint64_t>(s.size()) + std::string(s); }

  // One metadata entry of ggml's value type, with its bytes.
  GgufBuilder& raw(std::string_view key, uint32_t type, const std::string& value) {
    entries_ += text(key) + bytes_of(type) + value;
    ++entry_count_;
    return *this;
  }
  GgufBuilder& u32(std::string_view key, uint32_t value) { return raw(key, 4, bytes_of(value)); }
  GgufBuilder& f32(std::string_view key, float value) { return raw(key, 6, bytes_of(value)); }
  GgufBuilder& boolean(std::string_view key, bool value) { return raw(key, 7, bytes_of<uint8_t>(value)); }
  GgufBuilder& string(std::string_view key, std::string_view value) { return raw(key, 8, text(value)); }
  GgufBuilder& strings(std::string_view key, const std::vector<std::string>& values) {
    std::string items;
    for (const std::string& v : values) items += text(v);
    return array(key, 8, values.size(), items);
  }
  template <class T>
  GgufBuilder& numbers(std::string_view key, uint32_t type, const std::vector<T>& values) {
    std::string items;
    for (const T v : values) items += bytes_of(v);
    return array(key, type, values.size(), items);
  }
  GgufBuilder& array(std::string_view key, uint32_t type, uint64_t count, const std::string& items) {
    return raw(key, 9, bytes_of(type) + bytes_of(count) + items);
  }

  // `shape` outermost first; the data goes behind the tensors before it unless `offset` says otherwise.
  GgufBuilder& tensor(std::string_view name, uint32_t type, const std::vector<uint64_t>& shape,
                      const std::string& data, int64_t offset = -1) {
    pad(data_);
    tensors_ += text(name) + bytes_of(static_cast<uint32_t>(shape.size()));
    for (auto d = shape.rbegin(); d != shape.rend(); ++d) tensors_ += bytes_of(*d);
    tensors_ +=
        bytes_of(type) + bytes_of<uint64_t>(offset < 0 ? data_.size() : static_cast<uint64_t>(offset));
    data_ += data;
    ++tensor_count_;
    return *this;
  }

  std::string build() const {
    std::string file = magic + bytes_of(version) + bytes_of(tensor_count_ + extra_tensors) +
                       bytes_of(entry_count_ + extra_entries) + entries_ + tensors_;
    if (!data_.empty()) pad(file);
    return file + data_;
  }

 private:
  void pad(std::string& bytes) const {
    while (bytes.size() % static_cast<size_t>(alignment)) bytes += '\0';
  }
  std::string entries_, tensors_, data_;
  uint64_t entry_count_ = 0, tensor_count_ = 0;
};

}  // namespace octavo
