// Whether torch must see a call of an op. Asked before every call, so it costs no Python frame.
#include "bindings.h"
#include "torch_api.h"

namespace octavo::python {
namespace {

bool is_none(const nb::object& function) {
  PyObject* result = PyObject_CallNoArgs(function.ptr());
  if (!result) throw nb::python_error();
  return nb::steal(result).is_none();
}

bool is_zero(const nb::object& function) {  // or False
  PyObject* result = PyObject_CallNoArgs(function.ptr());
  if (!result) throw nb::python_error();
  return PyLong_AsLong(nb::steal(result).ptr()) == 0;
}

// A gradient, a transform, a mode or a subclass needs torch's dispatcher.
bool torch_must_see(PyObject* const* arguments, Py_ssize_t count) {
  const TorchApi* t = torch_api();
  if (!t) return false;
  if (!is_zero(t->modes) || !is_none(t->transform)) return true;
  const bool grad = !is_zero(t->grad_enabled);
  for (Py_ssize_t i = 0; i < count; ++i) {
    const nb::handle a = arguments[i];
    const nb::handle type = a.type();
    if (type.is(t->tensor) || type.is(t->parameter)) {
      if (grad && nb::getattr(a, t->requires_grad).ptr() == Py_True) return true;
    } else if (PyType_IsSubtype(reinterpret_cast<PyTypeObject*>(type.ptr()),
                                reinterpret_cast<PyTypeObject*>(t->tensor.ptr()))) {
      return true;
    }
  }
  return false;
}

// Calls the kernel or, where torch must see the call, its way through torch. self: (kernel, way through torch).
PyObject* call_guarded(PyObject* self, PyObject* const* arguments, Py_ssize_t count) {
  try {
    PyObject* function = PyTuple_GetItem(self, torch_must_see(arguments, count) ? 1 : 0);
    return PyObject_Vectorcall(function, arguments, static_cast<size_t>(count), nullptr);
  } catch (nb::python_error& error) {
    error.restore();
    return nullptr;
  }
}

nb::object guarded(nb::handle kernel, nb::handle through_torch) {
  static PyMethodDef definition = {"guarded",
                                   reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(&call_guarded)),
                                   METH_FASTCALL, nullptr};
  return nb::steal(PyCFunction_NewEx(&definition, nb::make_tuple(kernel, through_torch).ptr(), nullptr));
}

}  // namespace

void bind_torch_watch(nb::module_& m) { m.def("guarded", &guarded); }

}  // namespace octavo::python
