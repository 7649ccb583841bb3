// For tests: a model folder of a few tensors with known contents.
#pragma once
#include <string>
#include <vector>

#include "formats/safetensors.h"
#include "formats/safetensors_writer.h"
#include "harness/host_tensor.h"
#include "harness/temp_folder.h"

namespace octavo {

// The values of a HostTensor, copyable.
class SampleValues {
 public:
  SampleValues(const harness::HostTensor& from)
      : dtype_(from.dtype()), shape_(from.shape()), bytes_(from.bytes()) {}
  DType dtype() const { return dtype_; }
  const std::vector<int64_t>& shape() const { return shape_; }
  const std::vector<uint8_t>& bytes() const { return bytes_; }
  double get(int64_t i) const { return harness::get_element(dtype_, bytes_.data() + i * size_of(dtype_)); }

 private:
  DType dtype_;
  std::vector<int64_t> shape_;
  std::vector<uint8_t> bytes_;  // row-major
};

struct SampleTensor {
  std::string name;
  SampleValues values;
};

inline SampleValues normal(DType dtype, std::vector<int64_t> shape, uint64_t seed) {
  return harness::HostTensor(dtype, std::move(shape)).fill_normal(seed, 0.05);
}

inline void write_tensors(const std::filesystem::path& file, const std::vector<SampleTensor>& tensors) {
  std::vector<TensorSpec> specs;
  for (const auto& [name, values] : tensors)
    specs.push_back({name, safetensors_name_of(values.dtype()), values.shape()});
  SafetensorsWriter writer(file, specs);
  for (const auto& [name, values] : tensors) {
    writer.append(name, values.bytes().data(), static_cast<int64_t>(values.bytes().size()));
  }
  writer.commit();
}

// model.safetensors and config.json.
inline void write_model(const harness::TempFolder& folder, const std::vector<SampleTensor>& tensors,
                        const std::string& config = "{}") {
  write_tensors(folder / "model.safetensors", tensors);
  folder.write("config.json", config);
}

}  // namespace octavo
