#include "weights/weight_loader.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <bit>
#include <limits>
#include <numeric>

#include "core/thread_pool.h"
#include "formats/in_quotes.h"
#include "ops/gemm_w8a8/gemm_w8a8.h"
#include "ops/quantize_rows/quantize_rows.h"
#include "weights/widen.h"

namespace octavo {
namespace fs = std::filesystem;
namespace {

constexpr int64_t kBlockBytes = int64_t{8}
                                << 20;  // read at once: large enough for the disk, small beside any model

// Rows that a block holds; at least one.
int64_t block_rows(int64_t row_bytes) {
  return std::max<int64_t>(1, kBlockBytes / std::max<int64_t>(row_bytes, 1));
}

int32_t sum_of(const int8_t* codes, int64_t count) {  // count <= kMaxInt8K, so that 32 bits suffice
  int32_t sum = 0;
  for (int64_t k = 0; k < count; ++k) sum += codes[k];
  return sum;
}

}  // namespace

std::vector<std::string> checkpoint_notes(const fs::path& model) {
  std::vector<std::string> notes = read_quantization_config(read_model_config(model)).notes();
  if (!is_gguf(model)) return notes;
  const TensorFolder files = TensorFolder::open(model);
  const auto tensors = files.tensors();
  const auto blocks =
      std::count_if(tensors.begin(), tensors.end(), [](const TensorInfo* t) { return is_q8_0(*t); });
  if (blocks > 0)
    notes.push_back(
        fmt::format("{} of {} tensors are Q8_0 (a scale for 32 elements): quantised anew with one scale for "
                    "each row; --quantization none keeps their values",
                    blocks, tensors.size()));
  return notes;
}

// Where the rows of a part come from.
struct WeightLoader::Source {
  const TensorInfo* weight = nullptr;  // [rows, in_features]
  const TensorInfo* scale = nullptr;   // of an INT8 weight: [rows, 1], [rows], [1] or []
  float scale_divisor = 1;             // bitsandbytes: 127
  const TensorInfo* bias = nullptr;    // [rows]
  int64_t rows = 0;
  Buffer turned;  // [rows, in_features] in the file's type: of a transposed weight, which is read at once
  bool blocks() const { return is_q8_0(*weight); }
  DType dtype() const { return blocks() ? DType::f32 : *weight->dtype; }  // once it is read
  int64_t row_bytes() const { return weight->bytes() / rows; }            // in the file
};

WeightLoader::WeightLoader(TensorFolder files, QuantizationConfig quantization, const Context& ctx)
    : files_(std::move(files)), quantization_(std::move(quantization)), ctx_(ctx) {}

WeightLoader WeightLoader::open(const fs::path& path, const Context& ctx) {
  TensorFolder files = TensorFolder::open(path);
  const ConfigObject config = read_model_config(path);
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
    sources.push_back(find_source(part, request.in_features, request.transposed));
    if (request.bias) sources.back().bias = &take(part.module + ".bias", {part.rows});
    result.out_features += part.rows;
    result.name += (result.name.empty() ? "" : "+") + part.module;
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

void WeightLoader::fail_at(const TensorInfo& tensor, const std::string& problem) const {
  throw Error(ErrorKind::bad_model, fmt::format("{}: tensor {} is {}, {}", files_.path_of(tensor).string(),
                                                in_quotes(tensor.name), tensor.describe(), problem));
}

const TensorInfo& WeightLoader::take(const std::string& name, const std::vector<int64_t>& shape) {
  const TensorInfo& tensor = files_.at(name);
  const auto fail = [&](const std::string& problem) {
    throw Error(ErrorKind::bad_model,
                fmt::format("{}: tensor {} {}", files_.path_of(tensor).string(), in_quotes(name), problem));
  };
  if (tensor.shape != shape)
    fail(fmt::format("is {}, by config.json it should be [{}]", tensor.describe(), fmt::join(shape, ", ")));
  if (!is_float_tensor(tensor) && tensor.dtype != DType::i8 && !is_q8_0(tensor))
    fail(fmt::format("is {}: octavo reads weights of F32, F16, BF16 and I8", tensor.describe()));
  used_.insert(name);
  return tensor;
}

WeightLoader::Source WeightLoader::find_source(const LinearPart& part, int64_t in_features, bool transposed) {
  Source source;
  source.rows = part.rows;
  source.weight = transposed ? &take(part.module + ".weight", {in_features, part.rows})
                             : &take(part.module + ".weight", {part.rows, in_features});
  const auto fail = [&](const std::string& problem) { fail_at(*source.weight, problem); };
  if (transposed && !is_float_tensor(*source.weight))
    fail("but this model stores this weight transposed, which octavo reads in floats only");
  if (transposed) source.turned = read_transposed(*source.weight);
  if (source.dtype() != DType::i8) return source;

  if (!quantization_.present()) fail("but config.json has no quantization_config");
  const bool bitsandbytes = quantization_.layout == QuantizationConfig::Layout::bitsandbytes;
  if (quantization_.ignores(part.module))
    fail(fmt::format("but quantization_config.{} lists {}", bitsandbytes ? "llm_int8_skip_modules" : "ignore",
                     in_quotes(part.module)));
  bitsandbytes ? find_bitsandbytes_scale(part.module, source) : find_compressed_scale(part.module, source);
  return source;
}

void WeightLoader::find_compressed_scale(const std::string& module, Source& source) {
  const std::string name = module + ".weight_scale";
  if (!has(name)) fail_at(*source.weight, "but there is no " + in_quotes(name));
  const std::vector<int64_t>& shape = files_.at(name).shape;
  const bool one = shape.empty() || shape == std::vector<int64_t>{1} || shape == std::vector<int64_t>{1, 1};
  const bool known = one || shape == std::vector<int64_t>{source.rows};
  source.scale = &take(name, known ? shape : std::vector<int64_t>{source.rows, 1});
  if (has(module + ".weight_zero_point"))
    fail_at(*source.weight, "and has zero points, which octavo does not support");
  if (quantization_.static_activations) {  // known and not needed, see quantization_config.h
    ignore(module + ".input_scale");
    ignore(module + ".input_zero_point");
  }
}

void WeightLoader::find_bitsandbytes_scale(const std::string& module, Source& source) {
  const std::string name = module + ".SCB", format_name = module + ".weight_format";
  if (!has(name)) fail_at(*source.weight, "but there is no " + in_quotes(name));
  source.scale = &take(name, {source.rows});
  source.scale_divisor = 127;
  if (!has(format_name)) return;
  const TensorInfo& format = files_.at(format_name);
  ignore(format_name);
  if (format.dtype != DType::u8 || format.bytes() != 1) fail_at(format, "expected one U8");
  uint8_t code = 0;
  files_.read(format, 0, &code, 1);
  if (code != 0)
    fail_at(format, fmt::format("and says {}: octavo reads weights stored row by row (0)", code));
}

void WeightLoader::load_int8_rows(const Source& source, int64_t first_row, LinearWeight& to) {
  const int64_t width = to.in_features, pitch = to.pitch(), row_bytes = source.row_bytes(),
                step = std::min(block_rows(row_bytes), source.rows);
  auto* codes = to.elements.as<int8_t>() + first_row * pitch;
  auto* scales = to.scales.as<float>() + first_row;
  auto* sums = to.code_sums.as<int32_t>() + first_row;
  if (source.scale) std::ranges::copy(read_scales(source), scales);

  const Buffer block(step * row_bytes), floats(source.blocks() ? step * width * 4 : 0);
  for (int64_t row = 0; row < source.rows; row += step) {
    const int64_t rows = std::min(step, source.rows - row);
    read_rows(source, row, rows, block.data());
    if (!source.scale) {
      if (source.blocks()) widen(*source.weight, block.data(), floats.as<float>(), rows * width);
      const void* values = source.blocks() ? floats.data() : block.data();
      quantize_rows(ctx_, {.x = {values, source.dtype(), {rows, width}},
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
  const int64_t width = to.in_features, row_bytes = source.row_bytes();
  auto* out = to.elements.as<char>() + first_row * width * size_of(to.dtype);
  if (source.dtype() == to.dtype && !source.blocks()) return read_rows(source, 0, source.rows, out);

  const std::vector<float> scales = source.scale ? read_scales(source) : std::vector<float>();
  const int64_t step = std::min(block_rows(row_bytes), source.rows);
  const Buffer block(step * row_bytes);
  auto* values = reinterpret_cast<float*>(out);
  for (int64_t row = 0; row < source.rows; row += step) {
    const int64_t rows = std::min(step, source.rows - row);
    read_rows(source, row, rows, block.data());
    if (!source.scale) {
      widen(*source.weight, block.data(), values + row * width, rows * width);
      continue;
    }
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t k = 0; k < width; ++k)
        values[(row + r) * width + k] =
            static_cast<float>(block.as<int8_t>()[r * width + k]) * scales[static_cast<size_t>(row + r)];
  }
}

void WeightLoader::read_rows(const Source& source, int64_t row, int64_t rows, void* to) {
  const int64_t row_bytes = source.row_bytes();
  if (source.turned.bytes() == 0) return read_block(*source.weight, row * row_bytes, to, rows * row_bytes);
  std::copy_n(source.turned.as<uint8_t>() + row * row_bytes, rows * row_bytes, static_cast<uint8_t*>(to));
}

// [columns, rows] of the file as [rows, columns].
Buffer WeightLoader::read_transposed(const TensorInfo& tensor) {
  const int64_t columns = tensor.shape[0], rows = tensor.shape[1], size = size_of(*tensor.dtype);
  const int64_t step = std::min(block_rows(rows * size), columns);
  Buffer result(tensor.bytes());
  const Buffer block(step * rows * size);
  for (int64_t first = 0; first < columns; first += step) {
    const int64_t count = std::min(step, columns - first);
    read_block(tensor, first * rows * size, block.data(), count * rows * size);
    const auto turn = [&]<class Element>(Element) {
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t c = 0; c < count; ++c)
          result.as<Element>()[r * columns + first + c] = block.as<Element>()[c * rows + r];
    };
    size == 4 ? turn(uint32_t{}) : turn(uint16_t{});
  }
  return result;
}

// One scale per row, f32; a scale of the whole tensor is repeated.
std::vector<float> WeightLoader::read_scales(const Source& source) {
  const TensorInfo& tensor = *source.scale;
  std::vector<float> values(tensor.shape.empty() ? 1 : static_cast<size_t>(tensor.shape[0]));
  read_floats(tensor, values.data());
  for (size_t i = 0; i < values.size(); ++i)
    if (!(values[i] >= 0 && values[i] <= std::numeric_limits<float>::max()))
      fail_at(tensor,
              fmt::format("and its scale {} is {}: scales are finite and not negative", i, values[i]));
  std::vector<float> scales(static_cast<size_t>(source.rows));
  for (size_t r = 0; r < scales.size(); ++r)
    scales[r] = values[values.size() == 1 ? 0 : r] / source.scale_divisor;
  return scales;
}

void WeightLoader::read_floats(const TensorInfo& tensor, float* to) {
  if (tensor.dtype == DType::i8) fail_at(tensor, "expected F32, F16 or BF16");
  const Buffer stored(tensor.bytes());
  read_block(tensor, 0, stored.data(), tensor.bytes());
  widen(tensor, stored.data(), to,
        std::accumulate(tensor.shape.begin(), tensor.shape.end(), int64_t{1}, std::multiplies<>()));
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
