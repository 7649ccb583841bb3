// Matrix products: x [..., K] times w [N, K], y [..., N].
#include "bindings.h"
#include "op_call.h"
#include "ops/gemm_f/gemm_f.h"
#include "ops/gemm_w8a16/gemm_w8a16.h"
#include "ops/gemm_w8a8/gemm_w8a8.h"

namespace octavo::python {
namespace {

constexpr auto kWrite = TensorArgument::Access::write;

void call_gemm_f(nb::handle x_, nb::handle w_, nb::handle bias_, nb::handle y_) {
  constexpr const char* op = "gemm_f";
  const TensorArgument x(op, "x", x_), w(op, "w", w_), bias(op, "bias", bias_), y(op, "y", y_, kWrite);
  OpCall call(op, {&x, &w, &bias, &y});
  const GemmFArgs args{.x = x.rows(), .w = w.tensor(), .bias = bias.tensor(), .y = y.rows()};
  call.provide_workspace(gemm_f_workspace_bytes(call.context(), args));
  call.run([&](const Context& ctx) { gemm_f(ctx, args); });
}

void call_gemm_w8a16(nb::handle x_, nb::handle w_, nb::handle w_scale_, nb::handle bias_, nb::handle y_) {
  constexpr const char* op = "gemm_w8a16";
  const TensorArgument x(op, "x", x_), w(op, "w", w_), w_scale(op, "w_scale", w_scale_),
      bias(op, "bias", bias_);
  const TensorArgument y(op, "y", y_, kWrite);
  OpCall call(op, {&x, &w, &w_scale, &bias, &y});
  const GemmW8A16Args args{
      .x = x.rows(), .w = w.tensor(), .w_scale = w_scale.tensor(), .bias = bias.tensor(), .y = y.rows()};
  call.run([&](const Context& ctx) { gemm_w8a16(ctx, args); });
}

void call_gemm_w8a8(nb::handle x_, nb::handle x_scale_, nb::handle w_, nb::handle w_scale_,
                    nb::handle w_code_sum_, nb::handle bias_, nb::handle y_, GemmActivation activation,
                    nb::handle residual_, nb::handle y_scale_, nb::handle y_amax_) {
  constexpr const char* op = "gemm_w8a8";
  const TensorArgument x(op, "x", x_), x_scale(op, "x_scale", x_scale_), w(op, "w", w_);
  const TensorArgument w_scale(op, "w_scale", w_scale_), w_code_sum(op, "w_code_sum", w_code_sum_);
  const TensorArgument bias(op, "bias", bias_), residual(op, "residual", residual_);
  const TensorArgument y_scale(op, "y_scale", y_scale_), y_amax(op, "y_amax", y_amax_, kWrite),
      y(op, "y", y_, kWrite);
  OpCall call(op, {&x, &x_scale, &w, &w_scale, &w_code_sum, &bias, &residual, &y_scale, &y_amax, &y});
  const GemmW8A8Args args{.x = x.rows(),
                          .x_scale = x_scale.flat(),
                          .w = w.tensor(),
                          .w_scale = w_scale.tensor(),
                          .w_code_sum = w_code_sum.tensor(),
                          .bias = bias.tensor(),
                          .activation = activation,
                          .residual = residual.rows(),
                          .y_scale = y_scale.tensor(),
                          .y_amax = y_amax.flat(),
                          .y = y.rows()};
  call.provide_workspace(gemm_w8a8_workspace_bytes(call.context(), args));
  call.run([&](const Context& ctx) { gemm_w8a8(ctx, args); });
}

}  // namespace

void bind_product_ops(nb::module_& m) {
  const auto tensor = [](const char* name) { return nb::arg(name).noconvert().none(); };
  m.def("gemm_f", &call_gemm_f, tensor("x"), tensor("w"), tensor("bias"), tensor("y"));
  m.def("gemm_w8a16", &call_gemm_w8a16, tensor("x"), tensor("w"), tensor("w_scale"), tensor("bias"),
        tensor("y"));
  nb::enum_<GemmActivation>(m, "GemmActivation")
      .value("none", GemmActivation::none)
      .value("gelu", GemmActivation::gelu_erf)
      .value("gelu_tanh", GemmActivation::gelu_tanh)
      .value("silu_mul", GemmActivation::silu_mul);
  m.def("gemm_w8a8", &call_gemm_w8a8, tensor("x"), tensor("x_scale"), tensor("w"), tensor("w_scale"),
        tensor("w_code_sum"), tensor("bias"), tensor("y"), nb::arg("activation") = GemmActivation::none,
        tensor("residual") = nb::none(), tensor("y_scale") = nb::none(), tensor("y_amax") = nb::none());
}

}  // namespace octavo::python
