// The specification of rms_norm: plain sequential loops in Real (double for the reference, float for the
// plain version).
#pragma once
#include "ops/rms_norm/rms_norm.h"

namespace octavo {

template <class Real>
void rms_norm_ref(const RmsNormArgs& args);

}  // namespace octavo
