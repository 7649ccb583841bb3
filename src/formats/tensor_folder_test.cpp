#include "formats/tensor_folder.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>

#include "formats/safetensors_writer.h"
#include "harness/expect_error.h"
#include "harness/temp_folder.h"

namespace octavo {
namespace {

namespace fs = std::filesystem;
using harness::expect_error;
using harness::TempFolder;

constexpr ErrorKind kBad = ErrorKind::bad_model;

// A file of U8 tensors [4], each filled with the first letter of its name.
void write_shard(const fs::path& path, const std::vector<std::string>& names) {
  std::vector<TensorSpec> specs;
  for (const auto& name : names) specs.push_back({name, "U8", {4}});
  SafetensorsWriter writer(path, specs);
  for (const auto& name : names) writer.append(name, std::string(4, name[0]).data(), 4);
  writer.commit();
}

std::string index_of(const std::vector<std::pair<std::string, std::string>>& map) {
  std::string text = R"({"metadata": {"total_size": 8}, "weight_map": {)";
  for (size_t i = 0; i < map.size(); ++i)
    text += (i ? ", \"" : "\"") + map[i].first + "\": \"" + map[i].second + "\"";
  return text + "}}";
}

struct ShardedFolder : TempFolder {
  ShardedFolder() {
    write_shard(*this / "s1.safetensors", {"a", "b"});
    write_shard(*this / "s2.safetensors", {"c"});
    write("model.safetensors.index.json",
          index_of({{"a", "s1.safetensors"}, {"b", "s1.safetensors"}, {"c", "s2.safetensors"}}));
  }
};

TEST(TensorFolder, SingleFileByFolderOrByName) {
  TempFolder folder;
  write_shard(folder / "model.safetensors", {"a", "b"});
  for (const fs::path& path : {folder.path(), folder / "model.safetensors"}) {
    const TensorFolder tensors = TensorFolder::open(path);
    EXPECT_EQ(tensors.folder(), folder.path());
    EXPECT_EQ(tensors.tensors().size(), 2u);
    EXPECT_EQ(tensors.total_bytes(), 8);
    char data[5] = {};
    tensors.read(tensors.at("b"), data);
    EXPECT_STREQ(data, "bbbb");
  }
}

TEST(TensorFolder, ShardsAreOneNamespace) {
  ShardedFolder folder;
  const TensorFolder tensors = TensorFolder::open(folder.path());
  EXPECT_EQ(tensors.files().size(), 2u);
  EXPECT_EQ(tensors.tensors().size(), 3u);
  char data[5] = {};
  tensors.read(tensors.at("c"), data);
  EXPECT_STREQ(data, "cccc");
  EXPECT_EQ(tensors.path_of(tensors.at("c")), folder / "s2.safetensors");
  EXPECT_EQ(tensors.find("d"), nullptr);
  expect_error(kBad, "has no tensor \"cx\"; the nearest name is \"c\"", [&] { tensors.at("cx"); });
}

TEST(TensorFolder, MissingFilesAreNamed) {
  TempFolder folder;
  expect_error(kBad, "no such file or folder", [&] { TensorFolder::open(folder / "nowhere"); });
  expect_error(kBad, "no model.safetensors and no model.safetensors.index.json here",
               [&] { TensorFolder::open(folder.path()); });
  folder.write("pytorch_model.bin", "x");
  expect_error(kBad, "it has \"pytorch_model.bin\"", [&] { TensorFolder::open(folder.path()); });
  ShardedFolder sharded;
  fs::remove(sharded / "s2.safetensors");
  expect_error(kBad, "s2.safetensors: cannot be opened: No such file",
               [&] { TensorFolder::open(sharded.path()); });
}

// B07: names of an index that lead outside the folder, or to what is no file.
TEST(TensorFolder, ShardNamesStayInTheFolder) {
  TempFolder outside;
  write_shard(outside / "s.safetensors", {"a"});
  ShardedFolder folder;
  fs::create_directory(folder / "sub");
  write_shard(folder / "sub" / "s.safetensors", {"a"});
  ASSERT_EQ(mkfifo((folder / "fifo").c_str(), 0600), 0);
  const std::vector<std::pair<std::string, std::string>> bad = {
      {"../s.safetensors", "leads outside the folder"},
      {(outside / "s.safetensors").string(), "leads outside the folder"},
      {"sub/s.safetensors", "leads outside the folder"},
      {"sub/../s1.safetensors", "leads outside the folder"},
      {"./s1.safetensors", "leads outside the folder"},
      {"..", "leads outside the folder"},
      {".", "leads outside the folder"},
      {"", "leads outside the folder"},
      {"s1.safetensors\\u0000x", "leads outside the folder"},
      {"..\\\\s1.safetensors", "leads outside the folder"},
      {"/dev/zero", "leads outside the folder"},
      {"fifo", "is not a regular file"},
      {"sub", "is not a regular file"},
      {std::string(4096, 'x'), "cannot be opened: File name too long"},
      {"S1.safetensors", "cannot be opened: No such file"},
  };
  for (const auto& [name, message] : bad) {
    SCOPED_TRACE(name.substr(0, 100));
    folder.write("model.safetensors.index.json", index_of({{"a", name}}));
    expect_error(kBad, message, [&] { TensorFolder::open(folder.path()); });
  }
}

// The layout of the Hugging Face cache: snapshots/<revision>/<file> -> ../../blobs/<hash>.
TEST(TensorFolder, LinksOfTheHuggingFaceCacheAreFollowed) {
  TempFolder cache;
  fs::create_directories(cache / "blobs");
  fs::create_directories(cache / "snapshots" / "1");
  write_shard(cache / "blobs" / "0a1b", {"a"});
  const fs::path link = cache / "snapshots" / "1" / "model.safetensors";
  fs::create_symlink("../../blobs/0a1b", link);
  EXPECT_TRUE(TensorFolder::open(link.parent_path()).find("a"));
  fs::remove(link);
  fs::create_symlink("/dev/zero", link);
  expect_error(kBad, "is not a regular file", [&] { TensorFolder::open(link.parent_path()); });
  fs::remove(link);
  fs::create_symlink("gone", link);
  expect_error(kBad, "cannot be opened", [&] { TensorFolder::open(link.parent_path()); });
}

TEST(TensorFolder, IndexAndShardsMustAgree) {
  ShardedFolder folder;
  const auto with_index = [&](const std::string& text) {
    folder.write("model.safetensors.index.json", text);
    TensorFolder::open(folder.path());
  };
  const std::pair<std::string, std::string> a{"a", "s1.safetensors"}, b{"b", "s1.safetensors"},
      c{"c", "s2.safetensors"};
  expect_error(kBad, "tensor \"d\" is not in s1.safetensors", [&] {
    with_index(index_of({a, b, c, {"d", "s1.safetensors"}}));
  });
  expect_error(kBad, "tensor \"b\" is said to be in s2.safetensors, but is in s1.safetensors", [&] {
    with_index(index_of({a, {"b", "s2.safetensors"}, c}));
  });
  expect_error(kBad, "tensor \"b\" of s1.safetensors is not listed", [&] { with_index(index_of({a, c})); });
  expect_error(kBad, "duplicate key \"a\"", [&] { with_index(index_of({a, a, b, c})); });
  expect_error(kBad, "\"weight_map.a\" is 1, expected the file name of a shard",
               [&] { with_index(R"({"weight_map": {"a": 1}})"); });
  expect_error(kBad, "\"weight_map\" is missing", [&] { with_index("{}"); });
  expect_error(kBad, "not valid JSON", [&] { with_index("{"); });
  write_shard(folder / "s2.safetensors", {"b", "c"});
  expect_error(kBad, "tensor \"b\" is also in s1.safetensors", [&] { with_index(index_of({a, b, c})); });
}

// B04: every shard is checked before any tensor is read.
TEST(TensorFolder, OneShortShardIsFoundAtOpening) {
  ShardedFolder folder;
  const fs::path shard = folder / "s2.safetensors";
  fs::resize_file(shard, fs::file_size(shard) - 1);
  expect_error(kBad,
               "s2.safetensors: the tensors take 4 bytes, the file has 3 after its header: it is cut off",
               [&] { TensorFolder::open(folder.path()); });
}

}  // namespace
}  // namespace octavo
