// The module octavo._octavo: ops on DLPack tensors and the engine. Errors of the library become exceptions of
// octavo.errors, by kind; nothing else leaves C++.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "bindings.h"
#include "core/error.h"
#include "op_call.h"

namespace octavo::python {
namespace {

const char* class_for(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::usage: return "UsageError";
    case ErrorKind::bad_model: return "ModelError";
    case ErrorKind::out_of_memory: return "OutOfMemoryError";
    case ErrorKind::no_device: return "NoDeviceError";
    case ErrorKind::device_fault: return "DeviceFaultError";
    default: return "Error";
  }
}

// NOTE: the classes are looked up when an error happens, so that the module itself imports nothing.
void translate(const std::exception_ptr& exception, void*) {
  try {
    std::rethrow_exception(exception);
  } catch (const Error& error) {
    const nb::object type = nb::module_::import_("octavo.errors").attr(class_for(error.kind()));
    PyErr_SetString(type.ptr(), error.what());
  }
}

std::vector<std::string> isas() {
  std::vector<std::string> names;
  for (Isa isa : kAllIsas)
    if (cpu_has(isa)) names.push_back(name_of(isa));
  return names;
}

}  // namespace
}  // namespace octavo::python

NB_MODULE(_octavo, m) {
  using namespace octavo::python;
  nb::set_leak_warnings(false);  // objects that live until the interpreter ends are no surprise to users
  nb::register_exception_translator(translate);
  m.attr("version") = OCTAVO_VERSION;
#if defined(OCTAVO_CUDA)
  m.attr("cuda_architectures") = OCTAVO_CUDA_ARCHS;
#else
  m.attr("cuda_architectures") = "";
#endif
  m.def("cpu_isas", &isas);
  m.def("cuda_ops", &cuda_ops);
  m.def("set_num_threads", &set_threads, nb::arg("threads"));
  m.def("get_num_threads", &threads);
  bind_row_ops(m);
  bind_product_ops(m);
  bind_attention_ops(m);
  bind_attention_int8(m);
  bind_adamw(m);
  bind_engine(m);
  bind_torch_api(m);
  bind_torch_watch(m);
}
