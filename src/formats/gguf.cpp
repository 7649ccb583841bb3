#include "formats/gguf.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>
#include <unordered_set>

#include "core/buffer.h"
#include "core/dtype.h"
#include "formats/in_quotes.h"

namespace octavo {
namespace {

using Json = nlohmann::json;
static_assert(std::endian::native == std::endian::little, "GGUF numbers are copied as they lie");

enum ValueType : uint32_t {
  u8,
  i8,
  u16,
  i16,
  u32,
  i32,
  f32,
  boolean,
  string,
  array,
  u64,
  i64,
  f64,
  kValueTypes
};
constexpr int kValueBytes[kValueTypes] = {1, 1, 2,  2, 4, 4, 4,
                                          1, 8, 12, 8, 8, 8};  // the least that one takes

struct TensorType {
  uint32_t number;
  const char* name;
};
// ggml's numbers. Known by name so that a refusal can say what it refuses.
constexpr TensorType kTensorTypes[] = {
    {0, "F32"},     {1, "F16"},    {2, "Q4_0"},     {3, "Q4_1"},    {6, "Q5_0"},     {7, "Q5_1"},
    {8, kQ8_0},     {9, "Q8_1"},   {10, "Q2_K"},    {11, "Q3_K"},   {12, "Q4_K"},    {13, "Q5_K"},
    {14, "Q6_K"},   {15, "Q8_K"},  {16, "IQ2_XXS"}, {17, "IQ2_XS"}, {18, "IQ3_XXS"}, {19, "IQ1_S"},
    {20, "IQ4_NL"}, {21, "IQ3_S"}, {22, "IQ2_S"},   {23, "IQ4_XS"}, {24, "I8"},      {25, "I16"},
    {26, "I32"},    {27, "I64"},   {28, "F64"},     {29, "IQ1_M"},  {30, "BF16"},    {34, "TQ1_0"},
    {35, "TQ2_0"},  {39, "MXFP4"},
};
constexpr size_t kMaxRank = 4, kMaxKeyBytes = 65535;

// Walks the header front to back through a window, never past the limit or the end of the file.
class Cursor {
 public:
  using Read = std::function<void(int64_t, void*, int64_t)>;
  Cursor(const Read& read, int64_t file_bytes, const std::string& name)
      : read_(read),
        end_(std::min(file_bytes, GgufLimits::kHeaderBytes)),
        file_bytes_(file_bytes),
        name_(name) {}

  [[noreturn]] void fail(const std::string& problem) const {
    throw Error(ErrorKind::bad_model, name_ + ": " + problem);
  }
  int64_t position() const { return position_; }
  int64_t left() const { return end_ - position_; }
  const std::string& name() const { return name_; }

  // Before anything is reserved: `count` items of at least `least_bytes` must be there.
  void expect(uint64_t count, int64_t least_bytes, const std::string& what) const {
    if (count > static_cast<uint64_t>(left() / least_bytes))
      fail(fmt::format("{} {} from byte {} on cannot fit: {} bytes are left{}", count, what, position_,
                       left(),
                       end_ < file_bytes_ ? fmt::format(" of the {} that a header may take", end_) : ""));
  }
  template <class T>
  T number(const std::string& what) {
    T value;
    bytes(&value, sizeof(T), what);
    return value;
  }
  std::string text(int64_t most_bytes, const std::string& what) {
    const auto length = number<uint64_t>(what);
    if (length > static_cast<uint64_t>(most_bytes))
      fail(fmt::format("{} has {} bytes, the limit is {}", what, length, most_bytes));
    expect(length, 1, "bytes of " + what);
    std::string value(static_cast<size_t>(length), '\0');
    bytes(value.data(), static_cast<int64_t>(length), what);
    return value;
  }

 private:
  void bytes(void* to, int64_t count, const std::string& what) {
    if (count > left())
      fail(fmt::format("ends inside {} at byte {}: the file is cut off or its header too large", what, end_));
    auto* out = static_cast<char*>(to);
    while (count > 0) {
      if (position_ >= window_end_) refill();
      const int64_t n = std::min(count, window_end_ - position_);
      std::memcpy(out, window_.data() + (position_ - window_begin_), static_cast<size_t>(n));
      out += n, position_ += n, count -= n;
    }
  }
  void refill() {
    window_begin_ = position_;
    window_.resize(static_cast<size_t>(std::min<int64_t>(left(), 1 << 20)));
    read_(position_, window_.data(), static_cast<int64_t>(window_.size()));
    window_end_ = position_ + static_cast<int64_t>(window_.size());
  }

  const Read& read_;
  const int64_t end_, file_bytes_;
  const std::string& name_;
  std::vector<char> window_;  // bytes [window_begin_, window_end_) of the file
  int64_t position_ = 0, window_begin_ = 0, window_end_ = 0;
};

class MetadataReader {
 public:
  explicit MetadataReader(Cursor& in) : in_(in) {}

  Json read(uint64_t count) {
    in_.expect(count, 8 + 4 + 1, "metadata entries");
    Json all = Json::object();
    for (uint64_t i = 0; i < count; ++i) {
      const std::string key = in_.text(kMaxKeyBytes, fmt::format("the key of metadata entry {}", i));
      if (key.empty()) in_.fail(fmt::format("metadata entry {} has an empty key", i));
      what_ = "metadata " + in_quotes(key);
      const ValueType type = value_type();
      Json value = type == array ? read_array() : read_one(type);
      if (!all.emplace(key, std::move(value)).second)
        in_.fail("duplicate key " + in_quotes(key) + " in the metadata");
    }
    return all;
  }

 private:
  ValueType value_type() {
    const auto type = in_.number<uint32_t>(what_);
    if (type >= kValueTypes)
      in_.fail(fmt::format("{} is of type {}, known are 0 to {}", what_, type, kValueTypes - 1));
    return static_cast<ValueType>(type);
  }
  Json read_array() {
    const ValueType type = value_type();
    if (type == array) in_.fail(what_ + " is an array of arrays, which octavo does not read");
    const auto count = in_.number<uint64_t>(what_);
    in_.expect(count, kValueBytes[type], "items of " + what_);
    items_ += static_cast<int64_t>(count);  // below 2^28: each took a byte of the header
    if (items_ > GgufLimits::kArrayItems)
      in_.fail(fmt::format("{} brings the array items to {}, the limit is {}", what_, items_,
                           GgufLimits::kArrayItems));
    Json values = Json::array();
    for (uint64_t i = 0; i < count; ++i) values.push_back(read_one(type));
    return values;
  }
  Json read_one(ValueType type) {
    switch (type) {
      case u8: return in_.number<uint8_t>(what_);
      case i8: return in_.number<int8_t>(what_);
      case u16: return in_.number<uint16_t>(what_);
      case i16: return in_.number<int16_t>(what_);
      case u32: return in_.number<uint32_t>(what_);
      case i32: return in_.number<int32_t>(what_);
      case f32: return in_.number<float>(what_);
      case u64: return in_.number<uint64_t>(what_);
      case i64: return in_.number<int64_t>(what_);
      case f64: return in_.number<double>(what_);
      case string: return in_.text(GgufLimits::kStringBytes, what_);
      default: break;
    }
    const auto byte = in_.number<uint8_t>(what_);
    if (byte > 1) in_.fail(fmt::format("{} is a truth value of {}, expected 0 or 1", what_, byte));
    return byte == 1;
  }

  Cursor& in_;
  std::string what_;
  int64_t items_ = 0;
};

// Bytes of a tensor of a type that octavo reads.
int64_t tensor_bytes(const TensorInfo& t, const Cursor& in) {
  if (t.dtype_name == kQ8_0) {
    const int64_t width = t.shape.back();
    if (width % kQ8_0Elems != 0)
      in.fail(fmt::format("tensor {} is {}: rows of Q8_0 must be a multiple of {} long", in_quotes(t.name),
                          t.describe(), kQ8_0Elems));
    std::vector<int64_t> blocks = t.shape;
    blocks.back() = width / kQ8_0Elems;
    if (const auto bytes = checked_tensor_bytes(8 * kQ8_0Bytes, blocks)) return *bytes;
  } else if (const auto bytes = checked_tensor_bytes(static_cast<int>(8 * size_of(*t.dtype)), t.shape)) {
    return *bytes;
  }
  in.fail(
      fmt::format("tensor {}: {} has no valid size (above 2^63 - 1 bytes)", in_quotes(t.name), t.describe()));
}

TensorInfo read_tensor_info(Cursor& in, uint64_t index) {
  TensorInfo t;
  t.name = in.text(kMaxKeyBytes, fmt::format("the name of tensor {}", index));
  const std::string what = "tensor " + in_quotes(t.name);
  const auto rank = in.number<uint32_t>(what);
  if (rank < 1 || rank > kMaxRank)
    in.fail(fmt::format("{} has {} dimensions, expected 1 to {}", what, rank, kMaxRank));
  for (uint32_t d = 0; d < rank; ++d) {
    const auto n = in.number<uint64_t>(what);
    if (n < 1 || n > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
      in.fail(fmt::format("{}: dimension {} is {}, expected 1 to 2^63 - 1", what, d, n));
    t.shape.insert(t.shape.begin(),
                   static_cast<int64_t>(n));  // NOTE: GGUF lists the innermost dimension first
  }
  const auto type = in.number<uint32_t>(what);
  const auto known = std::find_if(std::begin(kTensorTypes), std::end(kTensorTypes),
                                  [&](auto& k) { return k.number == type; });
  t.dtype_name = known == std::end(kTensorTypes) ? fmt::format("of the unknown type {}", type) : known->name;
  t.dtype = dtype_of_safetensors(t.dtype_name);  // F32, F16, BF16 have the same names there
  if (t.dtype != DType::f32 && t.dtype != DType::f16 && t.dtype != DType::bf16 && t.dtype_name != kQ8_0)
    in.fail(fmt::format(
        "{} is {}: octavo reads GGUF tensors of F32, F16, BF16 and Q8_0; take such a file of this model",
        what, t.dtype_name));
  const auto offset = in.number<uint64_t>(what);
  const int64_t bytes = tensor_bytes(t, in);
  if (offset > static_cast<uint64_t>(std::numeric_limits<int64_t>::max() - bytes))
    in.fail(fmt::format("{}: {} bytes from byte {} on end beyond 2^63 - 1", what, bytes, offset));
  t.begin = static_cast<int64_t>(offset), t.end = t.begin + bytes;
  return t;
}

// Tensors in the order of their bytes: each begins at the first aligned byte after the one before.
void check_layout(const std::vector<TensorInfo>& tensors, int64_t alignment, int64_t data_bytes,
                  const Cursor& in) {
  int64_t end = 0;
  for (const TensorInfo& t : tensors) {
    const int64_t expected = round_up(end, alignment);
    if (t.begin % alignment != 0)
      in.fail(fmt::format("tensor {} begins at byte {} of the data, which is no multiple of the alignment {}",
                          in_quotes(t.name), t.begin, alignment));
    if (t.begin != expected)
      in.fail(fmt::format("tensor {}: its data begins at byte {}, expected {}: {}", in_quotes(t.name),
                          t.begin, expected,
                          t.begin < expected ? "tensors overlap" : "there is a hole between tensors"));
    if (t.end > data_bytes)
      in.fail(
          fmt::format("tensor {}: its data ends at byte {}, the file has {} after its header: it is cut off",
                      in_quotes(t.name), t.end, std::max<int64_t>(data_bytes, 0)));
    end = t.end;
  }
  if (data_bytes > round_up(end, alignment))
    in.fail(fmt::format(
        "the tensors take {} bytes, the file has {} after its header: it has bytes that belong to no tensor",
        end, data_bytes));
}

void check_unique_names(const std::vector<TensorInfo>& tensors, const Cursor& in) {
  std::unordered_set<std::string_view> names;
  for (const TensorInfo& t : tensors)
    if (!names.insert(t.name).second) in.fail("two tensors are called " + in_quotes(t.name));
}

void check_version(uint32_t version, const Cursor& in) {
  if (version == 2 || version == 3) return;
  if (version == 2u << 24 || version == 3u << 24)
    in.fail("is big-endian; octavo reads little-endian GGUF files");
  in.fail(fmt::format("is GGUF version {}; octavo reads versions 2 and 3", version));
}

int64_t read_alignment(const ConfigObject& metadata) {
  const int64_t alignment = metadata.integer_or("general.alignment", 32, 8, GgufLimits::kMaxAlignment);
  if (!std::has_single_bit(static_cast<uint64_t>(alignment)))
    metadata.fail("general.alignment", "a power of two");
  return alignment;
}

}  // namespace

bool is_gguf(const std::filesystem::path& path) {
  std::error_code ignored;
  return path.extension() == ".gguf" && !std::filesystem::is_directory(path, ignored);
}

GgufHeader parse_gguf_header(const std::function<void(int64_t, void*, int64_t)>& read, int64_t file_bytes,
                             const std::string& name) {
  Cursor in(read, file_bytes, name);
  const auto magic = in.number<std::array<char, 4>>("the magic bytes");
  if (std::string_view(magic.data(), 4) != "GGUF")
    in.fail("begins with " + in_quotes({magic.data(), 4}) + ", expected \"GGUF\"");
  const auto version = in.number<uint32_t>("the version");
  check_version(version, in);
  const auto tensor_count = in.number<uint64_t>("the number of tensors");
  const auto entry_count = in.number<uint64_t>("the number of metadata entries");
  ConfigObject metadata = ConfigObject::of(MetadataReader(in).read(entry_count), name);
  const int64_t alignment = read_alignment(metadata);

  in.expect(tensor_count, 8 + 4 + 8 + 4 + 8, "tensors");
  std::vector<TensorInfo> tensors;
  for (uint64_t i = 0; i < tensor_count; ++i) tensors.push_back(read_tensor_info(in, i));
  check_unique_names(tensors, in);
  std::stable_sort(tensors.begin(), tensors.end(),
                   [](const TensorInfo& a, const TensorInfo& b) { return a.begin < b.begin; });
  const int64_t data_begin = round_up(in.position(), alignment);
  check_layout(tensors, alignment, file_bytes - data_begin, in);
  return {version, std::move(metadata), std::move(tensors), data_begin};
}

GgufFile GgufFile::open(const std::filesystem::path& path) {
  RegularFile file = RegularFile::open(path);
  const auto read = [&](int64_t offset, void* to, int64_t n) { file.read(offset, to, n); };
  GgufHeader header = parse_gguf_header(read, file.size(), path.string());
  return GgufFile(std::move(file), std::move(header));
}

const TensorInfo* GgufFile::find(std::string_view name) const {
  for (const TensorInfo& t : header_.tensors)
    if (t.name == name) return &t;
  return nullptr;
}

void GgufFile::read(const TensorInfo& tensor, int64_t offset, void* to, int64_t bytes) const {
  if (offset < 0 || bytes < 0 || bytes > tensor.bytes() - offset)
    throw Error(ErrorKind::usage,
                fmt::format("{}: tensor {}: {} bytes from byte {} on asked for, it has {}", path().string(),
                            in_quotes(tensor.name), bytes, offset, tensor.bytes()));
  file_.read(header_.data_begin + tensor.begin + offset, to, bytes);
}

void dequantize_q8_0(const void* blocks, float* to, int64_t count) {
  const auto* block = static_cast<const char*>(blocks);
  for (int64_t i = 0; i < count; i += kQ8_0Elems, block += kQ8_0Bytes) {
    F16 scale;
    std::memcpy(&scale, block, sizeof(scale));
    const float s = to_float(scale);
    for (int64_t k = 0; k < kQ8_0Elems; ++k)
      to[i + k] = s * static_cast<float>(static_cast<int8_t>(block[2 + k]));
  }
}

}  // namespace octavo
