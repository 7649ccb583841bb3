// What the bindings use of torch: few of its functions and types, looked up once, when octavo.torch_ops is imported.
#pragma once
#include <nanobind/nanobind.h>

#include <span>

#include "tensor_argument.h"

namespace octavo::python {

struct TorchApi {
  nb::object modes, transform, grad_enabled;  // functions without arguments
  nb::object tensor, parameter;               // types
  nb::object requires_grad;                   // the attribute's name, interned
  nb::object empty, empty_like;
  nb::object empty_cpu, empty_cuda;  // (sizes, strides, dtype) -> tensor; null where this torch has none
  nb::object dtypes[8];              // by DType
};

// Null until torch is in use.
const TorchApi* torch_api();

// Outputs, uninitialised, beside x: torch tensors on its device or NumPy arrays.
// NOTE: made by the functions that torch.compile's own code uses, which take 0.9 us less than torch.empty_like.
nb::object new_like(const TensorArgument& x);  // x's strides where x is dense
nb::object new_dense(const TensorArgument& x, std::span<const int64_t> shape, DType dtype);

}  // namespace octavo::python
