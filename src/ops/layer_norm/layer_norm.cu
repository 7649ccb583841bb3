// Layer norm on CUDA:  u = x + residual (rounded, stored);  y = (u - mean) / sqrt(mean((u - mean)^2) + eps) * weight + bias;
// codes of y. The kernels: cuda/row_norm.cuh, row_norm_stream.cuh.
#include "cuda/row_norm_stream.cuh"
#include "ops/layer_norm/layer_norm_cuda.h"

namespace octavo {

using namespace cuda;

template <class T>
static NormRows<T> rows_of(const LayerNormArgs& a) {
  NormRows<T> rows = norm_rows_of<T>(a);
  rows.bias = {a.bias.data(), a.bias.dtype(), row_stride(a.bias)};
  return rows;
}

bool layer_norm_streams(const LayerNormArgs& a, const DeviceFacts& facts) {
  return norm_streams(Norm::layer, a, facts) && parameter_fits(a.bias, a.x.dtype());
}

void layer_norm_stream(const Context& ctx, const LayerNormArgs& a) {
  with_float_type(a.x.dtype(), [&]<class T>(T) {
    if constexpr (sizeof(T) == 2)
      launch_norm_in_stream<Norm::layer>(ctx, "layer_norm_in_stream", rows_of<T>(a));
  });
}

bool layer_norm_fits_registers(const LayerNormArgs& a, const DeviceFacts& facts) {
  return norm_fits_registers(Norm::layer, a, facts) && parameter_fits(a.bias, a.x.dtype());
}

void layer_norm_registers(const Context& ctx, const LayerNormArgs& a) {
  with_float_type(a.x.dtype(), [&]<class T>(T) {
    launch_norm_in_registers<Norm::layer>(ctx, "layer_norm_in_registers", rows_of<T>(a));
  });
}

void layer_norm_loop(const Context& ctx, const LayerNormArgs& a) {
  with_float_type(a.x.dtype(), [&]<class T>(T) {
    launch_norm_in_loops<Norm::layer>(ctx, "layer_norm_in_loops", rows_of<T>(a));
  });
}

}  // namespace octavo
