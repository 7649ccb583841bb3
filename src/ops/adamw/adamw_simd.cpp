// One pass over param, grad and both averages. Bound by memory: 28 bytes an element.
#include "ops/adamw/adamw_simd.h"

#include "simd/vec.h"

namespace octavo::OCTAVO_ISA {

void adamw_range(const AdamWRange& range) {
  for_lanes(
      range.n, [&](int64_t i, int64_t n) __attribute__((always_inline)) {
        const F32 g = mul(load_lanes(range.grad + i, n), set1(range.grad_factor));
        const F32 m =
            fma(set1(range.beta1), load_lanes(range.exp_avg + i, n), mul(set1(range.one_minus_beta1), g));
        const F32 v = fma(set1(range.beta2), load_lanes(range.exp_avg_sq + i, n),
                          mul(mul(set1(range.one_minus_beta2), g), g));
        const F32 denominator = fma(sqrt(v), set1(range.root_correction), set1(range.eps));
        const F32 decayed = mul(load_lanes(range.param + i, n), set1(range.decay));
        store_lanes(range.exp_avg + i, m, n);
        store_lanes(range.exp_avg_sq + i, v, n);
        store_lanes(range.param + i, sub(decayed, div(mul(set1(range.step_size), m), denominator)), n);
      });
}

}  // namespace octavo::OCTAVO_ISA
