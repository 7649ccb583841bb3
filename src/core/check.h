// Argument checks that every op shares: each throws Error(usage) that names op, argument and the numbers that disagree.
#pragma once
#include <initializer_list>
#include <string_view>

#include "core/tensor.h"

namespace octavo {

// Shape must match; -1 accepts any size. The last dimension must have unit stride unless it has at most one element.
void expect_shape(std::string_view op, std::string_view arg, const ConstTensor& t,
                  std::initializer_list<int64_t> shape);
void expect_dtype(std::string_view op, std::string_view arg, const ConstTensor& t,
                  std::initializer_list<DType> allowed);
void expect_backend(std::string_view op, std::string_view arg, const ConstTensor& t, Backend backend);
void expect_unit_stride(std::string_view op, std::string_view arg, const ConstTensor& t);
// Dtype, shape, unit stride in the last dimension and the memory it lies in, in one call.
void expect_tensor(std::string_view op, std::string_view arg, const ConstTensor& t, Backend backend,
                   std::initializer_list<DType> dtypes, std::initializer_list<int64_t> shape);
[[noreturn]] void fail_argument(std::string_view op, std::string_view arg, std::string_view problem);

}  // namespace octavo
