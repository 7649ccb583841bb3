// The specification of rope. The angle is an fp32 product, as in Hugging Face's Llama; cosine and sine of that angle, and
// all that follows, are in Real.
#pragma once
#include "ops/rope/rope.h"

namespace octavo {

template <class Real>
void rope_ref(const RopeArgs& args);

}  // namespace octavo
