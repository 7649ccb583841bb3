#include "core/buffer.h"

#include <fmt/format.h>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <cstdlib>
#include <cstring>

namespace octavo {
namespace {
constexpr int64_t kHugePageBytes = 2 << 20;
constexpr int64_t kLargeBytes = 2 * kHugePageBytes;
}  // namespace

Buffer::Buffer(int64_t bytes, bool zeroed) : bytes_(bytes) {
  const bool large = bytes >= kLargeBytes;
  const int64_t alignment = large ? kHugePageBytes : 64;
  // C++17 asks for a size that is a multiple of the alignment; AddressSanitizer insists.
  const size_t size = static_cast<size_t>(round_up(bytes < 1 ? 1 : bytes, alignment));
  data_.reset(std::aligned_alloc(static_cast<size_t>(alignment), size));
  if (!data_)
    throw Error(ErrorKind::out_of_memory,
                fmt::format("out of memory: {} bytes could not be allocated", bytes));
#if defined(__linux__)
  // Weights are read once a token: with pages of 4 KiB the page walks cost a quarter of the read rate (EPYC Milan, 2 cores:
  // 29 against 37 GB/s). Where the system has no huge pages, the advice is ignored, and so is its result.
  if (large) madvise(data_.get(), size, MADV_HUGEPAGE);
#endif
  if (zeroed) std::memset(data_.get(), 0, size);
}

void Buffer::Free::operator()(void* p) const { std::free(p); }

}  // namespace octavo
