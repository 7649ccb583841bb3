// One pass over param, grad and both averages. Bound by memory: 28 bytes an element.
#include "ops/adamw/adamw_simd.h"

#include "simd/vec.h"

namespace octavo::OCTAVO_ISA {

void adamw_range(const AdamWRange& given) {
  const AdamWRange range = given;
  const F32 grad_factor = set1(range.grad_factor), decay = set1(range.decay), eps = set1(range.eps);
  const F32 beta1 = set1(range.beta1), one_minus_beta1 = set1(range.one_minus_beta1);
  const F32 beta2 = set1(range.beta2), one_minus_beta2 = set1(range.one_minus_beta2);
  const F32 step_size = set1(range.step_size), root_correction = set1(range.root_correction);
  for_lanes(
      range.n, [&](int64_t i, int64_t n) __attribute__((always_inline)) {
        const F32 g = mul(load_lanes(range.grad + i, n), grad_factor);
        const F32 m = fma(beta1, load_lanes(range.exp_avg + i, n), mul(one_minus_beta1, g));
        const F32 v = fma(beta2, load_lanes(range.exp_avg_sq + i, n), mul(mul(one_minus_beta2, g), g));
        const F32 denominator = fma(sqrt(v), root_correction, eps);
        const F32 decayed = mul(load_lanes(range.param + i, n), decay);
        store_lanes(range.exp_avg + i, m, n);
        store_lanes(range.exp_avg_sq + i, v, n);
        store_lanes(range.param + i, sub(decayed, div(mul(step_size, m), denominator)), n);
      });
}

}  // namespace octavo::OCTAVO_ISA
