// RMS norm on CUDA:  u = x + residual (rounded, stored);  y = u / sqrt(mean(u^2) + eps) * weight;  codes of y.
// The kernels: cuda/row_norm.cuh, row_norm_stream.cuh.
#include "cuda/row_norm_stream.cuh"
#include "ops/rms_norm/rms_norm_cuda.h"

namespace octavo {

using namespace cuda;

bool rms_norm_streams(const RmsNormArgs& a, const DeviceFacts& facts) {
  return norm_streams(Norm::rms, a, facts);
}

void rms_norm_stream(const Context& ctx, const RmsNormArgs& a) {
  with_float_type(a.x.dtype(), [&]<class T>(T) {
    if constexpr (sizeof(T) == 2)
      launch_norm_in_stream<Norm::rms>(ctx, "rms_norm_in_stream", norm_rows_of<T>(a));
  });
}

bool rms_norm_fits_registers(const RmsNormArgs& a, const DeviceFacts& facts) {
  return norm_fits_registers(Norm::rms, a, facts);
}

void rms_norm_registers(const Context& ctx, const RmsNormArgs& a) {
  with_float_type(a.x.dtype(), [&]<class T>(T) {
    launch_norm_in_registers<Norm::rms>(ctx, "rms_norm_in_registers", norm_rows_of<T>(a));
  });
}

void rms_norm_loop(const Context& ctx, const RmsNormArgs& a) {
  with_float_type(a.x.dtype(), [&]<class T>(T) {
    launch_norm_in_loops<Norm::rms>(ctx, "rms_norm_in_loops", norm_rows_of<T>(a));
  });
}

}  // namespace octavo
