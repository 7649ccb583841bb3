#include "formats/atomic_file.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include "formats/safetensors.h"
#include "formats/safetensors_writer.h"
#include "harness/expect_error.h"
#include "harness/temp_folder.h"

namespace octavo {
namespace {

namespace fs = std::filesystem;
using harness::content_of;
using harness::expect_error;
using harness::TempFolder;
using Names = std::vector<std::string>;

// No file of this process may grow beyond `bytes`: what a full disk looks like, without filling one.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    old_signal_ = signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old_);
    const rlimit limit{bytes, old_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &old_);
    signal(SIGXFSZ, old_signal_);
  }

 private:
  rlimit old_;
  void (*old_signal_)(int);
};

TEST(AtomicFile, AppearsCompleteOrNotAtAll) {
  TempFolder folder;
  {
    AtomicFile file(folder / "a", 6);
    file.write(3, "def", 3);
    file.write(0, "abc", 3);
    file.seal();
    EXPECT_FALSE(fs::exists(folder / "a"));
    EXPECT_EQ(folder.names().size(), 1u);  // the temporary name, in the same folder
    file.commit();
  }
  EXPECT_EQ(content_of(folder / "a"), "abcdef");
  EXPECT_EQ(folder.names(), Names{"a"});
  { AtomicFile dropped(folder / "b", 3); }
  EXPECT_EQ(folder.names(), Names{"a"});
  write_file_atomically(folder / "a", "new");
  EXPECT_EQ(content_of(folder / "a"), "new");
  write_file_atomically(folder / "empty", "");
  EXPECT_EQ(content_of(folder / "empty"), "");
}

TEST(AtomicFile, MovingKeepsOneOwner) {
  TempFolder folder;
  std::vector<AtomicFile> files;
  for (int i = 0; i < 5; ++i) files.emplace_back(folder / std::to_string(i), 1);
  for (auto& file : files) file.write(0, "x", 1);
  files[3].commit();
  files.clear();
  EXPECT_EQ(folder.names(), Names{"3"});
}

TEST(AtomicFile, WritesOutsideTheReservedSizeAreRefused) {
  TempFolder folder;
  AtomicFile file(folder / "a", 4);
  expect_error(ErrorKind::usage, "write of 3 bytes from byte 2 on into a file of 4 bytes",
               [&] { file.write(2, "xyz", 3); });
  expect_error(ErrorKind::usage, "write of 3 bytes from byte -1", [&] { file.write(-1, "xyz", 3); });
  expect_error(ErrorKind::usage, "from byte 9223372036854775807 on",
               [&] { file.write(INT64_MAX, "xyz", 3); });
  file.seal();
  expect_error(ErrorKind::usage, "sealed file", [&] { file.write(0, "x", 1); });
}

TEST(AtomicFile, NoSpaceLeavesNothingBehind) {
  TempFolder folder;
  folder.write("a", "old");
  {
    FileSizeLimit limit(4096);
    expect_error(ErrorKind::runtime, "a: space could not be reserved (8192 bytes)",
                 [&] { AtomicFile file(folder / "a", 8192); });
    expect_error(ErrorKind::runtime, "space could not be reserved",
                 [&] { write_file_atomically(folder / "a", std::string(5000, 'x')); });
    // Space that vanishes after the reservation: the write fails, the temporary file goes with its owner.
    AtomicFile file(folder / "b", 4096);
    FileSizeLimit smaller(1024);
    expect_error(ErrorKind::runtime, "b: writing failed (4096 bytes): File too large",
                 [&] { file.write(2048, "x", 1); });
  }
  EXPECT_EQ(folder.names(), Names{"a"});
  EXPECT_EQ(content_of(folder / "a"), "old");
}

TEST(AtomicFile, MissingFolderIsNamed) {
  TempFolder folder;
  expect_error(ErrorKind::runtime, "nowhere/a: cannot be created",
               [&] { AtomicFile file(folder / "nowhere" / "a", 1); });
}

// B05: a link as the target is replaced by name; what it led to (perhaps the input) keeps its bytes.
TEST(AtomicFile, LinksAsTargetsAreReplacedNotFollowed) {
  TempFolder folder;
  folder.write("input", "precious");
  fs::create_symlink("input", folder / "soft");
  fs::create_hard_link(folder / "input", folder / "hard");
  write_file_atomically(folder / "soft", "1");
  write_file_atomically(folder / "hard", "2");
  EXPECT_EQ(content_of(folder / "input"), "precious");
  EXPECT_EQ(content_of(folder / "soft"), "1");
  EXPECT_EQ(content_of(folder / "hard"), "2");
  EXPECT_FALSE(fs::is_symlink(folder / "soft"));
}

TEST(SafetensorsWriter, RoundTripsInAnyOrder) {
  TempFolder folder;
  const std::string odd_name = "t\"\\\u00e9\n";
  SafetensorsWriter writer(
      folder / "m",
      {{"codes", "I8", {3, 5}}, {odd_name, "F32", {2}}, {"none", "BF16", {0, 7}}, {"scalar", "F64", {}}},
      {{"format", "pt"}, {"key", "v\"alue"}});
  const std::string codes = "0123456789abcde";
  const float floats[2] = {1.0f, -0.5f};
  const double scalar = 0.1;
  writer.append("codes", codes.data(), 7);
  writer.append(odd_name, floats, 8);
  writer.append("codes", codes.data() + 7, 8);
  writer.append("scalar", &scalar, 8);
  writer.commit();

  const SafetensorsFile file = SafetensorsFile::open(folder / "m");
  EXPECT_EQ(static_cast<int64_t>(fs::file_size(folder / "m")), writer.file_bytes());
  EXPECT_EQ(file.metadata(), (std::map<std::string, std::string>{{"format", "pt"}, {"key", "v\"alue"}}));
  ASSERT_EQ(file.tensors().size(), 4u);
  std::string got(15, 0);
  file.read(*file.find("codes"), got.data());
  EXPECT_EQ(got, codes);
  float got_floats[2];
  file.read(*file.find(odd_name), got_floats);
  EXPECT_EQ(got_floats[1], -0.5f);
  EXPECT_EQ(file.find("none")->shape, (std::vector<int64_t>{0, 7}));
  // Aligned: the header's length is a multiple of 8 and wide elements come first.
  for (const TensorInfo& t : file.tensors())
    EXPECT_EQ(t.begin % (*safetensors_dtype_bits(t.dtype_name) / 8), 0) << t.name;
}

TEST(SafetensorsWriter, RefusesWhatWasNotAnnounced) {
  TempFolder folder;
  const auto usage = ErrorKind::usage;
  {
    SafetensorsWriter writer(folder / "m", {{"a", "U8", {4}}});
    expect_error(usage, "no tensor \"b\" was announced", [&] { writer.append("b", "x", 1); });
    writer.append("a", "xyz", 3);
    expect_error(usage, "tensor \"a\": 2 more bytes given, 1 are missing",
                 [&] { writer.append("a", "xy", 2); });
    expect_error(usage, "tensor \"a\": 1 bytes are missing", [&] { writer.commit(); });
  }
  expect_error(usage, "given twice", [&] {
    SafetensorsWriter writer(folder / "m", {{"a", "U8", {4}}, {"a", "U8", {4}}});
  });
  expect_error(usage, "reserved", [&] {
    SafetensorsWriter writer(folder / "m", {{"__metadata__", "U8", {4}}});
  });
  expect_error(usage, "unknown dtype \"F7\"", [&] {
    SafetensorsWriter writer(folder / "m", {{"a", "F7", {4}}});
  });
  expect_error(usage, "no valid size", [&] {
    SafetensorsWriter writer(folder / "m", {{"a", "F32", {INT64_MAX, 2}}});
  });
  expect_error(usage, "no valid size", [&] {
    SafetensorsWriter writer(folder / "m", {{"a", "U8", {INT64_MAX}}, {"b", "U8", {1}}});
  });
  expect_error(usage, "UTF-8", [&] { SafetensorsWriter writer(folder / "m", {{"\xff", "U8", {4}}}); });
  EXPECT_TRUE(folder.names().empty());
}

TEST(SafetensorsWriter, NoSpaceIsKnownBeforeAnyWork) {
  TempFolder folder;
  FileSizeLimit limit(4096);
  expect_error(ErrorKind::runtime, "space could not be reserved", [&] {
    SafetensorsWriter writer(folder / "m", {{"a", "U8", {5000}}});
  });
  EXPECT_TRUE(folder.names().empty());
}

}  // namespace
}  // namespace octavo
