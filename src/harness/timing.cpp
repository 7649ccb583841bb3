#include "harness/timing.h"

#include <algorithm>
#include <cmath>

namespace octavo::harness {

double Timing::quantile(double q) const {
  const double at = q * static_cast<double>(seconds.size() - 1);
  const auto low = static_cast<size_t>(at);
  const size_t high = std::min(low + 1, seconds.size() - 1);
  return seconds[low] + (at - std::floor(at)) * (seconds[high] - seconds[low]);
}

std::vector<Timing> time_interleaved(const std::vector<std::function<void()>>& subjects,
                                     const TimingOptions& options) {
  std::vector<Timing> timings(subjects.size());
  for (const auto& subject : subjects) subject();
  for (int round = 0; round < options.rounds; ++round)
    for (size_t i = 0; i < subjects.size(); ++i) {
      const Stopwatch watch;
      int calls = 0;
      do subjects[i](), ++calls;
      while (watch.seconds() < options.seconds_per_round);
      timings[i].seconds.push_back(watch.seconds() / calls);
    }
  for (Timing& t : timings) std::sort(t.seconds.begin(), t.seconds.end());
  return timings;
}

}  // namespace octavo::harness
