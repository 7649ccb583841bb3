// An open regular file, read by position: a FIFO, a device or a folder is refused, a file that shrank is an
// error.
#pragma once
#include <cstdint>
#include <filesystem>

namespace octavo {

class RegularFile {
 public:
  RegularFile() = default;
  // Follows symbolic links; never blocks. Errors: bad_model when missing, not permitted or not a regular
  // file.
  static RegularFile open(const std::filesystem::path& path);
  RegularFile(RegularFile&& other) noexcept;
  RegularFile& operator=(RegularFile&& other) noexcept;
  ~RegularFile();

  int64_t size() const { return size_; }  // when opened
  const std::filesystem::path& path() const { return path_; }
  // Exactly `bytes` bytes from `offset` on; thread-safe. Errors: bad_model when the file ends before; runtime
  // (EIO, ...).
  void read(int64_t offset, void* to, int64_t bytes) const;
  bool same_file(
      const std::filesystem::path& other) const;  // the same inode: a hard link, a symlink, or itself

 private:
  std::filesystem::path path_;
  int fd_ = -1;
  int64_t size_ = 0;
};

}  // namespace octavo
