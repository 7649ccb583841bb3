// INT8 attention over dense q, k, v [B, H, S, D]: of floats in one call, or its two halves.
#include "bindings.h"
#include "op_call.h"
#include "ops/attention_int8/attention_int8.h"

namespace octavo::python {
namespace {

constexpr const char* kOp = "attention_int8";
constexpr auto kWrite = TensorArgument::Access::write;

void call_floats(nb::handle q_, nb::handle k_, nb::handle v_, nb::handle out_, nb::handle lse_, bool causal,
                 float scale) {
  const TensorArgument q(kOp, "q", q_), k(kOp, "k", k_), v(kOp, "v", v_);
  const TensorArgument out(kOp, "out", out_, kWrite), lse(kOp, "lse", lse_, kWrite);
  OpCall call(kOp, {&q, &k, &v, &out, &lse});
  const AttentionInt8FloatArgs args{.q = q.tensor(),
                                    .k = k.tensor(),
                                    .v = v.tensor(),
                                    .causal = causal,
                                    .scale = scale,
                                    .out = out.tensor(),
                                    .lse = lse.tensor()};
  call.provide_workspace(attention_int8_floats_workspace_bytes(call.context(), args));
  call.run([&](const Context& ctx) { attention_int8_floats(ctx, args); });
}

void call_quantize(nb::handle q_, nb::handle k_, nb::handle v_, nb::handle q_codes_, nb::handle q_scale_,
                   nb::handle k_codes_, nb::handle k_scale_, nb::handle v_codes_, nb::handle v_scale_) {
  const TensorArgument q(kOp, "q", q_), k(kOp, "k", k_), v(kOp, "v", v_);
  const TensorArgument q_codes(kOp, "q codes", q_codes_, kWrite), q_scale(kOp, "q_scale", q_scale_, kWrite);
  const TensorArgument k_codes(kOp, "k codes", k_codes_, kWrite), k_scale(kOp, "k_scale", k_scale_, kWrite);
  const TensorArgument v_codes(kOp, "v codes", v_codes_, kWrite), v_scale(kOp, "v_scale", v_scale_, kWrite);
  OpCall call(kOp, {&q, &k, &v, &q_codes, &q_scale, &k_codes, &k_scale, &v_codes, &v_scale});
  const AttentionInt8QuantizeArgs args{.q = q.tensor(),
                                       .k = k.tensor(),
                                       .v = v.tensor(),
                                       .q_codes = q_codes.tensor(),
                                       .q_scale = q_scale.tensor(),
                                       .k_codes = k_codes.tensor(),
                                       .k_scale = k_scale.tensor(),
                                       .v_codes = v_codes.tensor(),
                                       .v_scale = v_scale.tensor()};
  call.run([&](const Context& ctx) { attention_int8_quantize(ctx, args); });
}

void call_codes(nb::handle q_, nb::handle q_scale_, nb::handle k_, nb::handle k_scale_, nb::handle v_,
                nb::handle v_scale_, nb::handle out_, nb::handle lse_, bool causal, float scale) {
  const TensorArgument q(kOp, "q codes", q_), q_scale(kOp, "q_scale", q_scale_);
  const TensorArgument k(kOp, "k codes", k_), k_scale(kOp, "k_scale", k_scale_);
  const TensorArgument v(kOp, "v codes", v_), v_scale(kOp, "v_scale", v_scale_);
  const TensorArgument out(kOp, "out", out_, kWrite), lse(kOp, "lse", lse_, kWrite);
  OpCall call(kOp, {&q, &q_scale, &k, &k_scale, &v, &v_scale, &out, &lse});
  const AttentionInt8Args args{.q = q.tensor(),
                               .q_scale = q_scale.tensor(),
                               .k = k.tensor(),
                               .k_scale = k_scale.tensor(),
                               .v = v.tensor(),
                               .v_scale = v_scale.tensor(),
                               .causal = causal,
                               .scale = scale,
                               .out = out.tensor(),
                               .lse = lse.tensor()};
  call.run([&](const Context& ctx) { attention_int8(ctx, args); });
}

}  // namespace

void bind_attention_int8(nb::module_& m) {
  const auto tensor = [](const char* name) { return nb::arg(name).noconvert().none(); };
  m.attr("attention_int8_tile_keys") = kInt8TileKeys;
  m.def("attention_int8", &call_floats, tensor("q"), tensor("k"), tensor("v"), tensor("out"), tensor("lse"),
        nb::arg("causal"), nb::arg("scale"));
  m.def("attention_int8_quantize", &call_quantize, tensor("q"), tensor("k"), tensor("v"), tensor("q_codes"),
        tensor("q_scale"), tensor("k_codes"), tensor("k_scale"), tensor("v_codes"), tensor("v_scale"));
  m.def("attention_int8_codes", &call_codes, tensor("q"), tensor("q_scale"), tensor("k"), tensor("k_scale"),
        tensor("v"), tensor("v_scale"), tensor("out"), tensor("lse"), nb::arg("causal"), nb::arg("scale"));
}

}  // namespace octavo::python
