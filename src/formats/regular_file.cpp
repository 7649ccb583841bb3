#include "formats/regular_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "core/error.h"
#include "formats/in_quotes.h"

namespace octavo {
namespace {

[[noreturn]] void fail(ErrorKind kind, const std::filesystem::path& path, const std::string& problem) {
  const std::string name = path.string();
  const bool plain =
      std::all_of(name.begin(), name.end(), [](char c) { return static_cast<unsigned char>(c) >= 0x20; });
  throw Error(kind, fmt::format("{}: {}", plain && name.size() < 1000 ? name : in_quotes(name), problem));
}

}  // namespace

RegularFile RegularFile::open(const std::filesystem::path& path) {
  if (path.string().find('\0') != std::string::npos)
    fail(ErrorKind::bad_model, path, "a file name cannot hold a NUL byte");
  RegularFile file;
  file.path_ = path;
  // O_NONBLOCK: opening a FIFO must not wait for a writer.
  file.fd_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (file.fd_ < 0)
    fail(ErrorKind::bad_model, path, fmt::format("cannot be opened: {}", std::strerror(errno)));
  struct stat facts;
  if (fstat(file.fd_, &facts) != 0) fail(ErrorKind::runtime, path, std::strerror(errno));
  if (!S_ISREG(facts.st_mode)) fail(ErrorKind::bad_model, path, "is not a regular file");
  file.size_ = facts.st_size;
  return file;
}

RegularFile::RegularFile(RegularFile&& other) noexcept { *this = std::move(other); }

RegularFile& RegularFile::operator=(RegularFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(fd_, other.fd_);
  std::swap(size_, other.size_);
  return *this;
}

RegularFile::~RegularFile() {
  if (fd_ >= 0) ::close(fd_);
}

void RegularFile::read(int64_t offset, void* to, int64_t bytes) const {
  constexpr int64_t kMostAtOnce = int64_t{1} << 30;  // Linux reads at most 2^31 - 4096 bytes a call
  auto* out = static_cast<char*>(to);
  for (int64_t done = 0; done < bytes;) {
    const ssize_t got =
        pread(fd_, out + done, static_cast<size_t>(std::min(bytes - done, kMostAtOnce)), offset + done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0)
      fail(ErrorKind::runtime, path_,
           fmt::format("reading at byte {}: {}", offset + done, std::strerror(errno)));
    if (got == 0)
      fail(ErrorKind::bad_model, path_,
           fmt::format("ends at byte {}, expected {}: it was cut while being read", offset + done,
                       offset + bytes));
    done += got;
  }
}

bool RegularFile::same_file(const std::filesystem::path& other) const {
  struct stat a, b;
  return fstat(fd_, &a) == 0 && stat(other.c_str(), &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

}  // namespace octavo
