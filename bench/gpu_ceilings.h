// The rates that the bench compares with: a copy and a read reduction of our own, and random data made on the device.
#pragma once
#include <cstdint>

#include "core/context.h"

namespace octavo::bench {

// to = from, one 16-byte vector a thread; overlaps with its predecessor as the ops do.
void copy(const Context& ctx, void* to, const void* from, int64_t bytes);
// Reads all words; writes sum[0] only if the data sum to a value that random data never has.
void read_all(const Context& ctx, const void* from, int64_t bytes, uint32_t* sum);
// Nearly normal values (mean 0, variance 1) of a float dtype, or their magnitudes; random bytes for other dtypes.
void fill_random(const Context& ctx, const Tensor& t, int64_t elements, uint64_t seed, bool positive = false);

}  // namespace octavo::bench
