#include "tensor_argument.h"

#include <fmt/format.h>

#include "core/check.h"

namespace octavo::python {
namespace {

// The exchange table of a type, or null. Asked once a type: types are few and live long.
const dlpack::ExchangeTable* table_of(PyTypeObject* type) {
  static PyTypeObject* known_types[4] = {};
  static const dlpack::ExchangeTable* known_tables[4] = {};
  for (int i = 0; i < 4; ++i)
    if (known_types[i] == type) return known_tables[i];
  const nb::object capsule =
      nb::getattr(nb::handle(reinterpret_cast<PyObject*>(type)), "__dlpack_c_exchange_api__", nb::none());
  if (capsule.is_none()) return nullptr;
  const auto* header =
      static_cast<const dlpack::ExchangeHeader*>(PyCapsule_GetPointer(capsule.ptr(), "dlpack_exchange_api"));
  PyErr_Clear();
  while (header && header->major != 1) header = header->previous;
  const auto* table = reinterpret_cast<const dlpack::ExchangeTable*>(header);
  if (!table || !table->view) return nullptr;
  for (int i = 0; i < 4; ++i)
    if (!known_types[i]) {
      Py_INCREF(type);  // NOTE: kept for ever, so that its address never means another type
      known_types[i] = type, known_tables[i] = table;
      break;
    }
  return table;
}

std::optional<DType> dtype_of(const dlpack::ElementType& t) {
  if (t.lanes != 1) return {};
  const int bits = t.bits;
  switch (t.code) {
    case dlpack::kFloat:
      if (bits == 64) return DType::f64;
      if (bits == 32) return DType::f32;
      if (bits == 16) return DType::f16;
      break;
    case dlpack::kBfloat:
      if (bits == 16) return DType::bf16;
      break;
    case dlpack::kInt:
      if (bits == 64) return DType::i64;
      if (bits == 32) return DType::i32;
      if (bits == 8) return DType::i8;
      break;
    case dlpack::kUInt:
      if (bits == 8) return DType::u8;
      break;
    default: break;
  }
  return {};
}

std::string class_of(nb::handle object) { return nb::type_name(object.type()).c_str(); }

// What an ndarray that nanobind imported says, in the same struct.
template <class Array>
dlpack::Tensor view_of(const Array& a) {
  const auto type = a.dtype();
  dlpack::Tensor view{};
  view.data = const_cast<void*>(static_cast<const void*>(a.data()));
  view.device = {a.device_type(), a.device_id()};
  view.rank = static_cast<int32_t>(a.ndim());
  view.dtype = {static_cast<uint8_t>(type.code), type.bits, type.lanes};
  view.shape = const_cast<int64_t*>(a.shape_ptr());
  view.strides = const_cast<int64_t*>(a.stride_ptr());
  return view;
}

octavo::Tensor make(void* data, DType dtype, int rank, const int64_t* shape, const int64_t* strides,
                    Backend b) {
  switch (rank) {
    case 0: return {data, dtype, {}, b};
    case 1: return {data, dtype, {shape[0]}, {strides[0]}, b};
    case 2: return {data, dtype, {shape[0], shape[1]}, {strides[0], strides[1]}, b};
    case 3: return {data, dtype, {shape[0], shape[1], shape[2]}, {strides[0], strides[1], strides[2]}, b};
    default:
      return {data,
              dtype,
              {shape[0], shape[1], shape[2], shape[3]},
              {strides[0], strides[1], strides[2], strides[3]},
              b};
  }
}

}  // namespace

std::string describe(const dlpack::Device& device) {
  return device.type == dlpack::kCuda ? fmt::format("cuda:{}", device.index) : "cpu";
}

TensorArgument::TensorArgument(const char* op, const char* name, nb::handle object, Access access)
    : op_(op), name_(name), object_(object) {
  if (object.is_none()) return;
  given_ = true;
  table_ = table_of(Py_TYPE(object.ptr()));
  if (table_) {
    if (table_->view(object.ptr(), &view_) != 0) throw nb::python_error();
  } else if (nb::ndarray<> array; nb::try_cast(object, array, false)) {
    array_ = array, view_ = view_of(*array_);
  } else if (nb::ndarray<nb::ro> read_only; nb::try_cast(object, read_only, false)) {
    if (access == Access::write) fail_argument(op, name, "is read-only, but the op writes to it");
    read_only_ = read_only, view_ = view_of(*read_only_);
  } else {
    fail_argument(op, name,
                  fmt::format("is a {}, expected a tensor (anything with __dlpack__)", class_of(object)));
  }
  const std::optional<DType> dtype = dtype_of(view_.dtype);
  if (!dtype)
    fail_argument(
        op, name,
        "has an element type that octavo does not know; it knows f64, f32, f16, bf16, i64, i32, i8, u8");
  dtype_ = *dtype;
  pinned_ = view_.device.type == dlpack::kCudaHost;
  if (pinned_) view_.device = {dlpack::kCpu, 0};
  if (view_.device.type != dlpack::kCpu && view_.device.type != dlpack::kCuda)
    fail_argument(op, name,
                  fmt::format("lies on a device of DLPack type {}; octavo serves CPUs and NVIDIA GPUs",
                              view_.device.type));
  if (on_cuda() && !table_)
    fail_argument(
        op, name,
        fmt::format("is a {} on {} without a DLPack exchange table, so its stream is unknown; on a GPU "
                    "octavo takes tensors of torch 2.10 or newer",
                    class_of(object), describe(view_.device)));
  if (view_.rank > kMaxRank)
    fail_argument(op, name, fmt::format("has {} dimensions, at most {} are served", view_.rank, kMaxRank));
  int64_t dense = 1;
  for (int d = view_.rank - 1; d >= 0; --d) {
    strides_[d] = view_.strides ? view_.strides[d] : dense;
    contiguous_ &= view_.shape[d] == 1 || strides_[d] == dense;
    dense *= view_.shape[d];
  }
  if (const auto address = reinterpret_cast<uintptr_t>(data()); address % size_of(dtype_) != 0)
    fail_argument(
        op, name,
        fmt::format("begins at an address that is no multiple of {} bytes, the size of its elements",
                    size_of(dtype_)));
}

octavo::Tensor TensorArgument::tensor() const {
  if (!given_) return {};
  if (rank() > octavo::Tensor::kMaxRank)
    fail_argument(op_, name_,
                  fmt::format("has {} dimensions, expected at most {}", rank(), octavo::Tensor::kMaxRank));
  return make(data(), dtype_, rank(), view_.shape, strides_, on_cuda() ? Backend::cuda : Backend::cpu);
}

octavo::Tensor TensorArgument::merged(int kept) const {
  if (!given_) return {};
  if (rank() < kept)
    fail_argument(op_, name_, fmt::format("has {} dimensions, expected at least {}", rank(), kept));
  int64_t shape[4], strides[4];
  shape[0] = 1, strides[0] = 0;
  for (int d = rank() - kept - 1; d >= 0; --d) {
    const int64_t n = dim(d);
    if (n == 1) continue;
    if (shape[0] == 1)
      strides[0] = stride(d);
    else if (n > 1 && shape[0] > 0 && stride(d) != strides[0] * shape[0])
      fail_argument(op_, name_,
                    fmt::format("has strides {} and {} in its leading dimensions, which make no rows at one "
                                "distance ({} would); call .contiguous()",
                                stride(d), strides[0], strides[0] * shape[0]));
    shape[0] *= n;
  }
  for (int d = 0; d < kept; ++d)
    shape[1 + d] = dim(rank() - kept + d), strides[1 + d] = stride(rank() - kept + d);
  if (strides[0] == 0 && shape[0] == 1) strides[0] = kept > 0 ? strides[1] * shape[1] : 1;  // one row: any
  return make(data(), dtype_, 1 + kept, shape, strides, on_cuda() ? Backend::cuda : Backend::cpu);
}

octavo::Tensor TensorArgument::rows() const { return merged(1); }
octavo::Tensor TensorArgument::flat() const { return merged(0); }
octavo::Tensor TensorArgument::tokens() const { return merged(2); }
octavo::Tensor TensorArgument::volumes() const { return merged(3); }

}  // namespace octavo::python
