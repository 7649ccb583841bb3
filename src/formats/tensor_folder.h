// One namespace over the tensors of a model folder: model.safetensors, or the shards that
// model.safetensors.index.json names. (Both present: the single file, as transformers does.) Or over those of a .gguf file,
// under their Hugging Face names and in Hugging Face's order of rows (formats/gguf_model.h); Q8_0 tensors among them have
// no dtype, and the name "Q8_0".
//
// A shard name must be a plain file name: no '/', no "..", no NUL. The file may be a symbolic link, because
// the Hugging Face cache is made of links to ../../blobs; what it leads to must be a regular file. Names come
// from the downloaded index and are untrusted, links come from whoever made the folder. Index and shards must
// agree on every tensor. Errors: bad_model; runtime when the disk fails.
#pragma once
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "formats/gguf_model.h"
#include "formats/safetensors.h"

namespace octavo {

class TensorFolder {
 public:
  // A folder, one .safetensors file, or one .gguf file.
  static TensorFolder open(const std::filesystem::path& path);

  const std::filesystem::path& folder() const { return folder_; }
  const std::vector<SafetensorsFile>& files() const { return files_; }  // none for a .gguf file
  const GgufFile* gguf() const { return gguf_.get(); }                  // null for safetensors
  const TensorInfo* find(std::string_view name) const;                  // null when absent
  const TensorInfo& at(std::string_view name) const;  // bad_model naming the file and the nearest name
  std::vector<const TensorInfo*> tensors() const;     // file by file, in the order of their bytes
  int64_t total_bytes() const;                        // of all tensors
  const std::filesystem::path& path_of(const TensorInfo& tensor) const;  // the file that it lies in
  bool reads_from(const std::filesystem::path& file) const;  // one of the files behind the tensors

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
  void open_gguf(const std::filesystem::path& path);

  std::filesystem::path folder_, main_file_;
  std::vector<SafetensorsFile> files_;
  std::unique_ptr<GgufFile> gguf_;
  std::vector<GgufTensor> gguf_tensors_;  // places_[name].tensor counts in here when gguf_ is there
  std::unordered_map<std::string, Place> places_;
};

}  // namespace octavo
