// The input is the index of a folder with two shards: a.safetensors holds x and y, b.safetensors z.
#include "formats/tensor_folder.h"
#include "fuzz/rewritten_file.h"

namespace octavo::fuzz {
namespace {

std::string with_header(const std::string& json, size_t data_bytes) {
  std::string file(8, '\0');
  for (int i = 0; i < 8; ++i) file[i] = static_cast<char>(json.size() >> 8 * i & 0xff);
  return file + json + std::string(data_bytes, '\1');
}

struct Folder {
  Folder() {
    folder.write("a.safetensors", with_header(R"({"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                                              R"("y":{"dtype":"I8","shape":[],"data_offsets":[8,9]}})",
                                              9));
    folder.write("b.safetensors",
                 with_header(R"({"z":{"dtype":"BF16","shape":[1,2],"data_offsets":[0,4]}})", 4));
  }
  harness::TempFolder folder;
  RewrittenFile index{folder / "model.safetensors.index.json"};
};

}  // namespace

bool shard_index(std::string_view input) {
  static const Folder at;
  at.index.fill(input);
  return accepted({ErrorKind::bad_model}, [] {
    const TensorFolder opened = TensorFolder::open(at.folder.path());
    for (const SafetensorsFile& file : opened.files())
      require(file.path().parent_path() == at.folder.path(), "a shard outside the folder");
    for (const TensorInfo* t : opened.tensors()) {
      std::string bytes(static_cast<size_t>(t->bytes()), '\0');
      opened.read(*t, bytes.data());
    }
    require(opened.total_bytes() == 9 * (opened.find("x") != nullptr) + 4 * (opened.find("z") != nullptr),
            "a tensor is missing");
  });
}

}  // namespace octavo::fuzz
