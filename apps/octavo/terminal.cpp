#include "terminal.h"

#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <charconv>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdio>

#include "core/error.h"

namespace octavo::app {
namespace {

volatile std::sig_atomic_t interrupt_seen = 0;
bool progress_shown = false;

void on_interrupt(int) {
  if (interrupt_seen) _exit(static_cast<int>(ErrorKind::interrupted));
  interrupt_seen = 1;
}

}  // namespace

void watch_interrupts() { std::signal(SIGINT, on_interrupt); }
bool interrupted() { return interrupt_seen != 0; }
void clear_interrupt() { interrupt_seen = 0; }

void show_progress(std::string_view what, int64_t done, int64_t total) {
  static const auto start = std::chrono::steady_clock::now();
  static auto last = start;
  const auto now = std::chrono::steady_clock::now();
  if (!isatty(STDERR_FILENO) || now - start < std::chrono::seconds(1) ||
      now - last < std::chrono::milliseconds(100))
    return;
  last = now;
  constexpr int kWidth = 30;
  const double share = total > 0 ? static_cast<double>(done) / static_cast<double>(total) : 0;
  const int filled = static_cast<int>(share * kWidth);
  fmt::print(stderr, "\r{} [{:=<{}}{:<{}}] {:3.0f} %", what, "", filled, "", kWidth - filled, 100 * share);
  std::fflush(stderr);
  progress_shown = true;
}

void clear_progress() {
  if (progress_shown) fmt::print(stderr, "\r\033[K");
  progress_shown = false;
}

bool write_stdout(std::string_view text) {
  return std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0;
}

bool flush_stdout() {
  if (std::fflush(stdout) == 0 && !std::ferror(stdout)) return true;
  fmt::print(stderr, "octavo: the output could not be written\n");
  return false;
}

int64_t peak_memory_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return int64_t{1024} * usage.ru_maxrss;
}

std::string human_bytes(int64_t bytes) {
  constexpr const char* units[] = {"B", "kB", "MB", "GB", "TB"};
  double value = static_cast<double>(bytes);
  int unit = 0;
  while (value >= 999.95 && unit < 4) value /= 1000, ++unit;
  return unit == 0 ? fmt::format("{} B", bytes)
                   : fmt::format("{:.{}f} {}", value, value < 9.995 ? 2 : 1, units[unit]);
}

int64_t parse_bytes(const std::string& text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const std::string unit(end, text.data() + text.size());
  constexpr std::pair<const char*, double> units[] = {
      {"", 1},      {"B", 1},        {"kB", 1e3},     {"KB", 1e3},     {"MB", 1e6},    {"GB", 1e9},
      {"TB", 1e12}, {"KiB", 0x1p10}, {"MiB", 0x1p20}, {"GiB", 0x1p30}, {"TiB", 0x1p40}};
  if (error == std::errc())
    for (const auto& [name, factor] : units)
      if (unit == name && value > 0 && value * factor < 0x1p62) return static_cast<int64_t>(value * factor);
  throw Error(
      ErrorKind::usage,
      fmt::format("\"{}\" is not a number of bytes; write for example 6GiB, 500MB or 1073741824", text));
}

}  // namespace octavo::app
