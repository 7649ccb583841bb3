// The specification of layer_norm: plain sequential loops in Real (double for the reference, float for the plain version).
#pragma once
#include "ops/layer_norm/layer_norm.h"

namespace octavo {

template <class Real>
void layer_norm_ref(const LayerNormArgs& args);

}  // namespace octavo
