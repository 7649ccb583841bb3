// First byte even: the rest is a whole file. Odd: two bytes of data size and the header's JSON, so that mutations need not
// keep the header's length right.
#include "formats/safetensors.h"

#include "fuzz/rewritten_file.h"

namespace octavo::fuzz {
namespace {

// What every caller relies on: tensors cover the data exactly, in order, and shapes fit their bytes.
void check(const std::vector<TensorInfo>& tensors, int64_t data_bytes) {
  int64_t covered = 0;
  for (const TensorInfo& t : tensors) {
    require(t.begin == covered && t.end >= t.begin, "a gap or an overlap before " + t.name);
    covered = t.end;
    const auto bits = safetensors_dtype_bits(t.dtype_name);
    require(bits && checked_tensor_bytes(*bits, t.shape) == t.bytes(), "wrong size of " + t.describe());
  }
  require(covered == data_bytes, "bytes that belong to no tensor");
}

}  // namespace

bool safetensors(std::string_view input) {
  if (input.size() < 3) return false;
  if (input[0] & 1) {
    const int64_t data_bytes = static_cast<uint8_t>(input[1]) | static_cast<uint8_t>(input[2]) << 8;
    return accepted({ErrorKind::bad_model}, [&] {
      check(parse_safetensors_header(input.substr(3), data_bytes, "header").tensors, data_bytes);
    });
  }
  static const harness::TempFolder folder;
  static const RewrittenFile file(folder / "model.safetensors");
  file.fill(input.substr(1));
  return accepted({ErrorKind::bad_model}, [&] {
    const SafetensorsFile opened = SafetensorsFile::open(file.path());
    int64_t total = 0;
    for (const TensorInfo& t : opened.tensors()) {
      require(opened.find(t.name) == &t, "find() misses " + t.name);
      std::string bytes(static_cast<size_t>(t.bytes()), '\0');
      opened.read(t, bytes.data());
      total = t.end;
    }
    check(opened.tensors(), total);
  });
}

}  // namespace octavo::fuzz
