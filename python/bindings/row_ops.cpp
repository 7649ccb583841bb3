// Ops on rows: each takes its inputs and the outputs to write, all by DLPack, in the order of the op's own struct.
#include <chrono>

#include "bindings.h"
#include "op_call.h"
#include "ops/bias_gelu/bias_gelu.h"
#include "ops/embedding/embedding.h"
#include "ops/layer_norm/layer_norm.h"
#include "ops/quantize_rows/quantize_rows.h"
#include "ops/rms_norm/rms_norm.h"
#include "ops/rope/rope.h"
#include "ops/silu_mul/silu_mul.h"
#include "torch_api.h"

namespace octavo::python {
namespace {

constexpr auto kWrite = TensorArgument::Access::write;

void run_rms_norm(const TensorArgument& x, const TensorArgument& weight, const TensorArgument& residual,
                  const TensorArgument& u, const TensorArgument& y, const TensorArgument& codes,
                  const TensorArgument& scale, float eps) {
  OpCall call("rms_norm", {&x, &weight, &residual, &u, &y, &codes, &scale});
  const RmsNormArgs args{.x = x.rows(),
                         .residual = residual.rows(),
                         .weight = weight.tensor(),
                         .eps = eps,
                         .u = u.rows(),
                         .y = y.rows(),
                         .y_codes = codes.rows(),
                         .y_scale = scale.flat()};
  call.run([&](const Context& ctx) { rms_norm(ctx, args); });
}

void call_rms_norm(nb::handle x_, nb::handle weight_, nb::handle residual_, nb::handle u_, nb::handle y_,
                   nb::handle codes_, nb::handle scale_, float eps) {
  constexpr const char* op = "rms_norm";
  const TensorArgument x(op, "x", x_), weight(op, "weight", weight_), residual(op, "residual", residual_);
  const TensorArgument u(op, "u", u_, kWrite), y(op, "y", y_, kWrite);
  const TensorArgument codes(op, "y_codes", codes_, kWrite), scale(op, "y_scale", scale_, kWrite);
  run_rms_norm(x, weight, residual, u, y, codes, scale, eps);
}

// y, or with residual (y, u), made here: the calls whose overhead is measured.
nb::object make_rms_norm(nb::handle x_, nb::handle weight_, float eps, nb::handle residual_) {
  constexpr const char* op = "rms_norm";
  const TensorArgument x(op, "x", x_), weight(op, "weight", weight_), residual(op, "residual", residual_);
  const nb::object y_ = new_like(x), u_ = residual.given() ? new_like(x) : nb::none();
  const TensorArgument none(op, "", nb::none());
  run_rms_norm(x, weight, residual, TensorArgument(op, "u", u_, kWrite), TensorArgument(op, "y", y_, kWrite),
               none, none, eps);
  return residual.given() ? nb::object(nb::make_tuple(y_, u_)) : y_;
}

// Microseconds that one call of the op takes on the host, launch included, without Python: bench/python_overhead.py
// takes this from what a call costs in Python.
double time_rms_norm(nb::handle x_, nb::handle weight_, nb::handle y_, int calls) {
  constexpr const char* op = "rms_norm";
  const TensorArgument x(op, "x", x_), weight(op, "weight", weight_), y(op, "y", y_, kWrite);
  OpCall call(op, {&x, &weight, &y});
  const RmsNormArgs args{.x = x.rows(), .weight = weight.tensor(), .y = y.rows()};
  const auto start = std::chrono::steady_clock::now();
  call.run([&](const Context& ctx) {
    for (int i = 0; i < calls; ++i) rms_norm(ctx, args);
  });
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count() / calls;
}

void call_layer_norm(nb::handle x_, nb::handle weight_, nb::handle bias_, nb::handle residual_, nb::handle u_,
                     nb::handle y_, nb::handle codes_, nb::handle scale_, float eps) {
  constexpr const char* op = "layer_norm";
  const TensorArgument x(op, "x", x_), weight(op, "weight", weight_), bias(op, "bias", bias_);
  const TensorArgument residual(op, "residual", residual_), u(op, "u", u_, kWrite), y(op, "y", y_, kWrite);
  const TensorArgument codes(op, "y_codes", codes_, kWrite), scale(op, "y_scale", scale_, kWrite);
  OpCall call(op, {&x, &weight, &bias, &residual, &u, &y, &codes, &scale});
  const LayerNormArgs args{.x = x.rows(),
                           .residual = residual.rows(),
                           .weight = weight.tensor(),
                           .bias = bias.tensor(),
                           .eps = eps,
                           .u = u.rows(),
                           .y = y.rows(),
                           .y_codes = codes.rows(),
                           .y_scale = scale.flat()};
  call.run([&](const Context& ctx) { layer_norm(ctx, args); });
}

nb::object make_layer_norm(nb::handle x, nb::handle weight, nb::handle bias, float eps, nb::handle residual) {
  const TensorArgument like("layer_norm", "x", x);
  const nb::object y = new_like(like), u = residual.is_none() ? nb::none() : new_like(like);
  call_layer_norm(x, weight, bias, residual, u, y, nb::none(), nb::none(), eps);
  return residual.is_none() ? y : nb::object(nb::make_tuple(y, u));
}

void call_silu_mul(nb::handle gate_, nb::handle up_, nb::handle out_, nb::handle codes_, nb::handle scale_) {
  constexpr const char* op = "silu_mul";
  const TensorArgument gate(op, "gate", gate_), up(op, "up", up_), out(op, "out", out_, kWrite);
  const TensorArgument codes(op, "out_codes", codes_, kWrite), scale(op, "out_scale", scale_, kWrite);
  OpCall call(op, {&gate, &up, &out, &codes, &scale});
  const SiluMulArgs args{.gate = gate.rows(),
                         .up = up.rows(),
                         .out = out.rows(),
                         .out_codes = codes.rows(),
                         .out_scale = scale.flat()};
  call.run([&](const Context& ctx) { silu_mul(ctx, args); });
}

void call_bias_gelu(nb::handle x_, nb::handle bias_, nb::handle out_, nb::handle codes_, nb::handle scale_,
                    bool tanh_form) {
  constexpr const char* op = "bias_gelu";
  const TensorArgument x(op, "x", x_), bias(op, "bias", bias_), out(op, "out", out_, kWrite);
  const TensorArgument codes(op, "out_codes", codes_, kWrite), scale(op, "out_scale", scale_, kWrite);
  OpCall call(op, {&x, &bias, &out, &codes, &scale});
  const BiasGeluArgs args{.x = x.rows(),
                          .bias = bias.tensor(),
                          .form = tanh_form ? GeluForm::tanh : GeluForm::erf,
                          .out = out.rows(),
                          .out_codes = codes.rows(),
                          .out_scale = scale.flat()};
  call.run([&](const Context& ctx) { bias_gelu(ctx, args); });
}

void call_quantize_rows(nb::handle x_, nb::handle codes_, nb::handle scale_, nb::handle code_sum_) {
  constexpr const char* op = "quantize_rows";
  const TensorArgument x(op, "x", x_), codes(op, "codes", codes_, kWrite), scale(op, "scale", scale_, kWrite);
  const TensorArgument code_sum(op, "code_sum", code_sum_, kWrite);
  OpCall call(op, {&x, &codes, &scale, &code_sum});
  const QuantizeRowsArgs args{
      .x = x.rows(), .codes = codes.rows(), .scale = scale.flat(), .code_sum = code_sum.flat()};
  call.run([&](const Context& ctx) { quantize_rows(ctx, args); });
}

void call_embedding(nb::handle ids_, nb::handle table_, nb::handle table_scale_, nb::handle out_) {
  constexpr const char* op = "embedding";
  const TensorArgument ids(op, "ids", ids_), table(op, "table", table_);
  const TensorArgument table_scale(op, "table_scale", table_scale_), out(op, "out", out_, kWrite);
  OpCall call(op, {&table, &table_scale, &ids, &out});
  const EmbeddingArgs args{
      .table = table.tensor(), .table_scale = table_scale.tensor(), .ids = ids.flat(), .out = out.rows()};
  call.run([&](const Context& ctx) { embedding(ctx, args); });
}

void call_rope(nb::handle x_, nb::handle positions_, nb::handle inv_freq_, nb::handle out_, bool interleaved,
               float attention_factor) {
  constexpr const char* op = "rope";
  const TensorArgument x(op, "x", x_), positions(op, "positions", positions_),
      inv_freq(op, "inv_freq", inv_freq_);
  const TensorArgument out(op, "out", out_, kWrite);
  OpCall call(op, {&x, &positions, &inv_freq, &out});
  const RopeArgs args{.x = x.tokens(),
                      .out = out.tokens(),
                      .positions = positions.flat(),
                      .inv_freq = inv_freq.tensor(),
                      .style = interleaved ? RopeStyle::interleaved : RopeStyle::half_split,
                      .attention_factor = attention_factor};
  call.run([&](const Context& ctx) { rope(ctx, args); });
}

}  // namespace

// NOTE: a tensor argument is a handle, so that nanobind converts nothing; .noconvert() says so to readers and to stubs.
void bind_row_ops(nb::module_& m) {
  const auto tensor = [](const char* name) { return nb::arg(name).noconvert().none(); };
  m.def("rms_norm", &call_rms_norm, tensor("x"), tensor("weight"), tensor("residual"), tensor("u"),
        tensor("y"), tensor("y_codes"), tensor("y_scale"), nb::arg("eps"));
  const auto optional = [&](const char* name) { return tensor(name) = nb::none(); };
  m.def("make_rms_norm", &make_rms_norm, tensor("x"), tensor("weight"), nb::arg("eps") = 1e-5f,
        optional("residual"));
  m.def("make_layer_norm", &make_layer_norm, tensor("x"), tensor("weight"), optional("bias"),
        nb::arg("eps") = 1e-5f, optional("residual"));
  m.def("time_rms_norm", &time_rms_norm, tensor("x"), tensor("weight"), tensor("y"), nb::arg("calls"));
  m.def("layer_norm", &call_layer_norm, tensor("x"), tensor("weight"), tensor("bias"), tensor("residual"),
        tensor("u"), tensor("y"), tensor("y_codes"), tensor("y_scale"), nb::arg("eps"));
  m.def("silu_mul", &call_silu_mul, tensor("gate"), tensor("up"), tensor("out"), tensor("out_codes"),
        tensor("out_scale"));
  m.def("bias_gelu", &call_bias_gelu, tensor("x"), tensor("bias"), tensor("out"), tensor("out_codes"),
        tensor("out_scale"), nb::arg("tanh_form"));
  m.def("quantize_rows", &call_quantize_rows, tensor("x"), tensor("codes"), tensor("scale"),
        tensor("code_sum"));
  m.def("embedding", &call_embedding, tensor("ids"), tensor("table"), tensor("table_scale"), tensor("out"));
  m.def("rope", &call_rope, tensor("x"), tensor("positions"), tensor("inv_freq"), tensor("out"),
        nb::arg("interleaved"), nb::arg("attention_factor"));
}

}  // namespace octavo::python
