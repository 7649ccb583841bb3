#include "ops/gemm_w8a8/gemm_w8a8_ref.h"

#include <cmath>
#include <vector>

#include "core/element.h"
#include "ops/bias_gelu/bias_gelu_ref.h"
#include "ops/silu_mul/silu_mul_ref.h"

namespace octavo {
namespace {

int64_t sum_of_products(const GemmW8A8Args& a, int64_t m, int64_t n) {
  const int8_t* x = a.x.as<int8_t>() + m * a.x.stride(0);  // [K]
  const int8_t* w = a.w.as<int8_t>() + n * a.w.stride(0);  // [K]
  int64_t acc = 0;
  for (int64_t k = 0; k < a.x.dim(1); ++k) acc += int64_t{x[k]} * w[k];
  return acc;
}

float scaled(const GemmW8A8Args& a, int64_t acc, int64_t m, int64_t n) {
  const float bias = a.bias ? load_at<float>(a.bias, n) : 0.0f;
  return std::fma(static_cast<float>(acc) * load_at<float>(a.w_scale, n), load_at<float>(a.x_scale, m), bias);
}

// Columns [begin, end) of row m of y, as a matrix of one row.
Tensor part_of_row(const Tensor& y, int64_t m, int64_t begin, int64_t end) {
  void* first = static_cast<char*>(y.data()) + (m * y.stride(0) + begin) * size_of(y.dtype());
  return Tensor(first, y.dtype(), {1, end - begin});
}

// v: [1, n_end - n_begin] f32.
template <class Real>
void store_activated(const GemmW8A8Args& a, std::vector<float>& v, int64_t m, int64_t n_begin,
                     int64_t n_end) {
  const int64_t count = n_end - n_begin;
  if (a.activation == GemmActivation::silu_mul) {
    const Tensor y = part_of_row(a.y, m, n_begin / 2, n_end / 2);
    const auto every_second = [&](int64_t first) {
      return ConstTensor(v.data() + first, DType::f32, {1, count / 2}, {count, 2});
    };
    silu_mul_ref<Real>(
        {.gate = every_second(0), .up = every_second(1), .out = y, .out_codes = {}, .out_scale = {}});
  } else {
    bias_gelu_ref<Real>({.x = ConstTensor(v.data(), DType::f32, {1, count}),
                         .bias = {},
                         .form = a.activation == GemmActivation::gelu_tanh ? GeluForm::tanh : GeluForm::erf,
                         .out = part_of_row(a.y, m, n_begin, n_end),
                         .out_codes = {},
                         .out_scale = {}});
  }
}

}  // namespace

template <class Real>
void gemm_w8a8_ref(const GemmW8A8Args& a, int64_t n_begin, int64_t n_end) {
  const float inverse = a.y.dtype() == DType::i8 ? 1.0f / load_at<float>(a.y_scale, 0) : 0.0f;
  std::vector<float> v(static_cast<size_t>(n_end - n_begin));
  for (int64_t m = 0; m < a.x.dim(0); ++m) {
    for (int64_t n = n_begin; n < n_end; ++n) {
      const int64_t acc = sum_of_products(a, m, n);
      if (a.y.dtype() == DType::i32) {
        a.y.as<int32_t>()[m * a.y.stride(0) + n] = static_cast<int32_t>(acc);
        continue;
      }
      float value = scaled(a, acc, m, n);
      if (a.residual) value += load_at<float>(a.residual, m, n);
      if (a.activation != GemmActivation::none)
        v[static_cast<size_t>(n - n_begin)] = value;
      else if (a.y.dtype() == DType::i8)
        a.y.as<int8_t>()[m * a.y.stride(0) + n] = gemm_w8a8_code(value, inverse);
      else
        store_at(a.y, value, m, n);
    }
    if (a.activation != GemmActivation::none && n_end > n_begin)
      store_activated<Real>(a, v, m, n_begin, n_end);
  }
}

void gemm_w8a8_raise_amax(const GemmW8A8Args& a) {
  for (int64_t m = 0; m < a.y.dim(0); ++m) {
    double amax = load_at<double>(a.y_amax, m);
    for (int64_t n = 0; n < a.y.dim(1); ++n) {
      const double v = std::fabs(load_at<double>(a.y, m, n));
      if (v > amax || std::isnan(v)) amax = v;  // NaN stays: nothing is above it
    }
    store_at(a.y_amax, amax, m);
  }
}

template void gemm_w8a8_ref<double>(const GemmW8A8Args&, int64_t, int64_t);
template void gemm_w8a8_ref<float>(const GemmW8A8Args&, int64_t, int64_t);

}  // namespace octavo
