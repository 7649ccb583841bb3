// Non-owning views of typed memory with a shape and strides, on the host or on a device.
// ConstTensor is read-only; Tensor converts to it. Strides count elements, not bytes. No CUDA and no fmt in here.
#pragma once
#include <array>
#include <cstdint>
#include <initializer_list>
#include <string>

#include "core/dtype.h"
#include "core/error.h"

namespace octavo {

enum class Backend : uint8_t { cpu, cuda };

class ConstTensor {
 public:
  static constexpr int kMaxRank = 4;

  ConstTensor() = default;
  // Dense row-major view.
  ConstTensor(const void* data, DType dtype, std::initializer_list<int64_t> shape,
              Backend backend = Backend::cpu)
      : data_(data), dtype_(dtype), backend_(backend) {
    set_shape(shape);
    int64_t step = 1;
    for (int d = rank_ - 1; d >= 0; --d) {
      stride_[d] = step;
      step *= shape_[d];
    }
  }
  ConstTensor(const void* data, DType dtype, std::initializer_list<int64_t> shape,
              std::initializer_list<int64_t> strides, Backend backend = Backend::cpu)
      : data_(data), dtype_(dtype), backend_(backend) {
    set_shape(shape);
    int d = 0;
    for (int64_t s : strides) stride_[d++] = s;
  }
  template <class T>
  static ConstTensor of(const T* data, std::initializer_list<int64_t> shape) {
    return ConstTensor(data, DTypeOf<T>::value, shape);
  }

  explicit operator bool() const {
    return data_ != nullptr || rank_ > 0;
  }  // an optional argument that was given
  const void* data() const { return data_; }
  DType dtype() const { return dtype_; }
  Backend backend() const { return backend_; }
  int rank() const { return rank_; }
  int64_t dim(int d) const { return shape_[d]; }
  int64_t stride(int d) const { return stride_[d]; }
  int64_t numel() const {
    int64_t n = 1;
    for (int d = 0; d < rank_; ++d) n *= shape_[d];
    return n;
  }
  bool dense() const {
    int64_t step = 1;
    for (int d = rank_ - 1; d >= 0; --d) {
      if (shape_[d] != 1 && stride_[d] != step) return false;
      step *= shape_[d];
    }
    return true;
  }
  template <class T>
  const T* as() const {
    if (dtype_ != DTypeOf<T>::value)
      throw Error(ErrorKind::usage,
                  std::string("tensor holds ") + name_of(dtype_) + ", read as " + name_of(DTypeOf<T>::value));
    return static_cast<const T*>(data_);
  }
  // "f32[3, 5]", for messages.
  std::string describe() const {
    std::string s = name_of(dtype_);
    s += '[';
    for (int d = 0; d < rank_; ++d) s += (d ? ", " : "") + std::to_string(shape_[d]);
    return s + ']';
  }

 protected:
  void set_shape(std::initializer_list<int64_t> shape) {
    if (shape.size() > kMaxRank) throw Error(ErrorKind::usage, "tensor rank above 4");
    for (int64_t n : shape) shape_[rank_++] = n;
  }
  const void* data_ = nullptr;
  std::array<int64_t, kMaxRank> shape_{}, stride_{};
  DType dtype_ = DType::f32;
  Backend backend_ = Backend::cpu;
  int rank_ = 0;
};

class Tensor : public ConstTensor {
 public:
  Tensor() = default;
  Tensor(void* data, DType dtype, std::initializer_list<int64_t> shape, Backend backend = Backend::cpu)
      : ConstTensor(data, dtype, shape, backend) {}
  Tensor(void* data, DType dtype, std::initializer_list<int64_t> shape,
         std::initializer_list<int64_t> strides, Backend backend = Backend::cpu)
      : ConstTensor(data, dtype, shape, strides, backend) {}
  template <class T>
  static Tensor of(T* data, std::initializer_list<int64_t> shape) {
    return Tensor(data, DTypeOf<T>::value, shape);
  }
  void* data() const { return const_cast<void*>(data_); }
  template <class T>
  T* as() const {
    return const_cast<T*>(ConstTensor::as<T>());
  }
};

}  // namespace octavo
