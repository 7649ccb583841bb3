// Elements of a stored tensor in f32, whatever float type or blocks the file has.
#pragma once
#include <cstdint>
#include <vector>

#include "formats/tensor_folder.h"

namespace octavo {

inline bool is_float_tensor(const TensorInfo& t) {
  return t.dtype == DType::f32 || t.dtype == DType::f16 || t.dtype == DType::bf16;
}
inline bool is_q8_0(const TensorInfo& t) { return t.dtype_name == kQ8_0; }

// `count` elements that lie at `from` as the tensor's type; of Q8_0 a multiple of 32.
void widen(const TensorInfo& tensor, const void* from, float* to, int64_t count);

// A whole tensor. Errors: bad_model when it is neither of floats nor Q8_0.
std::vector<float> read_as_floats(const TensorFolder& files, const TensorInfo& tensor);

}  // namespace octavo
