// How wgmma (sm_90a) is told where a tile lies in shared memory. Plain numbers, tested on the host.
// PTX ISA, "Matrix descriptor": address / 16 in 14 bits; leading offset / 16 at bit 16 (unused by this layout); offset / 16
// between groups of eight rows at bit 32; layout at bit 62: 1 is the 128-byte swizzle, 2 the 64-byte swizzle.
#pragma once
#include <cstdint>

#include "core/dtype.h"

namespace octavo::cuda::ptx {

// A tile of rows of 128 bytes in the 128-byte swizzle, as the copy engine writes it: eight rows are a group of 1,024 bytes,
// on which the tile starts.
OCTAVO_HD constexpr uint64_t tile_descriptor(uint32_t shared_bytes) {
  constexpr uint64_t kLayout = (uint64_t{1} << 62) | (uint64_t{1024 / 16} << 32) | (uint64_t{1} << 16);
  return kLayout | ((shared_bytes & 0x3ffff) >> 4);
}

// A tile of rows of 64 bytes in the 64-byte swizzle: eight rows are a group of 512 bytes, on which the tile starts.
OCTAVO_HD constexpr uint64_t narrow_tile_descriptor(uint32_t shared_bytes) {
  constexpr uint64_t kLayout = (uint64_t{2} << 62) | (uint64_t{512 / 16} << 32) | (uint64_t{1} << 16);
  return kLayout | ((shared_bytes & 0x3ffff) >> 4);
}

// The tile that begins `bytes` later: 32 for the next 32 bytes of every row, 8,192 for the next 64 rows.
OCTAVO_HD constexpr uint64_t advance(uint64_t descriptor, int bytes) {
  return descriptor + static_cast<uint64_t>(bytes / 16);
}

// The same bytes read the other way (16-bit elements): row r of 128 bytes is k = r, the 64 elements in it are n. Columns
// 64 and up of n lie `columns_64_bytes` further; advance() by 2,048 is the next 16 k.
OCTAVO_HD constexpr uint64_t row_descriptor(uint32_t shared_bytes, uint32_t columns_64_bytes) {
  constexpr uint64_t kLayout = (uint64_t{1} << 62) | (uint64_t{1024 / 16} << 32);
  return kLayout | (uint64_t{columns_64_bytes / 16} << 16) | ((shared_bytes & 0x3ffff) >> 4);
}

}  // namespace octavo::cuda::ptx
