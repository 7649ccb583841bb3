// A file that each run of a target fills anew, in a folder that goes with the process (./dev fuzz puts it in memory).
#pragma once
#include <fcntl.h>
#include <unistd.h>

#include <string>
#include <string_view>

#include "fuzz/targets.h"
#include "harness/temp_folder.h"

namespace octavo::fuzz {

class RewrittenFile {
 public:
  explicit RewrittenFile(std::filesystem::path path)
      : path_(std::move(path)), fd_(open(path_.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)) {
    require(fd_ >= 0, "cannot open " + path_.string());
  }
  ~RewrittenFile() { close(fd_); }
  RewrittenFile(const RewrittenFile&) = delete;

  void fill(std::string_view bytes) const {
    const auto size = static_cast<ssize_t>(bytes.size());
    require(ftruncate(fd_, size) == 0 && pwrite(fd_, bytes.data(), bytes.size(), 0) == size,
            "cannot write " + path_.string());
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  int fd_;
};

}  // namespace octavo::fuzz
