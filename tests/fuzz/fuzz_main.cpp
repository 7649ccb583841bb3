// libFuzzer's entry point; built once for each target, which CMake names in OCTAVO_FUZZ_TARGET.
#include <time.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "fuzz/targets.h"

namespace {

constexpr double kLongestSeconds = 1.0;  // of this thread, so that a busy machine is no finding

double thread_seconds() {
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

}  // namespace

// What a target reads once (the recorded tokenizers) is no input's time.
extern "C" int LLVMFuzzerInitialize(int*, char***) {
  octavo::fuzz::OCTAVO_FUZZ_TARGET({"\0\0", 2});
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const double start = thread_seconds();
  octavo::fuzz::OCTAVO_FUZZ_TARGET({reinterpret_cast<const char*>(data), size});
  const double seconds = thread_seconds() - start;
  if (seconds > kLongestSeconds) {
    std::fprintf(stderr, "fuzz: %zu bytes took %.2f s, at most %.1f\n", size, seconds, kLongestSeconds);
    std::abort();
  }
  return 0;
}
