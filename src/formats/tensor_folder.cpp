#include "formats/tensor_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"
#include "formats/in_quotes.h"
#include "formats/json_file.h"

namespace octavo {
namespace fs = std::filesystem;
namespace {

constexpr int64_t kMaxIndexBytes = int64_t{256} << 20;

[[noreturn]] void fail(const fs::path& file, const std::string& problem) {
  throw Error(ErrorKind::bad_model, file.string() + ": " + problem);
}

void check_shard_name(const std::string& name, const fs::path& index) {
  const bool plain = !name.empty() && name != "." && name != ".." && name.find('/') == name.npos &&
                     name.find('\\') == name.npos && name.find('\0') == name.npos;
  if (!plain)
    fail(index, fmt::format("shard name {} leads outside the folder; it must be a plain file name",
                            in_quotes(name)));
}

[[noreturn]] void fail_no_weights(const fs::path& folder) {
  std::string found;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, ignored)) {
    const std::string extension = entry.path().extension().string();
    if (extension == ".bin" || extension == ".gguf" || extension == ".pt" || extension == ".pth" ||
        extension == ".safetensors")
      found = "; it has " + in_quotes(entry.path().filename().string());
  }
  fail(folder, "no model.safetensors and no model.safetensors.index.json here" + found);
}

size_t common_prefix(std::string_view a, std::string_view b) {
  return static_cast<size_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
}

}  // namespace

TensorFolder TensorFolder::open(const fs::path& path) {
  TensorFolder result;
  std::error_code ignored;
  if (!fs::exists(path, ignored)) fail(path, "no such file or folder");
  if (!fs::is_directory(path, ignored)) {
    result.folder_ = path.has_parent_path() ? path.parent_path() : fs::path(".");
    result.main_file_ = path;
    is_gguf(path) ? result.open_gguf(path) : result.add_file(SafetensorsFile::open(path));
    return result;
  }
  result.folder_ = path;
  if (const fs::path single = path / "model.safetensors"; fs::exists(fs::symlink_status(single, ignored))) {
    result.main_file_ = single;
    result.add_file(SafetensorsFile::open(single));
  } else if (const fs::path index = path / "model.safetensors.index.json";
             fs::exists(fs::symlink_status(index, ignored))) {
    result.main_file_ = index;
    result.open_shards(index);
  } else {
    fail_no_weights(path);
  }
  return result;
}

void TensorFolder::open_shards(const fs::path& index) {
  const ConfigObject json = ConfigObject::read(index, {.max_bytes = kMaxIndexBytes, .max_depth = 8});
  const ConfigObject map = json.object("weight_map");
  std::set<std::string> shards;
  for (const auto& [tensor, shard] : map.json().items()) {
    if (!shard.is_string()) map.fail(tensor, "the file name of a shard");
    check_shard_name(shard.get_ref<const std::string&>(), index);
    shards.insert(shard.get<std::string>());
  }
  for (const std::string& shard : shards) add_file(SafetensorsFile::open(folder_ / shard));

  for (const auto& [tensor, shard] : map.json().items()) {
    const auto it = places_.find(tensor);
    const fs::path file = folder_ / shard.get<std::string>();
    if (it == places_.end())
      fail(index, fmt::format("tensor {} is not in {}", in_quotes(tensor), file.filename().string()));
    const fs::path& holder = files_[it->second.file].path();
    if (holder != file)
      fail(index, fmt::format("tensor {} is said to be in {}, but is in {}", in_quotes(tensor),
                              file.filename().string(), holder.filename().string()));
  }
  for (const auto& [tensor, place] : places_)
    if (!map.json().contains(tensor))
      fail(index, fmt::format("tensor {} of {} is not listed", in_quotes(tensor),
                              files_[place.file].path().filename().string()));
}

void TensorFolder::open_gguf(const fs::path& path) {
  gguf_ = std::make_unique<GgufFile>(GgufFile::open(path));
  gguf_tensors_ = gguf_model_tensors(*gguf_);
  for (size_t i = 0; i < gguf_tensors_.size(); ++i) places_.emplace(gguf_tensors_[i].info.name, Place{0, i});
}

void TensorFolder::add_file(SafetensorsFile file) {
  files_.push_back(std::move(file));
  const SafetensorsFile& added = files_.back();
  for (size_t i = 0; i < added.tensors().size(); ++i) {
    const std::string& name = added.tensors()[i].name;
    const auto [it, is_new] = places_.emplace(name, Place{files_.size() - 1, i});
    if (!is_new)
      fail(added.path(), fmt::format("tensor {} is also in {}", in_quotes(name),
                                     files_[it->second.file].path().filename().string()));
  }
}

const TensorInfo* TensorFolder::find(std::string_view name) const {
  const auto it = places_.find(std::string(name));
  if (it == places_.end()) return nullptr;
  const auto [file, tensor] = it->second;
  return gguf_ ? &gguf_tensors_[tensor].info : &files_[file].tensors()[tensor];
}

const TensorInfo& TensorFolder::at(std::string_view name) const {
  if (const TensorInfo* tensor = find(name)) return *tensor;
  const TensorInfo* nearest = nullptr;
  for (const TensorInfo* t : tensors())
    if (!nearest || common_prefix(name, t->name) > common_prefix(name, nearest->name)) nearest = t;
  fail(main_file_, fmt::format("has no tensor {}{}", in_quotes(name),
                               nearest ? "; the nearest name is " + in_quotes(nearest->name)
                                       : std::string("; it has none at all")));
}

std::vector<const TensorInfo*> TensorFolder::tensors() const {
  std::vector<const TensorInfo*> all;
  for (const GgufTensor& tensor : gguf_tensors_) all.push_back(&tensor.info);
  for (const SafetensorsFile& file : files_)
    for (const TensorInfo& tensor : file.tensors()) all.push_back(&tensor);
  return all;
}

int64_t TensorFolder::total_bytes() const {
  int64_t sum = 0;  // cannot overflow: no more than the sizes of files that exist
  for (const TensorInfo* tensor : tensors()) sum += tensor->bytes();
  return sum;
}

const fs::path& TensorFolder::path_of(const TensorInfo& tensor) const {
  return gguf_ ? gguf_->path() : files_[places_.at(tensor.name).file].path();
}

bool TensorFolder::reads_from(const fs::path& file) const {
  return (gguf_ && gguf_->same_file(file)) ||
         std::any_of(files_.begin(), files_.end(),
                     [&](const SafetensorsFile& f) { return f.same_file(file); });
}

void TensorFolder::read(const TensorInfo& tensor, int64_t offset, void* to, int64_t bytes) const {
  const Place place = places_.at(tensor.name);
  if (!gguf_) return files_[place.file].read(tensor, offset, to, bytes);
  const int64_t head_rows = gguf_tensors_[place.tensor].head_rows;
  if (head_rows == 0) return gguf_->read(tensor, offset, to, bytes);
  const int64_t row_bytes = tensor.bytes() / tensor.shape[0];
  for (int64_t done = 0; done < bytes;) {  // row by row, each from where the file has it
    const int64_t row = (offset + done) / row_bytes, in_row = (offset + done) % row_bytes;
    const int64_t head = row / head_rows, j = row % head_rows / (head_rows / 2), i = row % (head_rows / 2);
    const int64_t n = std::min(bytes - done, row_bytes - in_row);
    gguf_->read(tensor, (head * head_rows + 2 * i + j) * row_bytes + in_row, static_cast<char*>(to) + done,
                n);
    done += n;
  }
}

}  // namespace octavo
