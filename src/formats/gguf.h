// Reader of one GGUF file (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md), versions 2 and 3, little-endian:
// metadata, then tensor descriptions, then aligned tensor data. The file is untrusted: counts are held against the bytes
// that are there before anything is reserved, tensors must follow each other without overlap or hole, and reading is by
// pread. Tensor types F32, F16, BF16 and Q8_0; any other is refused by name.
// Errors: bad_model naming the file and the key or tensor; runtime when the disk fails.
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "formats/json_file.h"
#include "formats/regular_file.h"
#include "formats/safetensors.h"

namespace octavo {

// By the file's name: ends in ".gguf".
bool is_gguf(const std::filesystem::path& path);

struct GgufLimits {
  static constexpr int64_t kHeaderBytes = int64_t{256} << 20;  // everything before the tensor data
  static constexpr int64_t kStringBytes = int64_t{16} << 20;
  static constexpr int64_t kArrayItems =
      4'000'000;  // of all arrays together: a vocabulary of 256k needs about 1M
  static constexpr uint32_t kMaxAlignment = 1 << 20;
};

struct GgufHeader {
  uint32_t version = 0;
  ConfigObject metadata;            // flat: "llama.block_count" is one key
  std::vector<TensorInfo> tensors;  // in the order of their bytes; shapes outermost first, as in safetensors
  int64_t data_begin = 0;           // byte of the file where the tensors' data begins
};

// `read` gives bytes [offset, offset + n) of a file of `file_bytes` bytes; `name` is what messages call it.
GgufHeader parse_gguf_header(const std::function<void(int64_t offset, void* to, int64_t n)>& read,
                             int64_t file_bytes, const std::string& name);

class GgufFile {
 public:
  static GgufFile open(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return file_.path(); }
  bool same_file(const std::filesystem::path& other) const { return file_.same_file(other); }
  const ConfigObject& metadata() const { return header_.metadata; }
  const std::vector<TensorInfo>& tensors() const { return header_.tensors; }
  const TensorInfo* find(std::string_view name) const;  // null when absent; linear
  // Bytes [offset, offset + bytes) of a tensor. Thread-safe.
  void read(const TensorInfo& tensor, int64_t offset, void* to, int64_t bytes) const;

 private:
  GgufFile(RegularFile file, GgufHeader header) : file_(std::move(file)), header_(std::move(header)) {}
  RegularFile file_;
  GgufHeader header_;
};

// Q8_0: 32 elements are an f16 scale and 32 codes; value = code * scale, in f32.
constexpr const char* kQ8_0 = "Q8_0";
constexpr int64_t kQ8_0Elems = 32, kQ8_0Bytes = 34;
void dequantize_q8_0(const void* blocks, float* to, int64_t count);  // count: a multiple of 32

}  // namespace octavo
