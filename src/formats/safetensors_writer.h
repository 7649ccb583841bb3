// Writes one safetensors file, tensor by tensor as the data comes, crash-safe (formats/atomic_file.h): the
// sizes are known first, so the header and all space come first, and tensors may be filled in any order.
// Errors: runtime from the disk; usage for data that does not match the announced tensors.
#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "formats/atomic_file.h"

namespace octavo {

struct TensorSpec {
  std::string name;
  std::string dtype_name;  // of the format: "F32", "I8"
  std::vector<int64_t> shape;
};

class SafetensorsWriter {
 public:
  // Laid out by falling element size, then by name, so that every tensor is aligned to its elements.
  SafetensorsWriter(const std::filesystem::path& target, std::vector<TensorSpec> tensors,
                    const std::map<std::string, std::string>& metadata = {{"format", "pt"}});

  // The next bytes of a tensor.
  void append(const std::string& name, const void* data, int64_t bytes);
  void seal();    // throws usage unless every tensor is complete
  void commit();  // seals and renames into place
  int64_t file_bytes() const { return file_.bytes(); }
  const std::filesystem::path& target() const { return file_.target(); }

 private:
  struct Span {
    int64_t next, end;  // bytes from the start of the file
  };
  struct Layout {
    std::string header;  // length prefix included
    std::unordered_map<std::string, Span> spans;
    int64_t file_bytes;
  };
  static Layout lay_out(std::vector<TensorSpec> tensors, const std::map<std::string, std::string>& metadata);
  SafetensorsWriter(const std::filesystem::path& target, Layout layout);

  std::unordered_map<std::string, Span> spans_;
  AtomicFile file_;
};

}  // namespace octavo
