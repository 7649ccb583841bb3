#include "weights/weight_loader.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <bit>

#include "core/thread_pool.h"
#include "formats/in_quotes.h"
#include "ops/gemm_w8a8/gemm_w8a8.h"
#include "ops/quantize_rows/quantize_rows.h"

namespace octavo {
namespace fs = std::filesystem;
namespace {

constexpr int64_t kBlockBytes = int64_t{8}
                                << 20;  // read at once: large enough for the disk, small beside any model

// Rows that a block holds; at least one.
int64_t block_rows(int64_t row_bytes) {
  return std::max<int64_t>(1, kBlockBytes / std::max<int64_t>(row_bytes, 1));
}

bool is_weight_float(std::optional<DType> type) {
  return type == DType::f32 || type == DType::f16 || type == DType::bf16;
}

template <class From>
void widen_as(const void* from, float* to, int64_t count) {
  for (int64_t i = 0; i < count; ++i) to[i] = to_float(static_cast<const From*>(from)[i]);
}

void widen(DType type, const void* from, float* to, int64_t count) {
  if (type == DType::f32) return widen_as<float>(from, to, count);
  if (type == DType::f16) return widen_as<F16>(from, to, count);
  widen_as<BF16>(from, to, count);
}

int32_t sum_of(const int8_t* codes, int64_t count) {  // count <= kMaxInt8K, so that 32 bits suffice
  int32_t sum = 0;
  for (int64_t k = 0; k < count; ++k) sum += codes[k];
  return sum;
}

}  // namespace

// Where the rows of a part come from.
struct WeightLoader::Source {
  const TensorInfo* weight = nullptr;  // [rows, in_features]
  const TensorInfo* scale = nullptr;   // of an INT8 weight: [rows, 1], [rows], [1] or []
  const TensorInfo* bias = nullptr;    // [rows]
  int64_t rows = 0;
  DType dtype() const { return *weight->dtype; }
};

WeightLoader::WeightLoader(TensorFolder files, QuantizationConfig quantization, const Context& ctx)
    : files_(std::move(files)), quantization_(std::move(quantization)), ctx_(ctx) {}

WeightLoader WeightLoader::open(const fs::path& path, const Context& ctx) {
  TensorFolder files = TensorFolder::open(path);
  const ConfigObject config = ConfigObject::read(files.folder() / "config.json");
  return WeightLoader(std::move(files), read_quantization_config(config), ctx);
}

LinearWeight WeightLoader::load_table(const std::string& module, int64_t rows, int64_t width,
                                      Storage storage) {
  return load_linear({.parts = {{module, rows}}, .in_features = width}, storage);
}

LinearWeight WeightLoader::load_linear(const LinearRequest& request, Storage storage) {
  LinearWeight result;
  result.in_features = request.in_features;
  result.storage = storage;
  result.has_bias = request.bias;
  std::vector<Source> sources;
  for (const LinearPart& part : request.parts) {
    sources.push_back(find_source(part, request.in_features));
    if (request.bias) sources.back().bias = &take(part.module + ".bias", {part.rows});
    result.out_features += part.rows;
  }

  if (storage == Storage::int8) {
    if (request.in_features > kMaxInt8K)
      throw Error(
          ErrorKind::bad_model,
          fmt::format("{}: tensor {} has {} input features, INT8 products allow {}; use --quantization none",
                      files_.main_file().string(), in_quotes(sources.front().weight->name),
                      request.in_features, kMaxInt8K));
    result.dtype = DType::i8;
    result.scales = Buffer(result.out_features * 4);
    result.code_sums = Buffer(result.out_features * 4);
  } else {
    const auto same_type = [&](const Source& s) { return s.dtype() == sources.front().dtype(); };
    const bool as_stored =
        std::all_of(sources.begin(), sources.end(), same_type) && sources.front().dtype() != DType::i8;
    result.dtype = as_stored ? sources.front().dtype() : DType::f32;
  }
  result.elements = Buffer(result.out_features * result.pitch() * size_of(result.dtype));
  if (request.bias) result.bias_values = Buffer(result.out_features * 4);

  int64_t row = 0;
  for (const Source& source : sources) {
    storage == Storage::int8 ? load_int8_rows(source, row, result) : load_float_rows(source, row, result);
    if (source.bias) read_floats(*source.bias, result.bias_values.as<float>() + row);
    row += source.rows;
  }
  return result;
}

FloatVector WeightLoader::load_vector(const std::string& tensor, int64_t size) {
  const TensorInfo& info = take(tensor, {size});
  FloatVector result{size, Buffer(size * 4)};
  read_floats(info, result.values.as<float>());
  return result;
}

const TensorInfo& WeightLoader::take(const std::string& name, const std::vector<int64_t>& shape) {
  const TensorInfo& tensor = files_.at(name);
  const auto fail = [&](const std::string& problem) {
    throw Error(ErrorKind::bad_model, fmt::format("{}: tensor {} {}", files_.file_of(tensor).path().string(),
                                                  in_quotes(name), problem));
  };
  if (tensor.shape != shape)
    fail(fmt::format("is {}, by config.json it should be [{}]", tensor.describe(), fmt::join(shape, ", ")));
  if (!tensor.dtype || !(is_weight_float(tensor.dtype) || tensor.dtype == DType::i8))
    fail(fmt::format("is {}: octavo reads weights of F32, F16, BF16 and I8", tensor.describe()));
  used_.insert(name);
  return tensor;
}

WeightLoader::Source WeightLoader::find_source(const LinearPart& part, int64_t in_features) {
  Source source;
  source.rows = part.rows;
  source.weight = &take(part.module + ".weight", {part.rows, in_features});
  if (source.dtype() != DType::i8) return source;

  const auto fail = [&](const std::string& problem) {
    throw Error(ErrorKind::bad_model,
                fmt::format("{}: tensor {} is {}, {}", files_.file_of(*source.weight).path().string(),
                            in_quotes(source.weight->name), source.weight->describe(), problem));
  };
  if (!quantization_.present) fail("but config.json has no quantization_config");
  if (quantization_.ignores(part.module))
    fail("but quantization_config.ignore lists " + in_quotes(part.module));
  const std::string scale_name = part.module + ".weight_scale";
  if (!has(scale_name)) fail("but there is no " + in_quotes(scale_name));
  const std::vector<int64_t>& shape = files_.at(scale_name).shape;
  const bool one = shape.empty() || shape == std::vector<int64_t>{1} || shape == std::vector<int64_t>{1, 1};
  const bool known = one || shape == std::vector<int64_t>{part.rows};
  source.scale = &take(scale_name, known ? shape : std::vector<int64_t>{part.rows, 1});
  if (has(part.module + ".weight_zero_point")) fail("and has zero points, which octavo does not support");
  return source;
}

void WeightLoader::load_int8_rows(const Source& source, int64_t first_row, LinearWeight& to) {
  const int64_t width = to.in_features, pitch = to.pitch();
  auto* codes = to.elements.as<int8_t>() + first_row * pitch;
  auto* scales = to.scales.as<float>() + first_row;
  auto* sums = to.code_sums.as<int32_t>() + first_row;
  const int64_t row_bytes = width * size_of(source.dtype()),
                step = std::min(block_rows(row_bytes), source.rows);
  if (source.scale) std::ranges::copy(read_scales(source), scales);

  const Buffer block(step * row_bytes);
  for (int64_t row = 0; row < source.rows; row += step) {
    const int64_t rows = std::min(step, source.rows - row);
    read_block(*source.weight, row * row_bytes, block.data(), rows * row_bytes);
    if (!source.scale) {
      quantize_rows(ctx_, {.x = {block.data(), source.dtype(), {rows, width}},
                           .codes = {codes + row * pitch, DType::i8, {rows, width}, {pitch, 1}},
                           .scale = Tensor::of(scales + row, {rows}),
                           .padded_width = pitch,
                           .code_sum = Tensor::of(sums + row, {rows})});
      continue;
    }
    parallel_for(ctx_.pool, rows, 1, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        int8_t* out = codes + (row + r) * pitch;
        std::copy_n(block.as<int8_t>() + r * width, width, out);
        std::fill(out + width, out + pitch, int8_t{0});
        sums[row + r] = sum_of(out, width);
      }
    });
  }
}

void WeightLoader::load_float_rows(const Source& source, int64_t first_row, LinearWeight& to) {
  const int64_t width = to.in_features;
  const int64_t row_bytes = width * size_of(source.dtype());
  auto* out = to.elements.as<char>() + first_row * width * size_of(to.dtype);
  if (source.dtype() == to.dtype) return read_block(*source.weight, 0, out, source.rows * row_bytes);

  const std::vector<float> scales = source.scale ? read_scales(source) : std::vector<float>();
  const int64_t step = std::min(block_rows(row_bytes), source.rows);
  const Buffer block(step * row_bytes);
  auto* values = reinterpret_cast<float*>(out);
  for (int64_t row = 0; row < source.rows; row += step) {
    const int64_t rows = std::min(step, source.rows - row);
    read_block(*source.weight, row * row_bytes, block.data(), rows * row_bytes);
    if (!source.scale) {
      widen(source.dtype(), block.data(), values + row * width, rows * width);
      continue;
    }
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t k = 0; k < width; ++k)
        values[(row + r) * width + k] =
            static_cast<float>(block.as<int8_t>()[r * width + k]) * scales[static_cast<size_t>(row + r)];
  }
}

// One scale per row, f32; a scale of the whole tensor is repeated.
std::vector<float> WeightLoader::read_scales(const Source& source) {
  std::vector<float> scales(static_cast<size_t>(source.rows));
  const int64_t stored = source.scale->bytes() / size_of(*source.scale->dtype);
  std::vector<float> values(static_cast<size_t>(stored));
  read_floats(*source.scale, values.data());
  for (size_t r = 0; r < scales.size(); ++r) scales[r] = values[stored == 1 ? 0 : r];
  return scales;
}

void WeightLoader::read_floats(const TensorInfo& tensor, float* to) {
  if (!is_weight_float(tensor.dtype))
    throw Error(ErrorKind::bad_model, fmt::format("{}: tensor {} is {}, expected F32, F16 or BF16",
                                                  files_.file_of(tensor).path().string(),
                                                  in_quotes(tensor.name), tensor.describe()));
  const Buffer stored(tensor.bytes());
  read_block(tensor, 0, stored.data(), tensor.bytes());
  widen(*tensor.dtype, stored.data(), to, tensor.bytes() / size_of(*tensor.dtype));
}

void WeightLoader::read_block(const TensorInfo& tensor, int64_t offset, void* to, int64_t bytes) {
  for (int64_t done = 0; done < bytes; done += kBlockBytes) {  // in steps for the sake of progress
    const int64_t step = std::min(kBlockBytes, bytes - done);
    files_.read(tensor, offset + done, static_cast<char*>(to) + done, step);
    bytes_read_ += step;
    if (progress_) progress_(bytes_read_, files_.total_bytes());
  }
}

std::vector<std::string> WeightLoader::unused() const {
  std::vector<std::string> names;
  for (const TensorInfo* tensor : files_.tensors())
    if (!used_.contains(tensor->name) && !tensor->name.ends_with(".rotary_emb.inv_freq"))
      names.push_back(tensor->name);
  return names;
}

void WeightLoader::finish() const {
  const std::vector<std::string> names = unused();
  if (names.empty()) return;
  std::string list;
  for (size_t i = 0; i < std::min<size_t>(names.size(), 5); ++i)
    list += (i ? ", " : "") + in_quotes(names[i]);
  if (names.size() > 5) list += fmt::format(" and {} more", names.size() - 5);
  throw Error(ErrorKind::bad_model,
              fmt::format("{}: {} tensor{} that the model of config.json does not use: {}",
                          files_.main_file().string(), names.size(), names.size() == 1 ? "" : "s", list));
}

}  // namespace octavo
