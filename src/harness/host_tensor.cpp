#include "harness/host_tensor.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace octavo::harness {

double get_element(DType dtype, const void* p) {
  switch (dtype) {
    case DType::f64: return *static_cast<const double*>(p);
    case DType::f32: {
      float v;
      std::memcpy(&v, p, 4);
      return v;
    }
    case DType::f16: {
      F16 v;
      std::memcpy(&v, p, 2);
      return to_float(v);
    }
    case DType::bf16: {
      BF16 v;
      std::memcpy(&v, p, 2);
      return to_float(v);
    }
    case DType::i64: return static_cast<double>(*static_cast<const int64_t*>(p));
    case DType::i32: {
      int32_t v;
      std::memcpy(&v, p, 4);
      return v;
    }
    case DType::i8: return *static_cast<const int8_t*>(p);
    default: return *static_cast<const uint8_t*>(p);
  }
}

void set_element(DType dtype, void* p, double value) {
  const auto clamped = [&](double lo, double hi) { return std::clamp(std::nearbyint(value), lo, hi); };
  switch (dtype) {
    case DType::f64: std::memcpy(p, &value, 8); return;
    case DType::f32: {
      const float v = static_cast<float>(value);
      std::memcpy(p, &v, 4);
      return;
    }
    case DType::f16: {
      const F16 v = to_f16(static_cast<float>(value));
      std::memcpy(p, &v, 2);
      return;
    }
    case DType::bf16: {
      const BF16 v = to_bf16(static_cast<float>(value));
      std::memcpy(p, &v, 2);
      return;
    }
    case DType::i64: {
      const int64_t v = static_cast<int64_t>(value);
      std::memcpy(p, &v, 8);
      return;
    }
    case DType::i32: {
      const int32_t v = static_cast<int32_t>(clamped(-2147483648.0, 2147483647.0));
      std::memcpy(p, &v, 4);
      return;
    }
    case DType::i8: *static_cast<int8_t*>(p) = static_cast<int8_t>(clamped(-128, 127)); return;
    default: *static_cast<uint8_t*>(p) = static_cast<uint8_t>(clamped(0, 255));
  }
}

double round_to(DType dtype, double value) {
  alignas(8) uint8_t element[8];
  set_element(dtype, element, value);
  return get_element(dtype, element);
}

HostTensor::HostTensor(DType dtype, std::vector<int64_t> shape, int64_t pitch, int64_t misalign)
    : dtype_(dtype), shape_(std::move(shape)), numel_(1) {
  for (int64_t n : shape_) numel_ *= n;
  pitch_ = pitch ? pitch : width();
  const int64_t rows = width() > 0 ? numel_ / width() : 0;
  const int64_t payload = (rows * pitch_ + misalign) * size_of(dtype);
  memory_ = Buffer(2 * kCanary + payload);
  std::memset(memory_.data(), 0xCD, static_cast<size_t>(memory_.bytes()));
  first_ = memory_.as<uint8_t>() + kCanary + misalign * size_of(dtype);
}

Tensor HostTensor::view() const {
  switch (shape_.size()) {
    case 1: return Tensor(first_, dtype_, {shape_[0]}, {int64_t{1}});
    case 2: return Tensor(first_, dtype_, {shape_[0], shape_[1]}, {pitch_, int64_t{1}});
    case 3:
      return Tensor(first_, dtype_, {shape_[0], shape_[1], shape_[2]},
                    {shape_[1] * pitch_, pitch_, int64_t{1}});
    case 4:
      return Tensor(first_, dtype_, {shape_[0], shape_[1], shape_[2], shape_[3]},
                    {shape_[1] * shape_[2] * pitch_, shape_[2] * pitch_, pitch_, int64_t{1}});
    default: throw Error(ErrorKind::usage, "HostTensor: rank must be 1 to 4");
  }
}

uint8_t* HostTensor::element(int64_t i) const {
  return first_ + (i / width() * pitch_ + i % width()) * size_of(dtype_);
}
double HostTensor::get(int64_t i) const { return get_element(dtype_, element(i)); }
void HostTensor::set(int64_t i, double value) { set_element(dtype_, element(i), value); }

HostTensor& HostTensor::fill_normal(uint64_t seed, double sigma) {
  for (int64_t i = 0; i < numel_; ++i) set(i, sigma * random_normal(seed, static_cast<uint64_t>(i)));
  return *this;
}
HostTensor& HostTensor::fill_uniform(uint64_t seed, double low, double high) {
  for (int64_t i = 0; i < numel_; ++i)
    set(i, low + (high - low) * random_uniform(seed, static_cast<uint64_t>(i)));
  return *this;
}
HostTensor& HostTensor::fill_codes(uint64_t seed) {
  for (int64_t i = 0; i < numel_; ++i)
    *element(i) = static_cast<uint8_t>(random_bits(seed, static_cast<uint64_t>(i)));
  return *this;
}
HostTensor& HostTensor::fill(double value) {
  for (int64_t i = 0; i < numel_; ++i) set(i, value);
  return *this;
}

std::string HostTensor::damage() const {
  const uint8_t *begin = memory_.as<uint8_t>(), *end = begin + memory_.bytes();
  const int64_t row_bytes = width() * size_of(dtype_), pitch_bytes = pitch_ * size_of(dtype_);
  const int64_t rows = width() > 0 ? numel_ / width() : 0;
  for (const uint8_t* p = begin; p < end; ++p) {
    const int64_t at = p - first_;
    const bool inside = at >= 0 && at < rows * pitch_bytes && at % pitch_bytes < row_bytes;
    if (inside) {
      p += row_bytes - at % pitch_bytes - 1;
      continue;
    }
    if (*p != 0xCD)
      return fmt::format("byte {} relative to the first element was overwritten with 0x{:02x}", at, *p);
  }
  return {};
}

std::vector<uint8_t> HostTensor::bytes() const {
  std::vector<uint8_t> all;
  all.reserve(static_cast<size_t>(numel_ * size_of(dtype_)));
  const int64_t row_bytes = width() * size_of(dtype_);
  for (int64_t i = 0; i < numel_; i += width()) all.insert(all.end(), element(i), element(i) + row_bytes);
  return all;
}

}  // namespace octavo::harness
