// A Python tensor as the ops see it: a view of its memory, never a copy, never a conversion.
#pragma once
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <optional>
#include <span>
#include <string>

#include "core/tensor.h"
#include "dlpack_abi.h"

namespace octavo::python {

namespace nb = nanobind;

// Any object that speaks DLPack: torch tensors by the exchange table, others (NumPy) by __dlpack__, CPU only.
// Lives as long as the call; the object must outlive it.
class TensorArgument {
 public:
  enum class Access { read, write };
  static constexpr int kMaxRank = 8;

  // `object` None: an absent argument. Throws Error(usage) naming the argument for anything but a tensor, an element type
  // that octavo has not, a read-only array to write to, or memory that is neither a CPU's nor an NVIDIA GPU's.
  TensorArgument(const char* op, const char* name, nb::handle object, Access access = Access::read);
  TensorArgument(const TensorArgument&) = delete;

  bool given() const { return given_; }
  nb::handle object() const { return object_; }
  const char* name() const { return name_; }
  int rank() const { return view_.rank; }
  int64_t dim(int d) const { return view_.shape[d]; }
  int64_t stride(int d) const { return strides_[d]; }
  std::span<const int64_t> shape() const { return {view_.shape, static_cast<size_t>(rank())}; }
  std::span<const int64_t> strides() const { return {strides_, static_cast<size_t>(rank())}; }
  bool contiguous() const { return contiguous_; }
  bool pinned() const { return pinned_; }
  const dlpack::Device& device() const { return view_.device; }
  bool on_cuda() const { return view_.device.type == dlpack::kCuda; }
  const dlpack::ExchangeTable* table() const { return table_; }  // null without one
  DType dtype() const { return dtype_; }
  void* data() const { return static_cast<char*>(view_.data) + view_.byte_offset; }

  // As it is; rank at most 4.
  octavo::Tensor tensor() const;
  // [..., width] as [rows, width]. Throws Error(usage) when the leading dimensions have no common row stride.
  octavo::Tensor rows() const;
  // [...] as [n], for the scales that belong to rows. Same condition.
  octavo::Tensor flat() const;
  // [..., heads, width] as [tokens, heads, width]. Same condition.
  octavo::Tensor tokens() const;
  // [..., a, b, c] as [n, a, b, c], for what an op takes as one run of elements. Same condition.
  octavo::Tensor volumes() const;

 private:
  octavo::Tensor merged(int kept) const;  // the leading dimensions but the last `kept` ones as one

  const char *op_, *name_;
  nb::handle object_;
  bool given_ = false, contiguous_ = true, pinned_ = false;
  const dlpack::ExchangeTable* table_ = nullptr;
  std::optional<nb::ndarray<>> array_;            // keeps a __dlpack__ export alive
  std::optional<nb::ndarray<nb::ro>> read_only_;  // the same of a read-only array
  dlpack::Tensor view_{};
  int64_t strides_[kMaxRank];
  DType dtype_ = DType::f32;
};

// "cuda:1", "cpu", for messages.
std::string describe(const dlpack::Device& device);

}  // namespace octavo::python
