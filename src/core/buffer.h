// Owning host memory, 64-byte aligned, zeroed on request. Movable, not copyable.
#pragma once
#include <cstdint>
#include <memory>

#include "core/tensor.h"

namespace octavo {

class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(int64_t bytes, bool zeroed = false);  // throws out_of_memory with the number of bytes
  void* data() const { return data_.get(); }
  int64_t bytes() const { return bytes_; }
  template <class T>
  T* as() const {
    return static_cast<T*>(data_.get());
  }

 private:
  struct Free {
    void operator()(void* p) const;
  };
  std::unique_ptr<void, Free> data_;
  int64_t bytes_ = 0;
};

constexpr int64_t round_up(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

}  // namespace octavo
