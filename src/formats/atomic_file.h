// A file that appears complete or not at all: written under a temporary name in the same folder with its
// space reserved first, synced, then renamed. Dropped without commit, it leaves nothing behind. A target that
// is a hard or symbolic link is replaced by name; what it led to stays as it was. Errors: runtime (no space
// left, not permitted, a failing disk), naming the target and the number of bytes.
#pragma once
#include <cstdint>
#include <filesystem>
#include <string_view>

namespace octavo {

class AtomicFile {
 public:
  AtomicFile(const std::filesystem::path& target, int64_t bytes);
  AtomicFile(AtomicFile&& other) noexcept;
  AtomicFile& operator=(AtomicFile&& other) = delete;
  ~AtomicFile();

  int64_t bytes() const { return bytes_; }
  const std::filesystem::path& target() const { return target_; }
  void write(int64_t offset, const void* data, int64_t bytes);  // within [0, bytes())
  void seal();    // to the disk; nothing can be written afterwards
  void commit();  // seals if need be, renames to the target, syncs the folder

 private:
  [[noreturn]] void fail(const char* doing, int error) const;

  std::filesystem::path target_, temporary_;  // temporary_ is empty once committed or moved from
  int fd_ = -1;
  int64_t bytes_ = 0;
};

void write_file_atomically(const std::filesystem::path& target, std::string_view content);
// Makes renames and removals in the folder last through a power failure.
void sync_folder(const std::filesystem::path& folder);

}  // namespace octavo
