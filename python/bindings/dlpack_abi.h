// The part of DLPack 1.x that crosses the border between libraries (https://dmlc.github.io/dlpack/latest/c_api.html):
// plain structs whose layout the standard fixes. Tensor libraries hand out the table as <type>.__dlpack_c_exchange_api__
// (torch from 2.10 on), which costs nanoseconds where a call of __dlpack__() costs microseconds.
#pragma once
#include <cstdint>

namespace octavo::python::dlpack {

inline constexpr int32_t kCpu = 1, kCuda = 2, kCudaHost = 3;
inline constexpr uint8_t kInt = 0, kUInt = 1, kFloat = 2, kBfloat = 4;

struct Device {
  int32_t type, index;
};

struct ElementType {
  uint8_t code, bits;
  uint16_t lanes;
};

struct Tensor {
  void* data;
  Device device;
  int32_t rank;
  ElementType dtype;
  int64_t* shape;
  int64_t* strides;  // elements; null: contiguous (before 1.2)
  uint64_t byte_offset;
};

struct Managed;  // an owning tensor; not used here

struct ExchangeHeader {
  uint32_t major, minor;
  ExchangeHeader* previous;  // the table of an older major version, or null
};

// Functions return 0, or -1 with a Python exception set. None of them synchronises streams.
struct ExchangeTable {
  ExchangeHeader header;
  int (*allocate)(Tensor* prototype, Managed** out, void* error_context,
                  void (*)(void*, const char*, const char*));
  int (*export_managed)(void* object, Managed** out);
  int (*import_managed)(Managed* tensor, void** object);
  int (*view)(void* object, Tensor* out);  // may be null; valid as long as the object lives
  int (*current_stream)(int32_t device_type, int32_t device, void** stream);
};

}  // namespace octavo::python::dlpack
