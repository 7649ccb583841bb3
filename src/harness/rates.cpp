#include "harness/rates.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "core/buffer.h"
#include "core/context.h"
#include "harness/timing.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace octavo::harness {
namespace {

constexpr int64_t kChunk = 1 << 16;  // bytes; the memory is a whole number of these

int64_t rate_bytes(int64_t asked) {
  const int64_t bytes =
      asked > 0 ? asked : std::max(int64_t{1} << 30, 8 * cpu_facts().last_level_cache_bytes);
  return round_up(bytes, 2 * kChunk);
}

uint64_t sum_plain(const uint64_t* p, int64_t count) {
  uint64_t sums[8] = {};
  for (int64_t i = 0; i < count; i += 8)
    for (int j = 0; j < 8; ++j) sums[j] += p[i + j];
  uint64_t total = 0;
  for (const uint64_t s : sums) total += s;
  return total;
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) uint64_t sum_avx2(const uint64_t* p, int64_t count) {
  __m256i sums[4] = {};
  for (int64_t i = 0; i < count; i += 16)
    for (int j = 0; j < 4; ++j)
      sums[j] = _mm256_add_epi64(sums[j], _mm256_load_si256(reinterpret_cast<const __m256i*>(p + i + 4 * j)));
  const __m256i four =
      _mm256_add_epi64(_mm256_add_epi64(sums[0], sums[1]), _mm256_add_epi64(sums[2], sums[3]));
  uint64_t lanes[4];
  std::memcpy(lanes, &four, sizeof lanes);
  return lanes[0] + lanes[1] + lanes[2] + lanes[3];
}
#endif

uint64_t sum(const uint64_t* p, int64_t count) {
#if defined(__x86_64__)
  static const bool has_avx2 = cpu_has(Isa::avx2);
  if (has_avx2) return sum_avx2(p, count);
#endif
  return sum_plain(p, count);
}

// Every page is touched by the threads that will read it.
void touch(ThreadPool& pool, uint8_t* memory, int64_t bytes) {
  parallel_for(&pool, bytes / kChunk, 1, [&](int64_t begin, int64_t end) {
    std::memset(memory + begin * kChunk, 1, static_cast<size_t>((end - begin) * kChunk));
  });
}

// GB/s of the fastest of several passes that move `bytes` each.
template <class Pass>
double best_rate(const RateOptions& options, int64_t bytes, Pass&& pass) {
  double best = 0;
  const Stopwatch total;
  for (int round = 0; round < options.rounds && (round == 0 || total.seconds() < options.seconds); ++round) {
    const Stopwatch watch;
    pass();
    best = std::max(best, static_cast<double>(bytes) / watch.seconds() * 1e-9);
  }
  return best;
}

}  // namespace

ReadRate::ReadRate(ThreadPool& pool, int64_t bytes)
    : pool_(pool), bytes_(rate_bytes(bytes)), memory_(bytes_) {
  touch(pool_, memory_.as<uint8_t>(), bytes_);
}

void ReadRate::read_once() {
  std::atomic<uint64_t> total{0};
  parallel_for(&pool_, bytes_ / kChunk, 1, [&](int64_t begin, int64_t end) {
    total += sum(memory_.as<uint64_t>() + begin * kChunk / 8, (end - begin) * kChunk / 8);
  });
  sum_ += total;
}

double measure_read_gbs(ThreadPool& pool, const RateOptions& options) {
  ReadRate rate(pool, options.bytes);
  return best_rate(options, rate.bytes(), [&] { rate.read_once(); });
}

double measure_copy_gbs(ThreadPool& pool, const RateOptions& options) {
  const int64_t bytes = rate_bytes(options.bytes), half = bytes / 2;
  const Buffer memory(bytes);
  touch(pool, memory.as<uint8_t>(), bytes);
  return best_rate(options, bytes, [&] {
    parallel_for(&pool, half / kChunk, 1, [&](int64_t begin, int64_t end) {
      const uint8_t* from = memory.as<uint8_t>() + begin * kChunk;
      std::memcpy(memory.as<uint8_t>() + half + begin * kChunk, from,
                  static_cast<size_t>((end - begin) * kChunk));
    });
  });
}

}  // namespace octavo::harness
