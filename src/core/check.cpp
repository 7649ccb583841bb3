#include "core/check.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <vector>

namespace octavo {

void fail_argument(std::string_view op, std::string_view arg, std::string_view problem) {
  throw Error(ErrorKind::usage, fmt::format("{}: {} {}", op, arg, problem));
}

void expect_shape(std::string_view op, std::string_view arg, const ConstTensor& t,
                  std::initializer_list<int64_t> shape) {
  bool same = t.rank() == static_cast<int>(shape.size());
  int d = 0;
  for (int64_t n : shape) same = same && (n < 0 || t.dim(d) == n), ++d;
  if (!same) {
    std::vector<std::string> wanted;
    for (int64_t n : shape) wanted.push_back(n < 0 ? "any" : fmt::format("{}", n));
    fail_argument(op, arg, fmt::format("is {}, expected shape [{}]", t.describe(), fmt::join(wanted, ", ")));
  }
  if (t.numel() > 0 && !t.data())
    fail_argument(op, arg, fmt::format("is {} with a null pointer", t.describe()));
}

void expect_dtype(std::string_view op, std::string_view arg, const ConstTensor& t,
                  std::initializer_list<DType> allowed) {
  if (std::find(allowed.begin(), allowed.end(), t.dtype()) != allowed.end()) return;
  std::vector<std::string_view> names;
  for (DType a : allowed) names.push_back(name_of(a));
  fail_argument(op, arg, fmt::format("is {}, expected one of: {}", t.describe(), fmt::join(names, ", ")));
}

void expect_unit_stride(std::string_view op, std::string_view arg, const ConstTensor& t) {
  const int last = t.rank() - 1;
  if (last >= 0 && t.dim(last) > 1 && t.stride(last) != 1)
    fail_argument(
        op, arg,
        fmt::format("{} has stride {} in its last dimension, expected 1", t.describe(), t.stride(last)));
}

void expect_backend(std::string_view op, std::string_view arg, const ConstTensor& t, Backend backend) {
  const auto place = [](Backend b) { return b == Backend::cpu ? "the CPU" : "a CUDA device"; };
  if (t.backend() != backend)
    fail_argument(op, arg,
                  fmt::format("lies on {}, the call runs on {}", place(t.backend()), place(backend)));
}

void expect_tensor(std::string_view op, std::string_view arg, const ConstTensor& t, Backend backend,
                   std::initializer_list<DType> dtypes, std::initializer_list<int64_t> shape) {
  expect_dtype(op, arg, t, dtypes);
  expect_shape(op, arg, t, shape);
  expect_unit_stride(op, arg, t);
  expect_backend(op, arg, t, backend);
}

}  // namespace octavo
