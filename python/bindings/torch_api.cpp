#include "torch_api.h"

#include "bindings.h"
#if defined(OCTAVO_CUDA)
#include "cuda/device.h"
#endif

namespace octavo::python {
namespace {

const TorchApi* api = nullptr;

// By DType, as torch and NumPy call them.
constexpr const char* kTypeNames[] = {"float64", "float32", "float16", "bfloat16",
                                      "int64",   "int32",   "int8",    "uint8"};

void use_torch(nb::module_ torch) {
  auto* t = new TorchApi;  // NOTE: never destroyed: the interpreter may be gone by then
  const nb::object c = torch.attr("_C");
  t->modes = c.attr("_len_torch_dispatch_stack");
  t->transform = c.attr("_functorch").attr("peek_interpreter_stack");
  t->grad_enabled = torch.attr("is_grad_enabled");
  t->tensor = torch.attr("Tensor"), t->parameter = torch.attr("nn").attr("Parameter");
  t->requires_grad = nb::steal(PyUnicode_InternFromString("requires_grad"));
  t->empty = torch.attr("empty"), t->empty_like = torch.attr("empty_like");
  const nb::object guards = nb::getattr(nb::getattr(c, "_dynamo", nb::none()), "guards", nb::none());
  t->empty_cpu = nb::getattr(guards, "_empty_strided_cpu", nb::object());
  t->empty_cuda = nb::getattr(guards, "_empty_strided_cuda", nb::object());
  for (int i = 0; i < 8; ++i) t->dtypes[i] = torch.attr(kTypeNames[i]);
  api = t;
}

// torch's quickest function for this device, or null.
nb::handle quick_empty(const TensorArgument& x) {
  if (!api || !x.table()) return {};
  if (!x.on_cuda()) return x.pinned() ? nb::handle() : nb::handle(api->empty_cpu);
#if defined(OCTAVO_CUDA)
  if (cuda::current_device() == x.device().index) return api->empty_cuda;  // it knows no other device
#endif
  return {};
}

nb::object tuple_of(std::span<const int64_t> numbers) {
  PyObject* tuple = PyTuple_New(static_cast<Py_ssize_t>(numbers.size()));
  for (size_t i = 0; i < numbers.size(); ++i)
    PyTuple_SetItem(tuple, static_cast<Py_ssize_t>(i), PyLong_FromLongLong(numbers[i]));
  return nb::steal(tuple);
}

nb::object tensor_of(nb::handle quick, std::span<const int64_t> shape, std::span<const int64_t> strides,
                     DType dtype) {
  return quick(tuple_of(shape), tuple_of(strides), api->dtypes[static_cast<int>(dtype)]);
}

nb::object new_codes(const char* op, nb::handle x_) {
  const TensorArgument x(op, "x", x_);
  const std::span<const int64_t> shape = x.shape();
  return nb::make_tuple(new_dense(x, shape, DType::i8),
                        new_dense(x, shape.first(shape.empty() ? 0 : shape.size() - 1), DType::f32));
}

bool of_torch(const TensorArgument& x) { return api && nb::isinstance(x.object(), api->tensor); }

}  // namespace

const TorchApi* torch_api() { return api; }

nb::object new_like(const TensorArgument& x) {
  const nb::handle quick = x.contiguous() ? quick_empty(x) : nb::handle();
  if (quick.is_valid()) return tensor_of(quick, x.shape(), x.strides(), x.dtype());
  return of_torch(x) ? api->empty_like(x.object())
                     : nb::module_::import_("numpy").attr("empty_like")(x.object());
}

nb::object new_dense(const TensorArgument& x, std::span<const int64_t> shape, DType dtype) {
  if (const nb::handle quick = quick_empty(x); quick.is_valid()) {
    int64_t strides[TensorArgument::kMaxRank], step = 1;
    for (size_t d = shape.size(); d-- > 0;) strides[d] = step, step *= shape[d] > 0 ? shape[d] : 1;
    return tensor_of(quick, shape, {strides, shape.size()}, dtype);
  }
  if (of_torch(x))
    return api->empty(tuple_of(shape), nb::arg("dtype") = api->dtypes[static_cast<int>(dtype)],
                      nb::arg("device") = x.object().attr("device"));
  return nb::module_::import_("numpy").attr("empty")(tuple_of(shape), kTypeNames[static_cast<int>(dtype)]);
}

void bind_torch_api(nb::module_& m) {
  m.def("use_torch", &use_torch);
  m.def(
      "new_like", [](nb::handle x) { return new_like(TensorArgument("new_like", "x", x)); },
      nb::arg("x").noconvert());
  m.def("new_codes", &new_codes, nb::arg("op"), nb::arg("x").noconvert());
}

}  // namespace octavo::python
