#include "gpu_timing.h"

#include <algorithm>
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

int sets_beyond_l2(int64_t bytes_of_a_set, const DeviceFacts& facts) {
  const int64_t wanted = 4 * facts.last_level_cache_bytes;
  return static_cast<int>(
      std::clamp<int64_t>((wanted + bytes_of_a_set - 1) / std::max<int64_t>(bytes_of_a_set, 1), 2, 2000));
}

}  // namespace octavo::bench
