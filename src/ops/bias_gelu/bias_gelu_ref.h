// The specification of bias_gelu: plain sequential loops in Real (double for the reference, float for the plain version).
#pragma once
#include "ops/bias_gelu/bias_gelu.h"

namespace octavo {

template <class Real>
void bias_gelu_ref(const BiasGeluArgs& args);

}  // namespace octavo
