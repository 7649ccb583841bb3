#include "formats/atomic_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <random>
#include <utility>

#include "core/error.h"

namespace octavo {
namespace fs = std::filesystem;
namespace {

fs::path temporary_name(const fs::path& target) {
  std::random_device random;  // not guessable, so that nobody can put a file of that name there first
  const uint64_t bits = uint64_t{random()} << 32 | random();
  return target.parent_path() / fmt::format(".octavo-{:016x}.tmp", bits);
}

}  // namespace

AtomicFile::AtomicFile(const fs::path& target, int64_t bytes) : target_(target), bytes_(bytes) {
  const fs::path name = temporary_name(target);
  fd_ = ::open(name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (fd_ < 0) fail("cannot be created", errno);
  temporary_ = name;
  if (bytes == 0) return;
  // NOTE: posix_fallocate returns the error and does not set errno.
  int error;
  do error = posix_fallocate(fd_, 0, bytes);
  while (error == EINTR);
  if (error != 0) {
    ::close(fd_);
    ::unlink(temporary_.c_str());  // a constructor that throws runs no destructor
    fail("space could not be reserved", error);
  }
}

AtomicFile::AtomicFile(AtomicFile&& other) noexcept
    : target_(std::move(other.target_)),
      temporary_(std::exchange(other.temporary_, fs::path())),
      fd_(std::exchange(other.fd_, -1)),
      bytes_(other.bytes_) {}

AtomicFile::~AtomicFile() {
  if (fd_ >= 0) ::close(fd_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void AtomicFile::fail(const char* doing, int error) const {
  throw Error(ErrorKind::runtime,
              fmt::format("{}: {} ({} bytes): {}", target_.string(), doing, bytes_, std::strerror(error)));
}

void AtomicFile::write(int64_t offset, const void* data, int64_t bytes) {
  constexpr int64_t kMostAtOnce = int64_t{1} << 30;
  if (fd_ < 0 || offset < 0 || bytes < 0 || bytes > bytes_ - offset)
    throw Error(ErrorKind::usage,
                fmt::format("{}: write of {} bytes from byte {} on into a {} of {} bytes", target_.string(),
                            bytes, offset, fd_ < 0 ? "sealed file" : "file", bytes_));
  const auto* from = static_cast<const char*>(data);
  for (int64_t done = 0; done < bytes;) {
    const ssize_t put =
        pwrite(fd_, from + done, static_cast<size_t>(std::min(bytes - done, kMostAtOnce)), offset + done);
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) fail("writing failed", put < 0 ? errno : ENOSPC);
    done += put;
  }
}

void AtomicFile::seal() {
  if (fd_ < 0) return;
  if (fsync(fd_) != 0) fail("could not be brought to the disk", errno);
  if (::close(std::exchange(fd_, -1)) != 0 && errno != EINTR) fail("could not be closed", errno);
}

void AtomicFile::commit() {
  seal();
  if (::rename(temporary_.c_str(), target_.c_str()) != 0) fail("could not be renamed into place", errno);
  temporary_.clear();
  sync_folder(target_.parent_path());
}

void write_file_atomically(const fs::path& target, std::string_view content) {
  AtomicFile file(target, static_cast<int64_t>(content.size()));
  file.write(0, content.data(), static_cast<int64_t>(content.size()));
  file.commit();
}

void sync_folder(const fs::path& folder) {
  const fs::path name = folder.empty() ? fs::path(".") : folder;
  const int fd = ::open(name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const bool ok =
      fd >= 0 && (fsync(fd) == 0 || errno == EINVAL);  // EINVAL: a file system that cannot sync folders
  const int error = errno;
  if (fd >= 0) ::close(fd);
  if (!ok)
    throw Error(ErrorKind::runtime, fmt::format("{}: folder could not be brought to the disk: {}",
                                                name.string(), std::strerror(error)));
}

}  // namespace octavo
