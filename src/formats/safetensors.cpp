#include "formats/safetensors.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <limits>

#include "core/error.h"
#include "formats/in_quotes.h"
#include "formats/json_sax.h"

namespace octavo {
namespace {

struct FormatDType {
  std::string_view name;
  int bits;
  std::optional<DType> dtype;
};

constexpr FormatDType kDTypes[] = {
    {"F64", 64, DType::f64}, {"F32", 32, DType::f32}, {"F16", 16, DType::f16}, {"BF16", 16, DType::bf16},
    {"I64", 64, DType::i64}, {"I32", 32, DType::i32}, {"I8", 8, DType::i8},    {"U8", 8, DType::u8},
    {"I16", 16, {}},         {"U16", 16, {}},         {"U32", 32, {}},         {"U64", 64, {}},
    {"BOOL", 8, {}},         {"C64", 64, {}},         {"F8_E4M3", 8, {}},      {"F8_E5M2", 8, {}},
    {"F8_E4M3FNUZ", 8, {}},  {"F8_E5M2FNUZ", 8, {}},  {"F8_E8M0", 8, {}},      {"F6_E2M3", 6, {}},
    {"F6_E3M2", 6, {}},      {"F4", 4, {}},
};

const FormatDType* find_dtype(std::string_view name) {
  for (const FormatDType& d : kDTypes)
    if (d.name == name) return &d;
  return nullptr;
}

[[noreturn]] void fail(const std::string& file, const std::string& problem) {
  throw Error(ErrorKind::bad_model, file + ": " + problem);
}

// The header's JSON has one shape only: {"name": {"dtype": s, "shape": [n...], "data_offsets": [n, n]}, ...,
// "__metadata__": {s: s}}. Reading it by events keeps memory in proportion to what is valid, for any text.
class HeaderHandler : public json_sax::Handler {
 public:
  HeaderHandler(std::string_view text, const std::string& name, SafetensorsHeader& out)
      : Handler(text, name), out_(out) {}

  bool null() { unexpected("null"); }
  bool boolean(bool) { unexpected("true or false"); }
  bool number_float(double, const std::string& text) { unexpected("the number " + in_quotes(text, 40)); }
  bool number_integer(int64_t n) { unexpected(fmt::format("the number {}", n)); }  // negative ones only
  bool number_unsigned(uint64_t n) {
    if (at_ != At::shape && at_ != At::offsets) unexpected(fmt::format("the number {}", n));
    if (n > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
      fail(fmt::format("tensor {}: {} does not fit 63 bits", in_quotes(tensor_.name), n));
    if (at_ == At::shape) {
      if (tensor_.shape.size() == kMaxRank)
        fail(fmt::format("tensor {}: more than {} dimensions", in_quotes(tensor_.name), kMaxRank));
      tensor_.shape.push_back(static_cast<int64_t>(n));
    } else {
      if (offsets_ == 2)
        fail(fmt::format("tensor {}: data_offsets has more than 2 numbers", in_quotes(tensor_.name)));
      (offsets_++ == 0 ? tensor_.begin : tensor_.end) = static_cast<int64_t>(n);
    }
    return true;
  }
  bool string(std::string& text) {
    if (at_ == At::metadata) {
      out_.metadata[key_] = std::move(text);
    } else if (at_ == At::dtype) {
      tensor_.dtype_name = std::move(text);
      at_ = At::tensor;
    } else {
      unexpected("the string " + in_quotes(text, 40));
    }
    return true;
  }
  bool start_object(size_t) {
    if (at_ == At::start) {
      at_ = At::top;
    } else if (at_ == At::top_value) {
      at_ = key_ == "__metadata__" ? At::metadata : At::tensor;
      tensor_ = {};
      tensor_.name = key_;
      seen_dtype_ = seen_shape_ = seen_offsets_ = false;
    } else {
      unexpected("an object");
    }
    return true;
  }
  bool end_object() {
    if (at_ == At::tensor) finish_tensor();
    at_ = at_ == At::top ? At::done : At::top;
    return true;
  }
  bool start_array(size_t) {
    if (at_ == At::shape_value) {
      at_ = At::shape;
    } else if (at_ == At::offsets_value) {
      at_ = At::offsets;
      offsets_ = 0;
    } else {
      unexpected("an array");
    }
    return true;
  }
  bool end_array() {
    if (at_ == At::offsets && offsets_ != 2)
      fail(fmt::format("tensor {}: data_offsets needs 2 numbers", in_quotes(tensor_.name)));
    at_ = At::tensor;
    return true;
  }
  bool key(std::string& key) {
    if (at_ == At::top) {
      key_ = key;
      // Tensor names are checked for duplicates with the tensors; metadata is the only other key here.
      if (key == "__metadata__" && std::exchange(seen_metadata_, true))
        fail("duplicate key \"__metadata__\"");
      at_ = At::top_value;
    } else if (at_ == At::metadata) {
      if (out_.metadata.contains(key)) fail("duplicate key " + in_quotes(key) + " in \"__metadata__\"");
      key_ = key;
    } else if (key == "dtype") {
      begin_field(key, seen_dtype_, At::dtype);
    } else if (key == "shape") {
      begin_field(key, seen_shape_, At::shape_value);
    } else if (key == "data_offsets") {
      begin_field(key, seen_offsets_, At::offsets_value);
    } else {
      fail(fmt::format("tensor {}: unknown key {}, expected dtype, shape and data_offsets",
                       in_quotes(tensor_.name), in_quotes(key)));
    }
    return true;
  }

 private:
  static constexpr size_t kMaxRank = 64;
  enum class At {
    start,
    top,
    top_value,
    metadata,
    tensor,
    dtype,
    shape_value,
    shape,
    offsets_value,
    offsets,
    done
  };

  [[noreturn]] void unexpected(const std::string& what) {
    const bool inside = at_ != At::start && at_ != At::top && at_ != At::top_value && at_ != At::metadata;
    const std::string where = inside                ? "tensor " + in_quotes(tensor_.name) + ": "
                              : at_ == At::metadata ? "\"__metadata__\": "
                                                    : "";
    fail(where + what + " does not belong here in a safetensors header");
  }
  void begin_field(const std::string& key, bool& seen, At value) {
    if (std::exchange(seen, true))
      fail(fmt::format("tensor {}: duplicate key {}", in_quotes(tensor_.name), in_quotes(key)));
    at_ = value;
  }
  void finish_tensor() {
    for (const auto& [seen, key] :
         {std::pair(seen_dtype_, "dtype"), {seen_shape_, "shape"}, {seen_offsets_, "data_offsets"}})
      if (!seen) fail(fmt::format("tensor {}: {} is missing", in_quotes(tensor_.name), key));
    out_.tensors.push_back(std::move(tensor_));
  }

  SafetensorsHeader& out_;
  At at_ = At::start;
  std::string key_;
  TensorInfo tensor_;
  int offsets_ = 0;
  bool seen_metadata_ = false, seen_dtype_ = false, seen_shape_ = false, seen_offsets_ = false;
};

void check_size(TensorInfo& t, const std::string& file) {
  const FormatDType* dtype = find_dtype(t.dtype_name);
  if (!dtype)
    fail(file, fmt::format("tensor {}: unknown dtype {}", in_quotes(t.name), in_quotes(t.dtype_name, 40)));
  t.dtype = dtype->dtype;
  const auto bytes = checked_tensor_bytes(dtype->bits, t.shape);
  if (!bytes)
    fail(file, fmt::format("tensor {}: {} has no valid size (above 2^63 - 1 bytes, or not whole bytes)",
                           in_quotes(t.name), t.describe()));
  if (t.begin > t.end)
    fail(file,
         fmt::format("tensor {}: data_offsets [{}, {}] run backwards", in_quotes(t.name), t.begin, t.end));
  if (t.bytes() != *bytes)
    fail(file, fmt::format("tensor {}: {} takes {} bytes, its data_offsets [{}, {}] span {}",
                           in_quotes(t.name), t.describe(), *bytes, t.begin, t.end, t.bytes()));
}

// Every byte of the data belongs to exactly one tensor: sorted by offset, each begins where the last ended.
void check_coverage(const std::vector<TensorInfo>& tensors, int64_t data_bytes, const std::string& file) {
  int64_t end = 0;
  for (const TensorInfo& t : tensors) {
    if (t.begin != end)
      fail(file,
           fmt::format("tensor {}: its data begins at byte {}, expected {}: {}", in_quotes(t.name), t.begin,
                       end, t.begin < end ? "tensors overlap" : "there is a hole between tensors"));
    end = t.end;
  }
  if (end != data_bytes)
    fail(file, fmt::format("the tensors take {} bytes, the file has {} after its header: {}", end, data_bytes,
                           end > data_bytes ? "it is cut off" : "it has bytes that belong to no tensor"));
}

void check_unique_names(const std::vector<TensorInfo>& tensors, const std::string& file) {
  std::vector<std::string_view> names;
  for (const TensorInfo& t : tensors) names.push_back(t.name);
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  if (twice != names.end())
    fail(file, fmt::format("duplicate key {}: two tensors of one name", in_quotes(*twice)));
}

}  // namespace

std::string TensorInfo::describe() const {
  return fmt::format("{} [{}]", dtype_name, fmt::join(shape, ", "));
}

std::optional<int> safetensors_dtype_bits(std::string_view dtype_name) {
  const FormatDType* d = find_dtype(dtype_name);
  return d ? std::optional(d->bits) : std::nullopt;
}

std::optional<DType> dtype_of_safetensors(std::string_view dtype_name) {
  const FormatDType* d = find_dtype(dtype_name);
  return d ? d->dtype : std::nullopt;
}

const char* safetensors_name_of(DType dtype) {
  for (const FormatDType& d : kDTypes)
    if (d.dtype == dtype) return d.name.data();
  throw Error(ErrorKind::usage, fmt::format("safetensors has no dtype for {}", name_of(dtype)));
}

std::optional<int64_t> checked_tensor_bytes(int bits, const std::vector<int64_t>& shape) {
  int64_t total = 1;
  for (const int64_t n : shape)
    if (n < 0 || __builtin_mul_overflow(total, n, &total)) return {};
  // Bits may exceed 63 bits where bytes do not: only sub-byte types need the product in bits.
  if (bits % 8 == 0)
    return __builtin_mul_overflow(total, int64_t{bits / 8}, &total) ? std::nullopt : std::optional(total);
  if (__builtin_mul_overflow(total, int64_t{bits}, &total) || total % 8 != 0) return {};
  return total / 8;
}

SafetensorsHeader parse_safetensors_header(std::string_view header, int64_t data_bytes,
                                           const std::string& name) {
  if (!header.starts_with('{')) fail(name, "the safetensors header must begin with '{'");
  SafetensorsHeader out;
  HeaderHandler handler(header, name, out);
  json_sax::parse(handler);
  for (TensorInfo& t : out.tensors) check_size(t, name);
  check_unique_names(out.tensors, name);
  std::stable_sort(out.tensors.begin(), out.tensors.end(), [](const TensorInfo& a, const TensorInfo& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  check_coverage(out.tensors, data_bytes, name);
  return out;
}

SafetensorsFile SafetensorsFile::open(const std::filesystem::path& path) {
  SafetensorsFile result;
  result.file_ = RegularFile::open(path);
  const RegularFile& file = result.file_;
  const std::string name = path.string();
  if (file.size() < 8) fail(name, fmt::format("{} bytes, a safetensors file has at least 8", file.size()));

  std::array<unsigned char, 8> prefix;
  file.read(0, prefix.data(), 8);
  uint64_t length = 0;
  for (int i = 7; i >= 0; --i) length = length << 8 | prefix[static_cast<size_t>(i)];
  if (length > static_cast<uint64_t>(kMaxSafetensorsHeader))
    fail(name, fmt::format("header of {} bytes, the limit is {}: not a safetensors file?", length,
                           kMaxSafetensorsHeader));
  const auto header_bytes = static_cast<int64_t>(length);
  if (header_bytes > file.size() - 8)
    fail(name,
         fmt::format("header of {} bytes is larger than the file, {} bytes", header_bytes, file.size()));

  std::string header(static_cast<size_t>(header_bytes), '\0');
  file.read(8, header.data(), header_bytes);
  result.data_begin_ = 8 + header_bytes;
  result.header_ = parse_safetensors_header(header, file.size() - result.data_begin_, name);
  for (size_t i = 0; i < result.header_.tensors.size(); ++i)
    result.index_.emplace(result.header_.tensors[i].name, i);
  return result;
}

const TensorInfo* SafetensorsFile::find(std::string_view name) const {
  const auto it = index_.find(name);
  return it == index_.end() ? nullptr : &header_.tensors[it->second];
}

void SafetensorsFile::read(const TensorInfo& tensor, int64_t offset, void* to, int64_t bytes) const {
  if (offset < 0 || bytes < 0 || bytes > tensor.bytes() - offset)
    throw Error(ErrorKind::usage,
                fmt::format("{}: tensor {}: {} bytes from byte {} on asked for, it has {}", path().string(),
                            in_quotes(tensor.name), bytes, offset, tensor.bytes()));
  file_.read(data_begin_ + tensor.begin + offset, to, bytes);
}

}  // namespace octavo
