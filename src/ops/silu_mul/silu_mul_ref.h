// The specification of silu_mul: plain loops in Real (double for the reference, float for the plain version).
#pragma once
#include "ops/silu_mul/silu_mul.h"

namespace octavo {

template <class Real>
void silu_mul_ref(const SiluMulArgs& args);

}  // namespace octavo
