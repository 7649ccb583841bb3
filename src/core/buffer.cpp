#include "core/buffer.h"

#include <fmt/format.h>

#include <cstdlib>
#include <cstring>

namespace octavo {

Buffer::Buffer(int64_t bytes, bool zeroed) : bytes_(bytes) {
  const size_t size = static_cast<size_t>(round_up(bytes < 1 ? 1 : bytes, 64));
  data_.reset(std::aligned_alloc(64, size));
  if (!data_) throw Error(ErrorKind::out_of_memory, fmt::format("out of memory: {} bytes could not be allocated", bytes));
  if (zeroed) std::memset(data_.get(), 0, size);
}

void Buffer::Free::operator()(void* p) const { std::free(p); }

}  // namespace octavo
