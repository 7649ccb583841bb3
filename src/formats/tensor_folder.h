// One namespace over the tensors of a model folder: model.safetensors, or the shards that
// model.safetensors.index.json names. (Both present: the single file, as transformers does.)
//
// A shard name must be a plain file name: no '/', no "..", no NUL. The file may be a symbolic link, because
// the Hugging Face cache is made of links to ../../blobs; what it leads to must be a regular file. Names come
// from the downloaded index and are untrusted, links come from whoever made the folder. Index and shards must
// agree on every tensor. Errors: bad_model; runtime when the disk fails.
#pragma once
#include <filesystem>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "formats/safetensors.h"

namespace octavo {

class TensorFolder {
 public:
  // A folder, or one .safetensors file.
  static TensorFolder open(const std::filesystem::path& path);

  const std::filesystem::path& folder() const { return folder_; }
  const std::vector<SafetensorsFile>& files() const { return files_; }
  const TensorInfo* find(std::string_view name) const;  // null when absent
  const TensorInfo& at(std::string_view name) const;    // bad_model naming the file and the nearest name
  std::vector<const TensorInfo*> tensors() const;       // file by file, in the order of their bytes
  int64_t total_bytes() const;                          // of all tensors
  const SafetensorsFile& file_of(const TensorInfo& tensor) const;

  void read(const TensorInfo& tensor, int64_t offset, void* to, int64_t bytes) const;
  void read(const TensorInfo& tensor, void* to) const { read(tensor, 0, to, tensor.bytes()); }

  // The file that messages about the folder as a whole name: the single file or the index.
  const std::filesystem::path& main_file() const { return main_file_; }

 private:
  struct Place {
    size_t file, tensor;
  };
  void add_file(SafetensorsFile file);
  void open_shards(const std::filesystem::path& index);

  std::filesystem::path folder_, main_file_;
  std::vector<SafetensorsFile> files_;
  std::unordered_map<std::string, Place> places_;
};

}  // namespace octavo
