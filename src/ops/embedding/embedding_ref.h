// The specification of embedding. A value of an INT8 table is code * scale in fp32; then one rounding to out's type.
#pragma once
#include "ops/embedding/embedding.h"

namespace octavo {

void embedding_ref(const EmbeddingArgs& args);

}  // namespace octavo
