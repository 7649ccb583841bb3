// The specification of adamw: plain sequential loops in Real (double for the reference, float for the plain version).
#pragma once
#include "ops/adamw/adamw.h"

namespace octavo {

template <class Real>
void adamw_ref(const AdamWArgs& args);

}  // namespace octavo
