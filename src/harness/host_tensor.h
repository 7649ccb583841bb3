// Host memory for tests and benches: any dtype, pitch and misalignment, with canaries on both sides.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "core/buffer.h"
#include "core/tensor.h"
#include "harness/random.h"

namespace octavo::harness {

class HostTensor {
 public:
  HostTensor() = default;
  // Row-major [shape] with `pitch` elements between the starts of consecutive last-dimension rows (0: dense), the first
  // element `misalign` elements past a 64-byte boundary. Every byte, padding included, starts as 0xCD.
  HostTensor(DType dtype, std::vector<int64_t> shape, int64_t pitch = 0, int64_t misalign = 0);

  Tensor view() const;  // of all, shape as given
  DType dtype() const { return dtype_; }
  const std::vector<int64_t>& shape() const { return shape_; }
  int64_t numel() const { return numel_; }
  int64_t width() const { return shape_.empty() ? 1 : shape_.back(); }

  // Logical element i (row-major, padding skipped).
  double get(int64_t i) const;
  void set(int64_t i, double value);  // rounds to the dtype (half even); integers are clamped
  template <class T>
  T* as() const {
    return reinterpret_cast<T*>(first_);
  }

  HostTensor& fill_normal(uint64_t seed, double sigma = 1.0);
  HostTensor& fill_uniform(uint64_t seed, double low, double high);
  HostTensor& fill_codes(uint64_t seed);  // i8: all 256 codes, -128 included
  HostTensor& fill(double value);

  // Empty when the canaries and the padding between rows are untouched; else says where not.
  std::string damage() const;
  std::vector<uint8_t> bytes() const;  // of the logical elements, for bitwise comparison

  // The whole allocation, canaries included, and where the first element lies in it: to copy it to a device and back.
  const Buffer& memory() const { return memory_; }
  int64_t first_offset() const { return first_ - memory_.as<uint8_t>(); }

 private:
  static constexpr int64_t kCanary = 4096;
  uint8_t* element(int64_t i) const;
  DType dtype_ = DType::f32;
  std::vector<int64_t> shape_;
  int64_t numel_ = 0, pitch_ = 0;
  Buffer memory_;
  uint8_t* first_ = nullptr;
};

double get_element(DType dtype, const void* element);
void set_element(DType dtype, void* element, double value);
double round_to(DType dtype, double value);  // the value after storing it in dtype

}  // namespace octavo::harness
