#include "weights/checkpoint_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "core/buffer.h"
#include "formats/atomic_file.h"
#include "formats/in_quotes.h"
#include "formats/json_file.h"
#include "formats/safetensors_writer.h"
#include "formats/tensor_folder.h"
#include "ops/gemm_w8a8/gemm_w8a8.h"
#include "ops/quantize_rows/quantize_rows.h"
#include "weights/quantization_config.h"
#include "weights/widen.h"

namespace octavo {
namespace fs = std::filesystem;
namespace {

constexpr int64_t kBlockBytes = int64_t{8} << 20;
constexpr std::string_view kWeight = ".weight";

[[noreturn]] void fail(ErrorKind kind, const fs::path& path, const std::string& problem) {
  throw Error(kind, path.string() + ": " + problem);
}

// One tensor of the input and what becomes of it.
struct Step {
  const TensorInfo* tensor;
  bool quantized;
  int64_t bytes_out;
};

bool is_quantizable(const TensorInfo& t, const CheckpointOptions& options) {
  if (t.shape.size() != 2 || !t.name.ends_with(kWeight)) return false;
  if (!is_float_tensor(t) && !is_q8_0(t)) return false;
  const std::string module = t.name.substr(0, t.name.size() - kWeight.size());
  return options.is_linear(module) &&
         std::find(options.ignore.begin(), options.ignore.end(), module) == options.ignore.end();
}

std::vector<Step> plan_steps(const TensorFolder& files, const CheckpointOptions& options) {
  std::vector<Step> steps;
  for (const TensorInfo* t : files.tensors()) {
    const bool quantized = is_quantizable(*t, options);
    if (quantized && t->shape[1] > kMaxInt8K)
      fail(ErrorKind::bad_model, files.path_of(*t),
           fmt::format(
               "tensor {} has {} input features, INT8 products allow {}; add it to the ignored modules",
               in_quotes(t->name), t->shape[1], kMaxInt8K));
    if (quantized && files.find(t->name + "_scale"))
      fail(ErrorKind::bad_model, files.path_of(*t),
           fmt::format("tensor {} has a scale already", in_quotes(t->name)));
    const int64_t as_stored = is_q8_0(*t) ? t->bytes() / kQ8_0Bytes * kQ8_0Elems * 4 : t->bytes();
    steps.push_back({t, quantized, quantized ? t->shape[0] * (t->shape[1] + 4) : as_stored});
  }
  return steps;
}

// Consecutive steps of at most shard_bytes together, at least one each.
std::vector<std::vector<Step>> split_into_shards(const std::vector<Step>& steps, int64_t shard_bytes) {
  std::vector<std::vector<Step>> shards(1);
  int64_t size = 0;
  for (const Step& step : steps) {
    if (!shards.back().empty() && size + step.bytes_out > shard_bytes) shards.emplace_back(), size = 0;
    shards.back().push_back(step);
    size += step.bytes_out;
  }
  return shards;
}

std::string shard_name(size_t i, size_t count) {
  return count == 1 ? "model.safetensors" : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, count);
}

std::vector<TensorSpec> specs_of(const std::vector<Step>& shard) {
  std::vector<TensorSpec> specs;
  for (const auto& [t, quantized, bytes] : shard) {
    specs.push_back({t->name, quantized ? "I8" : is_q8_0(*t) ? "F32" : t->dtype_name, t->shape});
    if (quantized) specs.push_back({t->name + "_scale", "F32", {t->shape[0], 1}});
  }
  return specs;
}

std::map<std::string, std::string> metadata_of(const TensorFolder& files) {
  std::map<std::string, std::string> metadata;
  if (!files.gguf()) metadata = files.files().front().metadata();
  metadata["format"] = "pt";  // transformers asks for it
  return metadata;
}

// Streams the tensors from the input to their writers.
class Converter {
 public:
  Converter(const TensorFolder& files, const Context& ctx, const CheckpointOptions& options)
      : files_(files), ctx_(ctx), options_(options), total_(files.total_bytes()) {}

  void convert(const std::vector<Step>& shard, SafetensorsWriter& to) {
    for (const Step& step : shard) step.quantized ? quantize(*step.tensor, to) : copy(*step.tensor, to);
  }

 private:
  void copy(const TensorInfo& t, SafetensorsWriter& to) {
    if (is_q8_0(t)) return copy_widened(t, to);
    const Buffer block(std::min(kBlockBytes, t.bytes()));
    for (int64_t at = 0; at < t.bytes(); at += kBlockBytes) {
      const int64_t bytes = std::min(kBlockBytes, t.bytes() - at);
      read(t, at, block, bytes);
      to.append(t.name, block.data(), bytes);
    }
  }
  // safetensors has no Q8_0: such a tensor becomes F32, without loss.
  void copy_widened(const TensorInfo& t, SafetensorsWriter& to) {
    const int64_t step = kBlockBytes / kQ8_0Bytes;  // Q8_0 blocks
    const Buffer block(step * kQ8_0Bytes), floats(step * kQ8_0Elems * 4);
    for (int64_t at = 0; at < t.bytes(); at += step * kQ8_0Bytes) {
      const int64_t bytes = std::min(step * kQ8_0Bytes, t.bytes() - at),
                    elems = bytes / kQ8_0Bytes * kQ8_0Elems;
      read(t, at, block, bytes);
      widen(t, block.data(), floats.as<float>(), elems);
      to.append(t.name, floats.data(), elems * 4);
    }
  }
  void quantize(const TensorInfo& t, SafetensorsWriter& to) {
    const int64_t rows = t.shape[0], width = t.shape[1], row_bytes = rows > 0 ? t.bytes() / rows : 0;
    const DType dtype = is_q8_0(t) ? DType::f32 : *t.dtype;
    const int64_t step =
        std::clamp<int64_t>(kBlockBytes / std::max<int64_t>(row_bytes, 1), 1, std::max<int64_t>(rows, 1));
    const Buffer block(step * row_bytes), codes(step * width), scales(rows * 4);
    const Buffer floats(is_q8_0(t) ? step * width * 4 : 0);
    for (int64_t row = 0; row < rows; row += step) {
      const int64_t n = std::min(step, rows - row);
      read(t, row * row_bytes, block, n * row_bytes);
      if (is_q8_0(t)) widen(t, block.data(), floats.as<float>(), n * width);
      quantize_rows(ctx_, {.x = {is_q8_0(t) ? floats.data() : block.data(), dtype, {n, width}},
                           .codes = {codes.data(), DType::i8, {n, width}},
                           .scale = Tensor::of(scales.as<float>() + row, {n})});
      to.append(t.name, codes.data(), n * width);
    }
    for (int64_t row = 0; row < rows; ++row)
      if (std::isnan(scales.as<float>()[row]))
        fail(ErrorKind::bad_model, files_.path_of(t),
             fmt::format("tensor {} holds NaN or Inf in row {}: the model is damaged", in_quotes(t.name),
                         row));
    to.append(t.name + "_scale", scales.data(), rows * 4);
  }
  void read(const TensorInfo& t, int64_t offset, const Buffer& block, int64_t bytes) {
    files_.read(t, offset, block.data(), bytes);
    done_ += bytes;
    if (options_.progress) options_.progress(done_, total_);
  }

  const TensorFolder& files_;
  const Context& ctx_;
  const CheckpointOptions& options_;
  int64_t done_ = 0, total_;
};

// The target folder: made when missing (with its parents), and unmade again unless kept.
class TargetFolder {
 public:
  explicit TargetFolder(const fs::path& path) : path_(path) {
    std::vector<fs::path> missing;
    for (fs::path p = path; !p.empty() && !fs::exists(p); p = p.parent_path()) missing.push_back(p);
    for (auto p = missing.rbegin(); p != missing.rend(); ++p) {
      std::error_code error;
      if (!fs::create_directory(*p, error) && error) {
        remove_made();
        fail(ErrorKind::runtime, *p, "folder cannot be made: " + error.message());
      }
      made_.push_back(*p);
    }
  }
  ~TargetFolder() { remove_made(); }
  TargetFolder(const TargetFolder&) = delete;
  void keep() {
    for (const fs::path& p : made_) sync_folder(p.parent_path());
    made_.clear();
  }

 private:
  void remove_made() {
    std::error_code ignored;
    for (; !made_.empty(); made_.pop_back()) fs::remove(made_.back(), ignored);  // only when empty
  }
  fs::path path_;
  std::vector<fs::path> made_;
};

fs::path without_trailing_slash(const fs::path& path) {
  return path.has_filename() ? path : path.parent_path();
}

bool is_model_file(const fs::path& name) {
  return name == "config.json" || name.extension() == ".safetensors" ||
         name.string().ends_with(".safetensors.index.json");
}

void check_target(const TensorFolder& files, const fs::path& to, bool force) {
  if (!fs::exists(to)) return;
  if (!fs::is_directory(to)) fail(ErrorKind::usage, to, "is a file; the target must be a folder");
  if (fs::equivalent(files.folder(), to))
    fail(ErrorKind::usage, to, "is the input folder; write to another one");
  if (fs::is_empty(to)) return;
  if (!force)
    fail(ErrorKind::usage, to,
         "is not empty; choose another folder or pass --force to replace the model in it");
  for (const auto& entry : fs::directory_iterator(to))
    if (files.reads_from(entry.path()))
      fail(ErrorKind::usage, entry.path(), "is the input file itself; write to another folder");
}

std::string index_of(const std::vector<std::vector<Step>>& shards, int64_t total) {
  nlohmann::json index = {{"metadata", {{"total_size", total}}}, {"weight_map", nlohmann::json::object()}};
  for (size_t i = 0; i < shards.size(); ++i)
    for (const TensorSpec& spec : specs_of(shards[i]))
      index["weight_map"][spec.name] = shard_name(i, shards.size());
  return index.dump(2) + '\n';
}

AtomicFile staged_copy(const fs::path& from, const fs::path& to) {
  const RegularFile file = RegularFile::open(from);
  AtomicFile copy(to, file.size());
  const Buffer block(std::min(kBlockBytes, file.size()));
  for (int64_t at = 0; at < file.size(); at += kBlockBytes) {
    const int64_t bytes = std::min(kBlockBytes, file.size() - at);
    file.read(at, block.data(), bytes);
    copy.write(at, block.data(), bytes);
  }
  copy.seal();
  return copy;
}

AtomicFile staged_text(const fs::path& to, const std::string& text) {
  AtomicFile file(to, static_cast<int64_t>(text.size()));
  file.write(0, text.data(), static_cast<int64_t>(text.size()));
  file.seal();
  return file;
}

// What an earlier model left in the folder and the new one does not overwrite would be taken for a part of it.
void remove_old_model(const fs::path& to) {
  std::vector<fs::path> old;
  for (const auto& entry : fs::directory_iterator(to))
    if (is_model_file(entry.path().filename())) old.push_back(entry.path());
  // config.json goes first: from here on the folder is no model until the new config.json is in place.
  std::sort(old.begin(), old.end(), [](const fs::path& a, const fs::path& b) {
    return (a.filename() == "config.json") > (b.filename() == "config.json");
  });
  for (const fs::path& file : old) fs::remove(file);
  if (!old.empty()) sync_folder(to);
}

// Renames all into place, the weights first and config.json last; when one fails, those before it go again.
std::vector<std::string> commit_all(std::vector<SafetensorsWriter>& weights,
                                    std::vector<AtomicFile>& others) {
  std::vector<fs::path> done;
  try {
    for (SafetensorsWriter& file : weights) {
      file.commit();
      done.push_back(file.target());
    }
    for (AtomicFile& file : others) {
      file.commit();
      done.push_back(file.target());
    }
  } catch (...) {
    std::error_code ignored;
    for (const fs::path& file : done) fs::remove(file, ignored);
    throw;
  }
  std::vector<std::string> names;
  for (const fs::path& file : done) names.push_back(file.filename().string());
  return names;
}

// Tokenizer, generation settings, licence of the input, staged in the target folder.
std::vector<AtomicFile> stage_side_files(const fs::path& from, const fs::path& to) {
  std::vector<fs::path> names;
  for (const auto& entry : fs::directory_iterator(from))
    if (entry.is_regular_file() && is_side_file(entry.path().filename()))
      names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  std::vector<AtomicFile> staged;
  for (const fs::path& name : names) staged.push_back(staged_copy(from / name, to / name));
  return staged;
}

}  // namespace

// NOTE: a report of an earlier quantisation describes other weights.
bool is_side_file(const fs::path& name) {
  const std::string text = name.string(), extension = name.extension().string();
  if (text == "config.json" || text.ends_with(".index.json") || text.starts_with(".") ||
      text == "octavo_report.json")
    return false;
  if (text.starts_with("LICENSE") || text.starts_with("NOTICE")) return true;
  return extension == ".json" || extension == ".txt" || extension == ".model" || extension == ".jinja";
}

bool looks_like_linear(std::string_view module) {
  const std::string_view last = module.substr(module.rfind('.') + 1);
  for (const std::string_view part :
       {"embed", "norm", "conv", "wte", "wpe", "shared", "c_attn", "c_proj", "c_fc"})
    if (last.find(part) != last.npos) return false;
  return true;
}

CheckpointSummary write_int8_checkpoint(const fs::path& from, const fs::path& to_path, const Context& ctx,
                                        const CheckpointOptions& options) {
  const fs::path to = without_trailing_slash(to_path);
  const TensorFolder files = TensorFolder::open(from);
  const ConfigObject config = read_model_config(from);
  if (read_quantization_config(config).present())
    config.fail("quantization_config", "none: the model is quantised already");
  const std::vector<Step> steps = plan_steps(files, options);
  if (std::none_of(steps.begin(), steps.end(), [](const Step& s) { return s.quantized; }))
    fail(ErrorKind::bad_model, files.main_file(), "has no tensor of a Linear layer to quantise");
  check_target(files, to, options.force);

  CheckpointSummary summary;
  for (const Step& step : steps) {
    ++(step.quantized ? summary.quantized_tensors : summary.copied_tensors);
    summary.bytes_in += step.tensor->bytes();
    summary.bytes_out += step.bytes_out;
  }

  TargetFolder target(to);
  const std::vector<std::vector<Step>> shards = split_into_shards(steps, options.shard_bytes);
  std::vector<SafetensorsWriter>
      writers;  // all of them first: a disk that is too full is known before any work
  for (size_t i = 0; i < shards.size(); ++i)
    writers.emplace_back(to / shard_name(i, shards.size()), specs_of(shards[i]), metadata_of(files));
  std::vector<AtomicFile> others;
  if (!files.gguf()) others = stage_side_files(files.folder(), to);
  for (const auto& [name, text] : options.extra_files) others.push_back(staged_text(to / name, text));
  if (shards.size() > 1)
    others.push_back(staged_text(to / "model.safetensors.index.json", index_of(shards, summary.bytes_out)));
  nlohmann::json new_config = config.json();
  new_config["quantization_config"] = make_quantization_config(options.ignore);
  others.push_back(staged_text(to / "config.json", new_config.dump(2) + '\n'));

  Converter converter(files, ctx, options);
  for (size_t i = 0; i < shards.size(); ++i) {
    converter.convert(shards[i], writers[i]);
    writers[i].seal();
  }

  if (options.force) remove_old_model(to);
  summary.files = commit_all(writers, others);
  target.keep();
  return summary;
}

}  // namespace octavo
