#include "weights/widen.h"

#include <fmt/format.h>

#include <functional>
#include <numeric>

#include "core/buffer.h"
#include "core/dtype.h"
#include "core/error.h"
#include "formats/in_quotes.h"

namespace octavo {
namespace {

template <class From>
void widen_as(const void* from, float* to, int64_t count) {
  for (int64_t i = 0; i < count; ++i) to[i] = to_float(static_cast<const From*>(from)[i]);
}

}  // namespace

void widen(const TensorInfo& tensor, const void* from, float* to, int64_t count) {
  if (is_q8_0(tensor)) return dequantize_q8_0(from, to, count);
  if (tensor.dtype == DType::f32) return widen_as<float>(from, to, count);
  if (tensor.dtype == DType::f16) return widen_as<F16>(from, to, count);
  widen_as<BF16>(from, to, count);
}

std::vector<float> read_as_floats(const TensorFolder& files, const TensorInfo& tensor) {
  if (!is_float_tensor(tensor) && !is_q8_0(tensor))
    throw Error(ErrorKind::bad_model,
                fmt::format("{}: tensor {} is {}, expected F32, F16 or BF16", files.path_of(tensor).string(),
                            in_quotes(tensor.name), tensor.describe()));
  const Buffer stored(tensor.bytes());
  files.read(tensor, stored.data());
  std::vector<float> values(static_cast<size_t>(
      std::accumulate(tensor.shape.begin(), tensor.shape.end(), int64_t{1}, std::multiplies<>())));
  widen(tensor, stored.data(), values.data(), static_cast<int64_t>(values.size()));
  return values;
}

}  // namespace octavo
