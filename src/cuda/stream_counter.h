// A counter in device memory that belongs to the work of one stream, or to one captured graph: kernels that run one after
// another may use it in turn. It is zero before and after each of them, so none needs a memset in front (2.5 us):
// a kernel that increments it a number of times known in advance does so with atomicInc(counter, number - 1), which is back
// at zero after the last.
#pragma once
#include <cstdint>

#include "core/context.h"

namespace octavo::cuda {

// The counter of the context's stream, or of the graph that the stream is being captured into (given back with the graph).
// Null when there is none (65,536 are in use, or the stream is per-thread): the kernel then has to do without.
// NOTE: two executables of one graph share its counter, as they share all its buffers: they must not run at once.
uint32_t* stream_counter(const Context& ctx, const char* kernel);

}  // namespace octavo::cuda
