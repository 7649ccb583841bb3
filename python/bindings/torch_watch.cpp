// Whether torch must see a call of an op. Asked before every call, so it is one C function.
#include "bindings.h"

namespace octavo::python {

namespace nb = nanobind;

namespace {

// What octavo.ops.use_torch hands over; alive until the interpreter ends.
struct Torch {
  nb::object modes, transform, grad_enabled;  // functions without arguments
  nb::object tensor, parameter;               // types
  nb::object requires_grad;                   // the attribute's name, interned
};

Torch& torch() {
  static auto* torch = new Torch;  // NOTE: never destroyed: the interpreter may be gone by then
  return *torch;
}

void watch_torch(nb::object modes, nb::object transform, nb::object grad_enabled, nb::object tensor,
                 nb::object parameter) {
  torch() = {modes,  transform, grad_enabled,
             tensor, parameter, nb::steal(PyUnicode_InternFromString("requires_grad"))};
}

nb::object call(const nb::object& function) {
  PyObject* result = PyObject_CallNoArgs(function.ptr());
  if (!result) throw nb::python_error();
  return nb::steal(result);
}

bool is_watched(const Torch& t, PyObject* const* arguments, Py_ssize_t count) {
  if (PyLong_AsLong(call(t.modes).ptr()) != 0 || !call(t.transform).is_none()) return true;
  const bool grad = call(t.grad_enabled).ptr() == Py_True;
  for (Py_ssize_t i = 0; i < count; ++i) {
    const nb::handle a = arguments[i];
    const nb::handle type = a.type();
    if (type.is(t.tensor) || type.is(t.parameter)) {
      if (grad && nb::getattr(a, t.requires_grad).ptr() == Py_True) return true;
    } else if (PyType_IsSubtype(reinterpret_cast<PyTypeObject*>(type.ptr()),
                                reinterpret_cast<PyTypeObject*>(t.tensor.ptr()))) {
      return true;  // a subclass, which may intercept calls
    }
  }
  return false;
}

PyObject* torch_must_see(PyObject*, PyObject* const* arguments, Py_ssize_t count) {
  try {
    return PyBool_FromLong(is_watched(torch(), arguments, count));
  } catch (nb::python_error& error) {
    error.restore();
    return nullptr;
  }
}

}  // namespace

void bind_torch_watch(nb::module_& m) {
  m.def("watch_torch", &watch_torch);
  static PyMethodDef fast = {"torch_must_see",
                             reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(&torch_must_see)),
                             METH_FASTCALL, nullptr};
  m.attr("torch_must_see") = nb::steal(PyCFunction_NewEx(&fast, nullptr, nullptr));
}

}  // namespace octavo::python
