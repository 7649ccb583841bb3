// Rows of a table by token id: out[t] = table[ids[t]] (times table_scale[ids[t]] for an INT8 table).
#pragma once
#include "core/context.h"

namespace octavo {

struct EmbeddingArgs {
  ConstTensor table;        // [V, D] f32 | f16 | bf16 | i8; any row stride (pitch)
  ConstTensor table_scale;  // [V] f32; with an i8 table only
  ConstTensor ids;          // [T] i32; an id outside [0, V) is an error on the CPU, a row of NaN on CUDA
  Tensor out;               // [T, D] f32 | f16 | bf16
};

// Throws Error(usage) naming the argument when shapes, dtypes or an id (CPU) do not fit.
void embedding(const Context& ctx, const EmbeddingArgs& args);
KernelInfo embedding_variant(const Context& ctx, const EmbeddingArgs& args);

}  // namespace octavo
