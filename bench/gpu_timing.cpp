#include "gpu_timing.h"

#include <algorithm>
#include <chrono>
#include <thread>
#include <vector>

namespace octavo::bench {

Times time_graph(const cuda::Stream& stream, int calls, const std::function<void(int)>& call,
                 double budget_ms) {
  for (int i = 0; i < std::min(calls, 2); ++i) call(i);  // loads the kernels: a capture must not
  stream.wait();
  const cuda::Graph graph(stream, [&] {
    for (int i = 0; i < calls; ++i) call(i);
  });
  cuda::Event start, stop;
  const auto replay = [&] {
    start.record(stream);
    graph.launch(stream);
    stop.record(stream);
    stream.wait();
    return cuda::Event::ms_between(start, stop);
  };
  replay();
  const double once = replay();
  const int replays = std::clamp(static_cast<int>(budget_ms / std::max(once, 0.01)), 9, 101);
  std::vector<double> ms;
  for (int i = 0; i < replays; ++i) ms.push_back(replay() / calls);
  std::sort(ms.begin(), ms.end());
  const auto at = [&](double share) {
    return ms[static_cast<size_t>(share * static_cast<double>(ms.size() - 1) + 0.5)];
  };
  return {at(0.2), at(0.5), at(0.8)};
}

double between_events(const cuda::Stream& stream, int calls, const std::function<void()>& call) {
  cuda::Event start, stop;
  start.record(stream);
  for (int i = 0; i < calls; ++i) call();
  stop.record(stream);
  stream.wait();
  return cuda::Event::ms_between(start, stop) / calls;
}

double burst_ms(const cuda::Stream& stream, double guess_ms, const std::function<void()>& call,
                int least_calls) {
  const int calls = std::clamp(static_cast<int>(3.0 / guess_ms), least_calls, 30);
  std::vector<double> rounds;
  for (int round = 0; round < 3; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    rounds.push_back(between_events(stream, calls, call));
  }
  std::sort(rounds.begin(), rounds.end());
  return rounds[1];
}

double sustained_ms(const cuda::Stream& stream, double guess_ms, const std::function<void()>& call) {
  const int half = std::max(1, static_cast<int>(200.0 / guess_ms));
  cuda::Event middle, end;
  for (int i = 0; i < half; ++i) call();
  middle.record(stream);
  for (int i = 0; i < half; ++i) call();
  end.record(stream);
  stream.wait();
  return cuda::Event::ms_between(middle, end) / half;
}

int sets_beyond_l2(int64_t bytes_of_a_set, const DeviceFacts& facts) {
  const int64_t wanted = 4 * facts.last_level_cache_bytes;
  return static_cast<int>(
      std::clamp<int64_t>((wanted + bytes_of_a_set - 1) / std::max<int64_t>(bytes_of_a_set, 1), 2, 2000));
}

}  // namespace octavo::bench
