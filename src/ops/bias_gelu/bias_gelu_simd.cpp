// out = gelu(x + bias) over one row. Both forms are v * (a probability), taken from the small tail so that negative v
// keep their relative accuracy:
//   erf:   tail h = erfc(|v| / sqrt(2)) / 2;  probability h for v < 0, 1 - h above
//   tanh:  v * sigmoid(2 z), from e^-|2 z| which cannot overflow
// Bound by memory for rows that come from there, by the exponential for rows in a cache.
#include "ops/bias_gelu/bias_gelu_simd.h"

#include "simd/quantize.h"
#include "simd/vec.h"

namespace octavo::OCTAVO_ISA {
namespace {

// erfc(w / sqrt(2)) / 2 = e^(-w^2/2) * t * P(t) with t = 1 / (1 + 0.34 w); P was fitted for relative error 3e-8 on
// 0 <= w <= 14, beyond which e^(-w^2/2) is 0 in fp32.
OCTAVO_INLINE F32 normal_tail(F32 w) {
  constexpr float kP[] = {-2.612065366e-02f, 1.395002878e-01f,  -2.731342327e-01f,
                          2.021841919e-01f,  -4.471937344e-02f, 1.153595017e-01f,
                          1.151975853e-01f,  1.361122053e-01f,  1.356205030e-01f};
  const F32 t = div(set1(1.0f), fma(set1(0.34f), w, set1(1.0f)));
  F32 p = set1(kP[0]);
  for (int i = 1; i < 9; ++i) p = fma(p, t, set1(kP[i]));
  return mul(mul(exp(mul(mul(w, w), set1(-0.5f))), t), p);
}

OCTAVO_INLINE F32 gelu_erf(F32 v) {
  const F32 h = normal_tail(abs(v));
  return mul(v, select_negative(v, h, sub(set1(1.0f), h)));
}

OCTAVO_INLINE F32 gelu_tanh(F32 v) {
  const F32 one = set1(1.0f);
  const F32 cubic = fma(mul(mul(v, v), set1(0.044715f)), v, v);
  const F32 t = exp(mul(abs(cubic), set1(-1.5957691216057308f)));  // -2 sqrt(2 / pi)
  return mul(v, div(select_negative(v, t, one), add(one, t)));
}

template <bool kTanh, bool kStore, bool kCodes>
void gelu_row(BiasGeluRow row) {
  const auto gelu_at = [&](int64_t i, int64_t n) __attribute__((always_inline)) {
    const F32 x = load_lanes(row.x + i, n);
    const F32 v = row.bias ? add(x, load_lanes(row.bias + i, n)) : x;
    return kTanh ? gelu_tanh(v) : gelu_erf(v);
  };
  if constexpr (!kStore) return quantize_computed(row.codes, row.scale, row.width, gelu_at);
  F32 amax = zero();
  for_lanes(
      row.width, [&](int64_t i, int64_t n) __attribute__((always_inline)) {
        const F32 out = gelu_at(i, n);
        store_lanes(row.out + i, out, n);
        if constexpr (kCodes) amax = max_magnitude(amax, out);
      });
  if constexpr (kCodes) {  // from out, which may lie on an input
    const Coding coding = coding_of(largest_magnitude(amax));
    *row.scale = coding.scale;
    write_codes(
        row.codes, row.width, coding.inverse, [&](int64_t i, int64_t n) __attribute__((always_inline)) {
          return load_lanes(row.out + i, n);
        });
  }
}

template <bool kTanh>
void gelu_row(BiasGeluRow row) {
  if (row.out && row.codes) return gelu_row<kTanh, true, true>(row);
  if (row.out) return gelu_row<kTanh, true, false>(row);
  gelu_row<kTanh, false, true>(row);
}

}  // namespace

void bias_gelu_row(const BiasGeluRow& row) { row.tanh_form ? gelu_row<true>(row) : gelu_row<false>(row); }

}  // namespace octavo::OCTAVO_ISA
