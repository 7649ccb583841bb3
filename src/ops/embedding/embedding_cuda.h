// The CUDA side of embedding: one kernel by octets, one by elements.
#pragma once
#include "ops/embedding/embedding.h"

namespace octavo {

bool embedding_fits_octets(const EmbeddingArgs& args, const DeviceFacts& facts);
void embedding_octets(const Context& ctx, const EmbeddingArgs& args);
void embedding_elements(const Context& ctx, const EmbeddingArgs& args);

}  // namespace octavo
