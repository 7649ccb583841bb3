// What each file of the bindings adds to the module octavo._octavo.
#pragma once
#include <nanobind/nanobind.h>

namespace octavo::python {

void bind_row_ops(nanobind::module_& m);        // norms, activations, quantiser, embedding, rope
void bind_product_ops(nanobind::module_& m);    // matrix products
void bind_attention_ops(nanobind::module_& m);  // attention over a KV cache, its writer, sampling
void bind_attention_int8(nanobind::module_& m);
void bind_adamw(nanobind::module_& m);
void bind_engine(nanobind::module_& m);
void bind_torch_api(nanobind::module_& m);    // what is used of torch; outputs
void bind_torch_watch(nanobind::module_& m);  // which calls torch's dispatcher must see

}  // namespace octavo::python
