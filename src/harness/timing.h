// Wall time of things that are compared with one another: interleaved (A B A B), so that a slow second of the machine
// hits all of them.
#pragma once
#include <chrono>
#include <functional>
#include <vector>

namespace octavo::harness {

class Stopwatch {
 public:
  double seconds() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point start_ = Clock::now();
};

struct Timing {
  std::vector<double> seconds;  // of one call, a mean for every round, ascending
  double best() const { return seconds.front(); }
  double quantile(double q) const;  // q in [0, 1]; linear between rounds
};

struct TimingOptions {
  int rounds = 5;
  double seconds_per_round = 0.1;  // of each subject: calls are repeated until it is over
};

// One Timing for each subject; every subject runs once before the clock starts.
std::vector<Timing> time_interleaved(const std::vector<std::function<void()>>& subjects,
                                     const TimingOptions& options = {});

}  // namespace octavo::harness
