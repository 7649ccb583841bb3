// Reader of one safetensors file (https://github.com/huggingface/safetensors#format): 8 bytes of header
// length, a JSON header, the tensors' bytes. The file is untrusted: every size is checked before it is used,
// every byte of the file belongs to the header or to exactly one tensor, and reading is by pread, so that a
// file that shrinks meanwhile is an error and never a signal. Errors: bad_model for a missing, damaged or
// unsupported file; runtime when the disk fails.
#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/dtype.h"
#include "formats/regular_file.h"

namespace octavo {

struct TensorInfo {
  std::string name;
  std::string dtype_name;  // as the file says: "F32", "BF16", "F8_E4M3"
  std::optional<DType>
      dtype;  // absent where octavo has no such type (BOOL, F8_*, U16, ...): listed, not loadable
  std::vector<int64_t> shape;
  int64_t begin = 0, end = 0;  // bytes, from the start of the data section
  int64_t bytes() const { return end - begin; }
  std::string describe() const;  // "F32 [64, 172]"
};

struct SafetensorsHeader {
  std::vector<TensorInfo> tensors;              // in the order of their bytes
  std::map<std::string, std::string> metadata;  // "__metadata__"
};

inline constexpr int64_t kMaxSafetensorsHeader = 100'000'000;  // bytes; the limit of the safetensors library

// Bits of one element of a dtype name of the format; absent for an unknown one.
std::optional<int> safetensors_dtype_bits(std::string_view dtype_name);
std::optional<DType> dtype_of_safetensors(std::string_view dtype_name);
const char* safetensors_name_of(DType dtype);

// Bytes of a tensor; absent when a product exceeds 2^63 - 1, a dimension is negative or the bits are no whole
// bytes.
std::optional<int64_t> checked_tensor_bytes(int bits, const std::vector<int64_t>& shape);

// `header` is the JSON text, `data_bytes` what follows it in the file; `name` is what messages call the file.
SafetensorsHeader parse_safetensors_header(std::string_view header, int64_t data_bytes,
                                           const std::string& name);

class SafetensorsFile {
 public:
  // Opens and checks the header against the file size; reads no tensor.
  static SafetensorsFile open(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return file_.path(); }
  bool same_file(const std::filesystem::path& other) const { return file_.same_file(other); }
  const std::vector<TensorInfo>& tensors() const { return header_.tensors; }
  const std::map<std::string, std::string>& metadata() const { return header_.metadata; }
  const TensorInfo* find(std::string_view name) const;  // null when absent

  // Bytes [offset, offset + bytes) of a tensor of this file. Thread-safe.
  void read(const TensorInfo& tensor, int64_t offset, void* to, int64_t bytes) const;
  void read(const TensorInfo& tensor, void* to) const { read(tensor, 0, to, tensor.bytes()); }

 private:
  SafetensorsFile() = default;
  RegularFile file_;
  int64_t data_begin_ = 0;
  SafetensorsHeader header_;
  std::unordered_map<std::string_view, size_t> index_;  // into header_.tensors, whose names it views
};

}  // namespace octavo
